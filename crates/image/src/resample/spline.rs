//! Cubic spline interpolation, one axis at a time and many lines side by side.

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};

use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::axis::{PAD, cubic};

/// Pole of the cubic B-spline filter, √3 − 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Lines that are filtered side by side.
const LANES: usize = 16;

/// One sample of each of the lines that are filtered together.
type Row = [f64; LANES];

/// Resamples a volume; axes whose size stays are left alone, axes that shrink come first.
pub(super) fn volume(data: ArrayView3<'_, f32>, new_shape: [usize; 3]) -> Vec<f64> {
    let mut shape: [usize; 3] = data.dim().into();
    let mut axes: Vec<usize> = (0..3).filter(|&axis| shape[axis] != new_shape[axis]).collect();
    let growth = |axis: usize| new_shape[axis] as f64 / shape[axis] as f64;
    axes.sort_by(|&a, &b| growth(a).total_cmp(&growth(b)));
    let data = data.as_standard_layout();
    let mut values: Option<Vec<f64>> = None;
    for axis in axes {
        values = Some(match &values {
            None => pass(data.as_slice().unwrap_or_default(), shape, axis, new_shape[axis]),
            Some(values) => pass(values, shape, axis, new_shape[axis]),
        });
        shape[axis] = new_shape[axis];
    }
    values.unwrap_or_else(|| data.iter().map(|&v| f64::from(v)).collect())
}

/// Interpolates along one axis of an array in C order.
fn pass<S>(values: &[S], shape: [usize; 3], axis: usize, n_out: usize) -> Vec<f64>
where
    S: Copy + Sync,
    f64: From<S>,
{
    let (n_in, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer: usize = shape[..axis].iter().product();
    let mut out = vec![0.0; outer * n_out * inner];
    let line = Line::new(n_in, n_out);
    if inner == 1 {
        // Along the fastest axis, whole lines lie one after the other.
        out.par_chunks_mut(LANES * n_out).zip(values.par_chunks(LANES * n_in)).for_each_init(
            || line.scratch(),
            |block, (out, values)| {
                let lines = values.len() / n_in;
                line.fill(block, |i, lane| f64::from(values[lane.min(lines - 1) * n_in + i]));
                line.run(block, |k, row| {
                    out.iter_mut().skip(k).step_by(n_out).zip(row).for_each(|(o, v)| *o = *v);
                });
            },
        );
        return out;
    }
    let Ok(mut target) = ArrayViewMut3::from_shape((outer, n_out, inner), &mut out) else { return out };
    target.axis_iter_mut(Axis(0)).into_par_iter().zip(values.par_chunks(n_in * inner)).for_each(
        |(mut target, values)| {
            target.axis_chunks_iter_mut(Axis(1), LANES).into_par_iter().enumerate().for_each_init(
                || line.scratch(),
                |block, (chunk, target)| line.columns(block, &values[chunk * LANES..], inner, target),
            );
        },
    );
    out
}

/// Taps and weights of one axis.
struct Line {
    n_in: usize,
    taps: Vec<(usize, [f64; 4])>,
}

impl Line {
    fn new(n_in: usize, n_out: usize) -> Self {
        Self { n_in, taps: (0..n_out).map(|k| cubic(k, n_in, n_out)).collect() }
    }

    fn scratch(&self) -> Vec<Row> {
        vec![[0.0; LANES]; self.n_in + 2 * PAD]
    }

    /// Lines that run across rows of length `inner`, as many as `target` has columns.
    fn columns<S>(&self, block: &mut [Row], values: &[S], inner: usize, mut target: ArrayViewMut2<'_, f64>)
    where
        S: Copy,
        f64: From<S>,
    {
        let lanes = target.len_of(Axis(1));
        self.fill(block, |i, lane| f64::from(values[i * inner + lane.min(lanes - 1)]));
        self.run(block, |k, row| {
            target.slice_mut(s![k, ..]).iter_mut().zip(row).for_each(|(o, v)| *o = *v);
        });
    }

    /// Copies the lines with their first and last samples repeated on both sides.
    fn fill(&self, block: &mut [Row], value: impl Fn(usize, usize) -> f64) {
        for (i, row) in block[PAD..PAD + self.n_in].iter_mut().enumerate() {
            for (lane, target) in row.iter_mut().enumerate() {
                *target = value(i, lane);
            }
        }
        let (first, last) = (block[PAD], block[PAD + self.n_in - 1]);
        block[..PAD].fill(first);
        block[PAD + self.n_in..].fill(last);
    }

    fn run(&self, block: &mut [Row], mut write: impl FnMut(usize, &Row)) {
        prefilter(block);
        for (k, &(first, weights)) in self.taps.iter().enumerate() {
            let mut sum = [0.0; LANES];
            for (samples, weight) in block[first..first + 4].iter().zip(weights) {
                for (sum, sample) in sum.iter_mut().zip(samples) {
                    *sum += sample * weight;
                }
            }
            write(k, &sum);
        }
    }
}

/// Turns samples into cubic B-spline coefficients, with the half-sample symmetric boundary.
///
/// The recursive filter of Unser, Aldroubi and Eden (1991).
fn prefilter(line: &mut [Row]) {
    let n = line.len();
    let gain = (1.0 - POLE) * (1.0 - 1.0 / POLE);
    line.as_flattened_mut().iter_mut().for_each(|value| *value *= gain);
    line[0] = causal_start(line);
    for i in 1..n {
        let before = line[i - 1];
        for (value, before) in line[i].iter_mut().zip(before) {
            *value += POLE * before;
        }
    }
    line[n - 1].iter_mut().for_each(|value| *value *= POLE / (POLE - 1.0));
    for i in (0..n - 1).rev() {
        let after = line[i + 1];
        for (value, after) in line[i].iter_mut().zip(after) {
            *value = POLE * (after - *value);
        }
    }
}

/// First value of the causal filter: the sum over the line and all its mirror images.
fn causal_start(line: &[Row]) -> Row {
    let n = line.len();
    let end = POLE.powi(n as i32);
    std::array::from_fn(|lane| {
        let first = line[0][lane];
        let mut sum = first + end * line[n - 1][lane];
        let mut power = POLE;
        for i in 1..n {
            sum += power * (line[i][lane] + end * line[n - 1 - i][lane]);
            power *= POLE;
            // Nothing that follows can change the sum, except where the samples differ by hundreds of decades.
            if power.abs() < 1e-300 {
                break;
            }
        }
        first + sum * POLE / (1.0 - end * end)
    })
}
