//! Linear interpolation in single precision, as `torch.nn.functional.interpolate` does it, which some plans ask for.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

/// Per output along one axis: the two samples around it and their weights.
struct Taps(Vec<([usize; 2], [f32; 2])>);

impl Taps {
    fn new(n_in: usize, n_out: usize) -> Self {
        let scale = n_in as f32 / n_out as f32;
        let tap = |k: usize| {
            if n_in == n_out {
                return ([k, k], [1.0, 0.0]);
            }
            let c = (scale * (k as f32 + 0.5) - 0.5).max(0.0);
            let low = (c as usize).min(n_in - 1);
            let high = c - low as f32;
            ([low, (low + 1).min(n_in - 1)], [1.0 - high, high])
        };
        Self((0..n_out).map(tap).collect())
    }
}

/// The slices that are picked along a separate axis.
fn picked(n_in: usize, n_out: usize) -> Vec<usize> {
    let scale = n_in as f32 / n_out as f32;
    (0..n_out).map(|k| (((k as f32 + 0.5) * scale) as usize).min(n_in - 1)).collect()
}

/// Shape after the pass in the plane: that of the result, but for a separate axis.
fn in_plane_shape(shape: [usize; 3], new_shape: [usize; 3], separate: Option<usize>) -> [usize; 3] {
    std::array::from_fn(|axis| if separate == Some(axis) { shape[axis] } else { new_shape[axis] })
}

/// Resamples one channel; `separate` is the axis along which slices are picked. The result is in C order.
pub(super) fn image(data: ArrayView3<'_, f32>, new_shape: [usize; 3], separate: Option<usize>) -> Vec<f32> {
    interpolate(data, new_shape, separate, |rows, [x0, x1], [wz, wy], [w0, w1]| {
        let line = |i: usize| {
            let row: &[f32] = rows[i];
            w0 * row[x0] + w1 * row[x1]
        };
        wz[0] * (wy[0] * line(0) + wy[1] * line(1)) + wz[1] * (wy[0] * line(2) + wy[1] * line(3))
    })
}

/// Resamples a label map: the label with the largest interpolated indicator, the smallest of several; with
/// `memory_efficient`, the label whose indicator is above one half, or 0.
///
/// Indicators are compared in half precision, as the reference keeps them.
pub(super) fn labels(
    data: ArrayView3<'_, i16>,
    new_shape: [usize; 3],
    separate: Option<usize>,
    memory_efficient: bool,
) -> Vec<i16> {
    let scale = if memory_efficient { 1.0 } else { 1000.0 };
    interpolate(data, new_shape, separate, |rows, [x0, x1], [wz, wy], [w0, w1]| {
        let near: [i16; 8] = std::array::from_fn(|i| rows[i / 2][if i % 2 == 0 { x0 } else { x1 }]);
        if near.iter().all(|label| *label == near[0]) {
            return near[0];
        }
        let score = |label: i16| {
            let v = |i: usize| if near[i] == label { scale } else { 0.0 };
            let line = |i: usize| w0 * v(2 * i) + w1 * v(2 * i + 1);
            wz[0] * (wy[0] * line(0) + wy[1] * line(1)) + wz[1] * (wy[0] * line(2) + wy[1] * line(3))
        };
        if memory_efficient {
            return near.into_iter().find(|label| score(*label) > 0.5).unwrap_or(0);
        }
        let (mut best, mut winner) = (-1.0, i16::MAX);
        for label in near {
            let score = half(score(label));
            if score > best || (score == best && label < winner) {
                (best, winner) = (score, label);
            }
        }
        winner
    })
}

/// Rounds to the 11 significant bits of a half-precision number; for numbers of its normal range.
fn half(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff)
}

/// Calls `value` for every output with the four rows around it, the two places in them, and the weights along z and y, and
/// along x; then picks slices along a separate axis.
fn interpolate<T: Copy + Default + Send + Sync>(
    data: ArrayView3<'_, T>,
    new_shape: [usize; 3],
    separate: Option<usize>,
    value: impl Fn([&[T]; 4], [usize; 2], [[f32; 2]; 2], [f32; 2]) -> T + Sync,
) -> Vec<T> {
    let shape: [usize; 3] = data.dim().into();
    let data = data.as_standard_layout();
    let values = data.as_slice().unwrap_or_default();
    let plane = in_plane_shape(shape, new_shape, separate);
    let [tz, ty, tx] = std::array::from_fn(|axis| Taps::new(shape[axis], plane[axis]));
    let mut out = vec![T::default(); plane.iter().product()];
    if plane == shape {
        out.copy_from_slice(values);
    } else {
        out.par_chunks_mut(plane[2]).enumerate().for_each(|(row, out)| {
            let ((iz, wz), (iy, wy)) = (tz.0[row / plane[1]], ty.0[row % plane[1]]);
            let rows: [&[T]; 4] =
                std::array::from_fn(|i| &values[(iz[i / 2] * shape[1] + iy[i % 2]) * shape[2]..][..shape[2]]);
            for (out, &(ix, wx)) in out.iter_mut().zip(&tx.0) {
                *out = value(rows, ix, [wz, wy], wx);
            }
        });
    }
    match separate {
        Some(axis) if plane != new_shape => {
            let Ok(array) = Array3::from_shape_vec(plane, out) else { return Vec::new() };
            array.select(Axis(axis), &picked(shape[axis], new_shape[axis])).into_raw_vec_and_offset().0
        }
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values of torch 2.15, mode "nearest-exact".
    #[test]
    fn slices_are_picked_in_single_precision() {
        assert_eq!(picked(4, 7), [0, 0, 1, 2, 2, 3, 3]);
        // In double precision, number 18 would be slice 3.
        assert_eq!(picked(6, 37)[16..21], [2, 2, 2, 3, 3]);
    }

    #[test]
    fn halves_have_eleven_bits() {
        for (value, expected) in
            [(1000.0, 1000.0), (700.2, 700.0), (700.3, 700.5), (125.03125, 125.0), (125.09375, 125.125)]
        {
            assert_eq!(half(value), expected, "{value}");
        }
    }
}
