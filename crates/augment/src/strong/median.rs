/// Replaces each voxel by the median of the window around it, borders reflected with the edge repeated.
///
/// Windows of even length reach one voxel further back; of an even number of values the upper median counts.
pub(super) fn median(channel: &mut [f32], shape: [usize; 3], window: usize, planar: bool) {
    let source = channel.to_vec();
    let [depth, height, width] = shape;
    let reach = |at: usize, length: usize, flat: bool| -> Vec<usize> {
        let window = if flat { 1 } else { window as i64 };
        (0..window).map(|k| reflect(at as i64 + k - window / 2, length)).collect()
    };
    let columns: Vec<Vec<usize>> = (0..width).map(|x| reach(x, width, false)).collect();
    let mut values = Vec::new();
    for z in 0..depth {
        let planes = reach(z, depth, planar);
        for y in 0..height {
            let rows = reach(y, height, false);
            let lines: Vec<usize> =
                planes.iter().flat_map(|z| rows.iter().map(move |y| (z * height + y) * width)).collect();
            for (x, columns) in columns.iter().enumerate() {
                values.clear();
                for line in &lines {
                    values.extend(columns.iter().map(|x| source[line + x]));
                }
                let middle = values.len() / 2;
                let (_, median, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
                channel[(z * height + y) * width + x] = *median;
            }
        }
    }
}

/// Index of a voxel beyond the ends: d c b a | a b c d | d c b a.
fn reflect(index: i64, length: usize) -> usize {
    let length = length as i64;
    let folded = index.rem_euclid(2 * length);
    (if folded < length { folded } else { 2 * length - 1 - folded }) as usize
}
