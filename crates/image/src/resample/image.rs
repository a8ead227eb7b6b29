//! Images: one pass per axis, then clipping to the range of the input.

use ndarray::{Array3, ArrayView3, Axis, Zip};
use rayon::prelude::*;

use super::axis::{interpolate, nearest};

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

/// All three axes in turn.
fn volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3], order: u8) -> Array3<f32> {
    let (low, high) = range(data);
    let mut shape: [usize; 3] = data.dim().into();
    let mut values: Vec<f64> = data.iter().map(|&v| f64::from(v)).collect();
    for axis in 0..3 {
        let outer = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product();
        values = interpolate(&values, [outer, shape[axis], inner], new_shape[axis], order);
        shape[axis] = new_shape[axis];
    }
    let values: Vec<f32> = values.into_par_iter().map(|v| clip(v, low, high)).collect();
    Array3::from_shape_vec(shape, values).unwrap_or_else(|_| Array3::zeros(shape))
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
                let slice = data.slice_axis(Axis(axis), ndarray::Slice::from(slice..slice + 1));
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
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for &v in data {
        low = low.min(v);
        high = high.max(v);
    }
    (f64::from(low), f64::from(high))
}

fn clip(value: f64, low: f64, high: f64) -> f32 {
    // Not `clamp`: NaN stays NaN, and a volume of NaN alone has no range.
    let value = if value < low { low } else { value };
    (if value > high { high } else { value }) as f32
}
