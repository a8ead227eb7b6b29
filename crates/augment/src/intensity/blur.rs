/// Buffers that [`blur`] keeps between samples.
#[derive(Debug, Default)]
pub(crate) struct BlurBuffers {
    /// The planes around the current one, blurred along y and x.
    ring: Vec<f32>,
    /// One row with its reflections on both sides.
    row: Vec<f32>,
}

/// Normalised weights of a Gaussian from offset 0 outwards; the other side mirrors them.
///
/// The full kernel has the odd length nearest to 6σ + 0.5.
pub(crate) fn gaussian_weights(sigma: f64) -> Vec<f32> {
    let wanted = 6.0 * sigma + 0.5;
    let rounded = wanted.round_ties_even();
    let odd = if rounded % 2.0 == 1.0 {
        rounded
    } else if wanted >= rounded {
        rounded + 1.0
    } else {
        rounded - 1.0
    };
    let radius = ((odd - 1.0) / 2.0).max(0.0) as usize;
    let weight = |t: usize| (-0.5 * (t as f32 / sigma as f32).powi(2)).exp();
    let half: Vec<f32> = (0..=radius).map(weight).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f32>();
    half.iter().map(|w| w / sum).collect()
}

/// Position `index` of an axis continued by reflection about its outermost voxels, which are not repeated.
fn reflect(index: isize, length: usize) -> usize {
    let period = 2 * (length as isize - 1);
    if period == 0 {
        return 0;
    }
    let folded = index.rem_euclid(period);
    folded.min(period - folded) as usize
}

/// Blurs a channel of `shape` along each axis that has a sigma (in voxels), with reflecting borders.
pub(crate) fn blur(
    channel: &mut [f32],
    shape: [usize; 3],
    sigmas: [Option<f64>; 3],
    buffers: &mut BlurBuffers,
) {
    let [along_z, along_y, along_x] = sigmas.map(|sigma| sigma.map_or(vec![1.0], gaussian_weights));
    let radius = along_z.len() - 1;
    let (depth, area) = (shape[0], shape[1] * shape[2]);
    let slots = 2 * radius + 1;
    buffers.ring.resize(slots * area, 0.0);
    let mut ready = 0;
    for z in 0..depth {
        while ready < depth.min(z + radius + 1) {
            let slot = ready % slots * area..(ready % slots + 1) * area;
            let source = &channel[ready * area..(ready + 1) * area];
            let BlurBuffers { ring, row } = &mut *buffers;
            blur_plane(source, shape[2], [&along_y, &along_x], row, &mut ring[slot]);
            ready += 1;
        }
        let line = |k: isize| {
            let slot = reflect(z as isize + k, depth) % slots;
            &buffers.ring[slot * area..(slot + 1) * area]
        };
        weighted_sum(&along_z, line, &mut channel[z * area..(z + 1) * area]);
    }
}

/// Blurs a plane of rows of `width` along y, then x.
fn blur_plane(
    source: &[f32],
    width: usize,
    [along_y, along_x]: [&[f32]; 2],
    row: &mut Vec<f32>,
    target: &mut [f32],
) {
    let rows = source.len() / width;
    let radius = along_x.len() - 1;
    row.resize(width + 2 * radius, 0.0);
    for (y, target) in target.chunks_exact_mut(width).enumerate() {
        let line = |k: isize| {
            let y = reflect(y as isize + k, rows);
            &source[y * width..(y + 1) * width]
        };
        weighted_sum(along_y, line, &mut row[radius..radius + width]);
        for k in 1..=radius {
            row[radius - k] = row[radius + reflect(-(k as isize), width)];
            row[radius + width - 1 + k] = row[radius + reflect((width - 1 + k) as isize, width)];
        }
        let shifted = |k: isize| {
            let start = (radius as isize + k) as usize;
            &row[start..start + width]
        };
        weighted_sum(along_x, shifted, target);
    }
}

/// `target = Σ weight(|k|) · line(k)` over the kernel, line by line.
fn weighted_sum<'a>(half_kernel: &[f32], line: impl Fn(isize) -> &'a [f32], target: &mut [f32]) {
    for (t, v) in target.iter_mut().zip(line(0)) {
        *t = half_kernel[0] * v;
    }
    for (k, &weight) in half_kernel.iter().enumerate().skip(1) {
        let (before, after) = (line(-(k as isize)), line(k as isize));
        for ((t, a), b) in target.iter_mut().zip(before).zip(after) {
            *t += weight * (a + b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_the_reference_s() {
        let expected = [0.5320973, 0.2187517, 0.0151996];
        assert!(gaussian_weights(0.75).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
        let lengths =
            [0.5, 0.583, 0.584, 0.916, 0.917, 1.0].map(|sigma| 2 * gaussian_weights(sigma).len() - 1);
        assert_eq!(lengths, [3, 3, 5, 5, 7, 7]);
    }

    #[test]
    fn borders_reflect_without_repeating_the_edge() {
        let row = [0.0, 0.0, 1.0, 0.0, 5.0, 2.0];
        let expected = [0.03040, 0.21875, 0.60810, 1.34291, 3.18919, 3.25171];
        for axis in 0..3 {
            let (mut shape, mut sigmas, mut channel) = ([1; 3], [None; 3], row);
            (shape[axis], sigmas[axis]) = (6, Some(0.75));
            blur(&mut channel, shape, sigmas, &mut BlurBuffers::default());
            assert!(
                channel.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5),
                "axis {axis}: {channel:?}"
            );
        }
    }

    #[test]
    fn axes_shorter_than_the_kernel_keep_reflecting() {
        assert_eq!((-4..6).map(|i| reflect(i, 3)).collect::<Vec<_>>(), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]);
        let mut channel = vec![4.0; 2 * 3];
        blur(&mut channel, [1, 2, 3], [Some(1.0); 3], &mut BlurBuffers::default());
        assert!(channel.iter().all(|v| (v - 4.0).abs() < 1e-5));
    }
}
