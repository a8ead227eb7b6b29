//! Images: interpolation, then clipping to the range of the input.

use ndarray::{Array3, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;

use super::axis::nearest;
use super::linear;
use super::spline::{Scratch, Span, Spline};

/// Resamples one channel; `separate` is the axis that is resampled on its own, and the order along it. The result is in C
/// order.
pub(super) fn resample(
    data: ArrayView3<'_, f32>,
    new_shape: [usize; 3],
    separate: Option<(usize, u8)>,
    order: u8,
) -> Vec<f32> {
    match separate {
        None => volume(data, new_shape, order),
        Some((axis, 0)) => slices(data, new_shape, axis, order),
        Some((axis, order_z)) => {
            let mut plane = new_shape;
            plane[axis] = data.len_of(Axis(axis));
            let values = slices(data, plane, axis, order);
            ArrayView3::from_shape(plane, &values)
                .map_or_else(|_| Vec::new(), |data| along(data, new_shape, order_z))
        }
    }
}

/// All three axes, clipped.
fn volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3], order: u8) -> Vec<f32> {
    let shape: [usize; 3] = data.dim().into();
    if shape == new_shape {
        return data.iter().copied().collect();
    }
    match order {
        0 => nearest_volume(data, new_shape),
        1 => {
            let span = Span { centre: 0.0, ..span(data) };
            linear::volume(data, new_shape, |value| span.finish(value))
        }
        _ => Spline::new(shape, new_shape, order).volume(data, &span(data)),
    }
}

/// Interpolates without clipping.
pub(super) fn along(data: ArrayView3<'_, f32>, new_shape: [usize; 3], order: u8) -> Vec<f32> {
    let shape: [usize; 3] = data.dim().into();
    if shape == new_shape {
        return data.iter().copied().collect();
    }
    let span = Span { low: f32::NEG_INFINITY, high: f32::INFINITY, ..span(data) };
    Spline::new(shape, new_shape, order).volume(data, &span)
}

fn nearest_volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3]) -> Vec<f32> {
    let index: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        (0..new_shape[axis]).map(|k| nearest(k, data.len_of(Axis(axis)), new_shape[axis])).collect()
    });
    let mut out = vec![0.0; new_shape.iter().product()];
    out.par_chunks_mut(new_shape[2]).enumerate().for_each(|(row, out)| {
        let (z, y) = (index[0][row / new_shape[1]], index[1][row % new_shape[1]]);
        out.iter_mut().zip(&index[2]).for_each(|(value, &x)| *value = data[[z, y, x]]);
    });
    out
}

/// Every slice across `axis` on its own, then the nearest slice along it.
fn slices(data: ArrayView3<'_, f32>, new_shape: [usize; 3], axis: usize, order: u8) -> Vec<f32> {
    let (n_in, n_out) = (data.len_of(Axis(axis)), new_shape[axis]);
    let plane = |shape: [usize; 3]| {
        let [a, b] = [[1, 2], [0, 2], [0, 1]][axis];
        [1, shape[a], shape[b]]
    };
    let job = Slices { shape: plane(data.dim().into()), new_shape: plane(new_shape), order };
    let spline = (order > 1).then(|| Spline::new(job.shape, job.new_shape, order));
    let mut out = Array3::<f32>::zeros(new_shape);
    // The slices of the result that one slice of the input goes to lie side by side.
    let (mut blocks, mut rest, mut k) = (Vec::new(), out.view_mut(), 0);
    while k < n_out {
        let source = nearest(k, n_in, n_out);
        let count = (k..n_out).take_while(|&k| nearest(k, n_in, n_out) == source).count();
        let (block, after) = rest.split_at(Axis(axis), count);
        blocks.push((source, block));
        (rest, k) = (after, k + count);
    }
    blocks.into_par_iter().for_each_init(Scratch::default, |scratch, (source, mut block)| {
        let values = job.slice(data.index_axis(Axis(axis), source), spline.as_ref(), scratch);
        let Ok(values) = ArrayView2::from_shape((job.new_shape[1], job.new_shape[2]), &values) else {
            return;
        };
        for mut target in block.axis_iter_mut(Axis(axis)) {
            target.assign(&values);
        }
    });
    out.into_raw_vec_and_offset().0
}

/// Slices of one shape on their way to another.
struct Slices {
    shape: [usize; 3],
    new_shape: [usize; 3],
    order: u8,
}

impl Slices {
    /// One slice, clipped to its own range.
    fn slice(&self, slice: ArrayView2<'_, f32>, spline: Option<&Spline>, scratch: &mut Scratch) -> Vec<f32> {
        let slice = slice.as_standard_layout();
        let volume = slice.view().insert_axis(Axis(0));
        if self.shape == self.new_shape {
            return slice.iter().copied().collect();
        }
        match (spline, slice.as_slice()) {
            (Some(spline), Some(values)) => {
                let span = span(volume);
                let mut out = vec![0.0; self.new_shape.iter().product()];
                spline.plane(values, span.centre, &mut out, Some(&span), scratch);
                out
            }
            _ => self::volume(volume, self.new_shape, self.order),
        }
    }
}

/// Range and mean, NaN aside.
fn span(data: ArrayView3<'_, f32>) -> Span {
    // In the order of the planes, so that the result does not depend on the number of threads.
    let planes: Vec<Part> = data
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|plane| {
            let mut part = Part::default();
            match plane.as_slice() {
                Some(values) => part.add(values),
                None => plane.rows().into_iter().for_each(|row| part.add(&row.to_vec())),
            }
            part
        })
        .collect();
    let (mut span, mut sum, mut count) =
        (Span { centre: 0.0, low: f32::INFINITY, high: f32::NEG_INFINITY }, 0.0, 0.0);
    for part in planes {
        span.low = part.low.into_iter().fold(span.low, f32::min);
        span.high = part.high.into_iter().fold(span.high, f32::max);
        sum += part.sum.iter().sum::<f64>();
        count += part.count.iter().sum::<f64>();
    }
    span.centre = if count > 0.0 { (sum / count) as f32 } else { 0.0 };
    span
}

/// Running range and sum of values, sixteen at a time.
struct Part {
    low: [f32; 16],
    high: [f32; 16],
    sum: [f64; 16],
    count: [f64; 16],
}

impl Default for Part {
    fn default() -> Self {
        Self { low: [f32::INFINITY; 16], high: [f32::NEG_INFINITY; 16], sum: [0.0; 16], count: [0.0; 16] }
    }
}

impl Part {
    fn add(&mut self, values: &[f32]) {
        for values in values.chunks(16) {
            for (i, &v) in values.iter().enumerate() {
                // A comparison with NaN is false.
                self.low[i] = if v < self.low[i] { v } else { self.low[i] };
                self.high[i] = if v > self.high[i] { v } else { self.high[i] };
                let finite = v.abs() < f32::INFINITY;
                self.sum[i] += if finite { f64::from(v) } else { 0.0 };
                self.count[i] += if finite { 1.0 } else { 0.0 };
            }
        }
    }
}
