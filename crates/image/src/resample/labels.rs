//! Segmentations: the label with the largest linearly interpolated indicator.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use super::axis::{LinearTaps, nearest};

/// Resamples a label map; `separate` is the axis that is resampled on its own.
pub(super) fn resample(
    data: ArrayView3<'_, i16>,
    new_shape: [usize; 3],
    separate: Option<usize>,
    order: u8,
) -> Array3<i16> {
    let shape: [usize; 3] = data.dim().into();
    let data = data.as_standard_layout();
    let Some(values) = data.as_slice() else { return Array3::zeros(new_shape) };
    let Some(axis) = separate else {
        return volume(values, shape, new_shape, order);
    };
    // In the plane first, which leaves the separate axis alone; then the nearest slice along it.
    let mut plane = new_shape;
    plane[axis] = shape[axis];
    let in_plane = if plane == shape { data.to_owned() } else { volume(values, shape, plane, order) };
    let picked: Vec<usize> = (0..new_shape[axis]).map(|k| nearest(k, shape[axis], new_shape[axis])).collect();
    in_plane.select(Axis(axis), &picked)
}

/// Taps of one axis: the samples that have a part in each output, and the nearest one.
struct Taps {
    linear: LinearTaps,
    nearest: Vec<usize>,
}

impl Taps {
    fn new(n_in: usize, n_out: usize) -> Self {
        let nearest = (0..n_out).map(|k| nearest(k, n_in, n_out)).collect();
        Self { linear: LinearTaps::new(n_in, n_out), nearest }
    }
}

fn volume(values: &[i16], shape: [usize; 3], new_shape: [usize; 3], order: u8) -> Array3<i16> {
    let taps: [Taps; 3] = std::array::from_fn(|axis| Taps::new(shape[axis], new_shape[axis]));
    let mut out = Array3::<i16>::zeros(new_shape);
    let rows = out.as_slice_mut().unwrap_or_default();
    rows.par_chunks_mut(new_shape[2]).enumerate().for_each(|(row, target)| {
        let (z, y) = (row / new_shape[1], row % new_shape[1]);
        let nearest_row =
            &values[(taps[0].nearest[z] * shape[1] + taps[1].nearest[y]) * shape[2]..][..shape[2]];
        if order == 0 {
            for (value, &x) in target.iter_mut().zip(&taps[2].nearest) {
                *value = nearest_row[x];
            }
            return;
        }
        let ((iz, wz), (iy, wy)) = (taps[0].linear.at(z), taps[1].linear.at(y));
        // The four input rows around this output row, and their weights in the order z, then y.
        let rows: [(&[i16], f64); 4] = std::array::from_fn(|i| {
            let (a, b) = (i / 2, i % 2);
            (&values[(iz[a] * shape[1] + iy[b]) * shape[2]..][..shape[2]], wz[a] * wy[b])
        });
        for (x, value) in target.iter_mut().enumerate() {
            let (ix, wx) = taps[2].linear.at(x);
            let labels: [i16; 8] = std::array::from_fn(|i| rows[i / 2].0[ix[i % 2]]);
            *value = if labels.iter().all(|l| *l == labels[0]) {
                labels[0]
            } else {
                let weights: [f64; 8] = std::array::from_fn(|i| rows[i / 2].1 * wx[i % 2]);
                vote(&labels, &weights, nearest_row[taps[2].nearest[x]])
            };
        }
    });
    out
}

/// The label with the largest sum of weights, each sum clipped to 1; ties as [`super::resample_labels`] says.
fn vote(labels: &[i16; 8], weights: &[f64; 8], nearest: i16) -> i16 {
    let score = |label: i16| {
        let sum = labels.iter().zip(weights).filter(|(l, _)| **l == label).fold(0.0, |sum, (_, w)| sum + w);
        sum.min(1.0)
    };
    let (mut best, mut winner) = (0.0, i16::MAX);
    for (i, &label) in labels.iter().enumerate() {
        if labels[..i].contains(&label) {
            continue;
        }
        let score = score(label);
        if score > best || (score == best && label < winner) {
            (best, winner) = (score, label);
        }
    }
    let near = score(nearest);
    if near > 0.0 && near == best { nearest } else { winner }
}
