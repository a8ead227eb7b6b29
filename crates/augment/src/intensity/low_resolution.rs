use crate::Tap;
use crate::nearest::{nearest_exact, scaled_length};

/// Buffers that [`low_resolution`] keeps between samples.
#[derive(Debug, Default)]
pub(crate) struct LowResolutionBuffers {
    axes: [Axis; 3],
    /// The channel with x and y already reduced and y, z still to be interpolated.
    small: Vec<f32>,
    plane: Vec<f32>,
    row: Vec<f32>,
}

/// How one axis is reduced and enlarged again.
#[derive(Debug, Default)]
struct Axis {
    /// Voxel of the channel behind each voxel of the reduced axis.
    kept: Vec<usize>,
    /// For each voxel of the channel: lower voxel of the reduced axis, the next one, and the weight of the next.
    taps: Vec<(usize, usize, f32)>,
}

impl Axis {
    fn fill(&mut self, length: usize, factor: f64) {
        let small = scaled_length(length, factor).clamp(1, length);
        self.kept.clear();
        self.kept.extend((0..small).map(|i| nearest_exact(i, length, small)));
        let scale = small as f32 / length as f32;
        self.taps.clear();
        self.taps.extend((0..length).map(|j| {
            let position = (scale * (j as f32 + 0.5) - 0.5).max(0.0);
            let low = (position.floor() as usize).min(small - 1);
            (low, (low + 1).min(small - 1), position - low as f32)
        }));
    }
}

/// Between which voxels of an axis each of its voxels is interpolated after reduction to `factor` times their number.
pub(crate) fn interpolation_taps(length: usize, factor: f64) -> Vec<Tap> {
    let mut axis = Axis::default();
    axis.fill(length, f64::from(factor as f32));
    let tap = |&(low, high, weight): &(usize, usize, f32)| Tap {
        low: axis.kept[low],
        high: axis.kept[high],
        weight,
    };
    axis.taps.iter().map(tap).collect()
}

/// Reduces a channel of `shape` to `factor` times its voxels by taking the nearest ones, then interpolates back.
///
/// `factors` has one entry per axis z, y, x in (0, 1]; an axis with factor 1 stays exactly.
pub(crate) fn low_resolution(
    channel: &mut [f32],
    shape: [usize; 3],
    factors: [f64; 3],
    buffers: &mut LowResolutionBuffers,
) {
    for ((axis, length), factor) in buffers.axes.iter_mut().zip(shape).zip(factors) {
        // The reference keeps factors in single precision.
        axis.fill(length, f64::from(factor as f32));
    }
    let LowResolutionBuffers { axes: [z, y, x], small, plane, row } = buffers;
    small.clear();
    for &kz in &z.kept {
        for &ky in &y.kept {
            let start = (kz * shape[1] + ky) * shape[2];
            let line = &channel[start..start + shape[2]];
            small.extend(x.kept.iter().map(|&kx| line[kx]));
        }
    }
    let width = x.kept.len();
    let area = y.kept.len() * width;
    plane.resize(area, 0.0);
    row.resize(width, 0.0);
    for (target, &tap) in channel.chunks_exact_mut(shape[1] * shape[2]).zip(&z.taps) {
        mix_lines(small, area, tap, plane);
        for (target, &tap) in target.chunks_exact_mut(shape[2]).zip(&y.taps) {
            mix_lines(plane, width, tap, row);
            for (v, &(low, high, weight)) in target.iter_mut().zip(&x.taps) {
                *v = row[low] + (row[high] - row[low]) * weight;
            }
        }
    }
}

/// Interpolates between lines `low` and `high` of `source`, each `length` long.
fn mix_lines(source: &[f32], length: usize, (low, high, weight): (usize, usize, f32), target: &mut [f32]) {
    let a = &source[low * length..(low + 1) * length];
    let b = &source[high * length..(high + 1) * length];
    for ((t, a), b) in target.iter_mut().zip(a).zip(b) {
        *t = a + (b - a) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_at_six_tenths_is_the_reference_s() {
        let mut channel: Vec<f32> = (0..8).map(|i| i as f32).collect();
        low_resolution(&mut channel, [1, 1, 8], [1.0, 1.0, 0.6], &mut LowResolutionBuffers::default());
        assert_eq!(channel, [0.0, 0.875, 2.125, 3.375, 4.3125, 4.9375, 6.125, 7.0]);
    }

    #[test]
    fn factor_one_changes_nothing() {
        let channel: Vec<f32> = (0..60).map(|i| (i * i % 7) as f32).collect();
        let mut found = channel.clone();
        low_resolution(&mut found, [3, 4, 5], [1.0; 3], &mut LowResolutionBuffers::default());
        assert_eq!(found, channel);
    }

    #[test]
    fn an_axis_never_vanishes() {
        let mut channel = vec![1.5; 2];
        low_resolution(&mut channel, [1, 1, 2], [0.1; 3], &mut LowResolutionBuffers::default());
        assert_eq!(channel, [1.5; 2]);
    }
}
