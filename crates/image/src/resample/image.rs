//! Images: interpolation, then clipping to the range of the input.

use ndarray::{Array3, ArrayView3, Axis, Slice, Zip};
use rayon::prelude::*;

use super::axis::nearest;
use super::{linear, spline};

/// Resamples one channel; `separate` is the axis that is resampled on its own.
pub(super) fn resample(
    data: ArrayView3<'_, f32>,
    new_shape: [usize; 3],
    separate: Option<usize>,
    order: u8,
) -> Array3<f32> {
    match separate {
        None => volume(data, new_shape, order),
        Some(axis) => slices(data, new_shape, axis, order),
    }
}

/// All three axes.
fn volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3], order: u8) -> Array3<f32> {
    let (low, high) = range(data);
    let clip = |value: f64| {
        // Not `clamp`: NaN stays NaN, and a volume of NaN alone has no range.
        let value = if value < low { low } else { value };
        (if value > high { high } else { value }) as f32
    };
    let values = match order {
        0 => return nearest_volume(data, new_shape),
        1 => linear::volume(data, new_shape, clip),
        _ => spline::volume(data, new_shape).into_par_iter().map(clip).collect(),
    };
    Array3::from_shape_vec(new_shape, values).unwrap_or_else(|_| Array3::zeros(new_shape))
}

fn nearest_volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3]) -> Array3<f32> {
    let index: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        (0..new_shape[axis]).map(|k| nearest(k, data.len_of(Axis(axis)), new_shape[axis])).collect()
    });
    Array3::from_shape_fn(new_shape, |(z, y, x)| data[[index[0][z], index[1][y], index[2][x]]])
}

/// Every slice across `axis` on its own, then the nearest slice along it.
fn slices(data: ArrayView3<'_, f32>, new_shape: [usize; 3], axis: usize, order: u8) -> Array3<f32> {
    let n_in = data.len_of(Axis(axis));
    let mut plane = new_shape;
    plane[axis] = 1;
    let mut out = Array3::<f32>::zeros(new_shape);
    let picked: Vec<usize> = (0..new_shape[axis]).map(|k| nearest(k, n_in, new_shape[axis])).collect();
    let resampled: Vec<Option<Array3<f32>>> = (0..n_in)
        .into_par_iter()
        .map(|slice| {
            picked.contains(&slice).then(|| {
                let slice = data.slice_axis(Axis(axis), Slice::from(slice..slice + 1));
                if <[usize; 3]>::from(slice.dim()) == plane {
                    slice.to_owned()
                } else {
                    volume(slice, plane, order)
                }
            })
        })
        .collect();
    for (mut target, slice) in out.axis_iter_mut(Axis(axis)).zip(picked) {
        if let Some(source) = &resampled[slice] {
            Zip::from(&mut target).and(source.index_axis(Axis(axis), 0)).for_each(|t, s| *t = *s);
        }
    }
    out
}

/// Smallest and largest value, NaN aside.
fn range(data: ArrayView3<'_, f32>) -> (f64, f64) {
    let (low, high) = data
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|plane| {
            plane.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
        })
        .reduce(|| (f32::INFINITY, f32::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    (f64::from(low), f64::from(high))
}
