use super::Rectangle;

/// Fills boxes with their mean, one after the other.
pub(super) fn fill(channel: &mut [f32], shape: [usize; 3], rectangles: &[Rectangle]) {
    for Rectangle { start, size } in rectangles {
        let mut lines = Vec::with_capacity(size[0] * size[1]);
        for z in start[0]..start[0] + size[0] {
            for y in start[1]..start[1] + size[1] {
                let first = (z * shape[1] + y) * shape[2] + start[2];
                lines.push(first..first + size[2]);
            }
        }
        let sum: f64 = lines.iter().flat_map(|line| &channel[line.clone()]).map(|&v| f64::from(v)).sum();
        let mean = (sum / size.iter().product::<usize>() as f64) as f32;
        lines.into_iter().for_each(|line| channel[line].fill(mean));
    }
}
