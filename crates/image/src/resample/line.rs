//! Spline interpolation along one axis, many lines side by side.

use super::axis::{PAD, coordinate};
use super::bspline::{MAX_TAPS, poles, taps};

/// Lines that are interpolated side by side.
pub(super) const LANES: usize = 32;

/// One sample of each of the lines that are interpolated together.
pub(super) type Row = [f64; LANES];

/// Coefficients and weights along one axis, from `n_in` samples to as many as there are `taps`.
pub(super) struct Line {
    n_in: usize,
    order: u8,
    taps: Vec<(usize, [f64; MAX_TAPS])>,
}

/// Rows that a thread works in: samples with their padding, and results.
#[derive(Default)]
pub(super) struct Block {
    samples: Vec<Row>,
    values: Vec<Row>,
}

impl Line {
    pub(super) fn new(n_in: usize, n_out: usize, order: u8) -> Self {
        let tap = |k| {
            let (first, weights) = taps(order, coordinate(k, n_in, n_out) + PAD as f64);
            (first as usize, weights)
        };
        Self { n_in, order, taps: (0..n_out).map(tap).collect() }
    }

    /// Interpolates one block: `sample` gives a line's row of samples, `store` takes the rows of results.
    pub(super) fn run(
        &self,
        block: &mut Block,
        mut sample: impl FnMut(usize, &mut Row),
        mut store: impl FnMut(usize, &Row),
    ) {
        block.samples.resize(self.n_in + 2 * PAD, [0.0; LANES]);
        block.values.resize(self.taps.len(), [0.0; LANES]);
        for (i, row) in block.samples[PAD..PAD + self.n_in].iter_mut().enumerate() {
            sample(i, row);
        }
        let (first, last) = (block.samples[PAD], block.samples[PAD + self.n_in - 1]);
        block.samples[..PAD].fill(first);
        block.samples[PAD + self.n_in..].fill(last);
        self.interpolate(&mut block.samples, &mut block.values);
        block.values.iter().enumerate().for_each(|(k, row)| store(k, row));
    }

    fn interpolate(&self, samples: &mut [Row], values: &mut [Row]) {
        prefilter(samples, poles(self.order));
        match self.order {
            1 => self.sum::<2>(samples, values),
            2 => self.sum::<3>(samples, values),
            3 => self.sum::<4>(samples, values),
            4 => self.sum::<5>(samples, values),
            _ => self.sum::<6>(samples, values),
        }
    }

    fn sum<const N: usize>(&self, samples: &[Row], values: &mut [Row]) {
        for (value, (first, weights)) in values.iter_mut().zip(&self.taps) {
            let mut sum = [0.0; LANES];
            for (row, weight) in samples[*first..*first + N].iter().zip(weights) {
                for (sum, sample) in sum.iter_mut().zip(row) {
                    *sum += sample * weight;
                }
            }
            *value = sum;
        }
    }
}

/// Turns samples into B-spline coefficients, with the half-sample symmetric boundary.
///
/// The recursive filter of Unser, Aldroubi and Eden (1991).
fn prefilter(line: &mut [Row], poles: &[f64]) {
    let n = line.len();
    let gain: f64 = poles.iter().map(|pole| (1.0 - pole) * (1.0 - 1.0 / pole)).product();
    if poles.is_empty() || n < 2 {
        return;
    }
    line.as_flattened_mut().iter_mut().for_each(|value| *value *= gain);
    for &pole in poles {
        line[0] = causal_start(line, pole);
        let mut before = line[0];
        for row in &mut line[1..] {
            for (value, before) in row.iter_mut().zip(&mut before) {
                *value += pole * *before;
                *before = *value;
            }
        }
        line[n - 1].iter_mut().for_each(|value| *value *= pole / (pole - 1.0));
        let mut after = line[n - 1];
        for row in line[..n - 1].iter_mut().rev() {
            for (value, after) in row.iter_mut().zip(&mut after) {
                *value = pole * (*after - *value);
                *after = *value;
            }
        }
    }
}

/// First value of the causal filter: the sum over the line and all its mirror images.
fn causal_start(line: &[Row], pole: f64) -> Row {
    let n = line.len();
    let end = pole.powi(n as i32);
    let mut sum = line[0];
    add(&mut sum, &line[n - 1], end);
    let mut power = pole;
    for i in 1..n {
        add(&mut sum, &line[i], power);
        add(&mut sum, &line[n - 1 - i], power * end);
        power *= pole;
        // Nothing that follows can change the sum, except where the samples differ by hundreds of decades.
        if power.abs() < 1e-30 {
            break;
        }
    }
    let scale = pole / (1.0 - end * end);
    std::array::from_fn(|lane| line[0][lane] + sum[lane] * scale)
}

fn add(sum: &mut Row, row: &Row, weight: f64) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value * weight;
    }
}
