//! One axis: where outputs lie between inputs, and interpolation of many lines at once.

use rayon::prelude::*;

/// Edge samples that are added on both sides before a spline is fitted.
const PAD: usize = 12;
/// Pole of the cubic B-spline filter, √3 − 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Lines that are filtered side by side.
const LANES: usize = 16;

/// Coordinate of output `k` in input samples, centres of the outer samples half a sample inside the border.
pub(super) fn coordinate(k: usize, n_in: usize, n_out: usize) -> f64 {
    (k as f64 + 0.5) * (n_in as f64 / n_out as f64) - 0.5
}

/// Index of the input sample nearest to output `k`; halves go up.
pub(super) fn nearest(k: usize, n_in: usize, n_out: usize) -> usize {
    let c = n_in as f64 / n_out as f64 * (k as f64 + 0.5) - 0.5;
    ((c.clamp(0.0, (n_in - 1) as f64) + 0.5).floor() as usize).min(n_in - 1)
}

/// First of two taps and their weights for linear interpolation; the coordinate is clamped to the samples.
pub(super) fn linear(k: usize, n_in: usize, n_out: usize) -> (usize, [f64; 2]) {
    let c = coordinate(k, n_in, n_out).clamp(0.0, (n_in - 1) as f64);
    let first = c.floor();
    let low = 1.0 - (c - first);
    (first as usize, [low, 1.0 - low])
}

/// First of four taps in the padded line and their weights.
fn cubic(k: usize, n_in: usize, n_out: usize) -> (usize, [f64; 4]) {
    let c = coordinate(k, n_in, n_out) + PAD as f64;
    let floor = c.floor();
    let f = c - floor;
    let g = 1.0 - f;
    let w1 = (f * f * (f - 2.0) * 3.0 + 4.0) / 6.0;
    let w2 = (g * g * (g - 2.0) * 3.0 + 4.0) / 6.0;
    let w0 = g * g * g / 6.0;
    (floor as usize - 1, [w0, w1, w2, 1.0 - w0 - w1 - w2])
}

/// Interpolates along the middle axis of `[outer][n_in][inner]`, giving `[outer][n_out][inner]`.
pub(super) fn interpolate(
    values: &[f64],
    [outer, n_in, inner]: [usize; 3],
    n_out: usize,
    order: u8,
) -> Vec<f64> {
    let mut out = vec![0.0; outer * n_out * inner];
    if n_in == n_out {
        out.copy_from_slice(values);
        return out;
    }
    let job = Job::new(n_in, n_out, order);
    if inner == 1 {
        // Along the fastest axis the lines themselves are the lanes.
        out.par_chunks_mut(LANES * n_out).zip(values.par_chunks(LANES * n_in)).for_each(|(out, values)| {
            let lines = values.len() / n_in;
            let mut block = vec![[0.0; LANES]; job.padded()];
            job.fill(&mut block, |i, lane| if lane < lines { values[lane * n_in + i] } else { 0.0 });
            job.run(&mut block, |k, row| {
                for (lane, value) in row.iter().enumerate().take(lines) {
                    out[lane * n_out + k] = *value;
                }
            });
        });
        return out;
    }
    out.par_chunks_mut(n_out * inner).zip(values.par_chunks(n_in * inner)).for_each(|(out, values)| {
        let mut block = vec![[0.0; LANES]; job.padded()];
        for start in (0..inner).step_by(LANES) {
            let lanes = LANES.min(inner - start);
            job.fill(&mut block, |i, lane| if lane < lanes { values[i * inner + start + lane] } else { 0.0 });
            job.run(&mut block, |k, row| {
                out[k * inner + start..k * inner + start + lanes].copy_from_slice(&row[..lanes]);
            });
        }
    });
    out
}

/// Taps and weights of one axis.
struct Job {
    n_in: usize,
    taps: Vec<(usize, [f64; 4])>,
    pad: usize,
    spline: bool,
    width: usize,
}

impl Job {
    fn new(n_in: usize, n_out: usize, order: u8) -> Self {
        let outputs = 0..n_out;
        let two = |(first, [a, b]): (usize, [f64; 2])| (first, [a, b, 0.0, 0.0]);
        let (taps, pad, width) = match order {
            0 => (outputs.map(|k| (nearest(k, n_in, n_out), [1.0, 0.0, 0.0, 0.0])).collect(), 0, 1),
            1 => (outputs.map(|k| two(linear(k, n_in, n_out))).collect(), 0, 2),
            _ => (outputs.map(|k| cubic(k, n_in, n_out)).collect(), PAD, 4),
        };
        Self { n_in, taps, pad, spline: order == 3, width }
    }

    /// Samples of a line with its padding, and one more so that the second linear tap always exists.
    fn padded(&self) -> usize {
        self.n_in + 2 * self.pad + 1
    }

    fn fill(&self, block: &mut [[f64; LANES]], value: impl Fn(usize, usize) -> f64) {
        let last = self.n_in - 1;
        for (i, row) in block.iter_mut().enumerate() {
            let source = i.saturating_sub(self.pad).min(last);
            for (lane, target) in row.iter_mut().enumerate() {
                *target = value(source, lane);
            }
        }
    }

    fn run(&self, block: &mut [[f64; LANES]], mut write: impl FnMut(usize, &[f64; LANES])) {
        if self.spline {
            let n = self.n_in + 2 * self.pad;
            prefilter(&mut block[..n]);
        }
        for (k, (first, weights)) in self.taps.iter().enumerate() {
            let mut row = [0.0; LANES];
            for (samples, weight) in block[*first..].iter().zip(weights).take(self.width) {
                for (sum, sample) in row.iter_mut().zip(samples) {
                    *sum += sample * weight;
                }
            }
            write(k, &row);
        }
    }
}

/// Turns samples into cubic B-spline coefficients, line by line, with the half-sample symmetric boundary.
fn prefilter(line: &mut [[f64; LANES]]) {
    let n = line.len();
    let gain = (1.0 - POLE) * (1.0 - 1.0 / POLE);
    line.as_flattened_mut().iter_mut().for_each(|value| *value *= gain);
    let end = POLE.powi(n as i32);
    let first = line[0];
    let mut start = [0.0; LANES];
    for lane in 0..LANES {
        let mut sum = first[lane] + end * line[n - 1][lane];
        let mut power = POLE;
        for i in 1..n {
            sum += power * (line[i][lane] + end * line[n - 1 - i][lane]);
            power *= POLE;
            if power == 0.0 {
                break;
            }
        }
        start[lane] = first[lane] + sum * POLE / (1.0 - end * end);
    }
    line[0] = start;
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
