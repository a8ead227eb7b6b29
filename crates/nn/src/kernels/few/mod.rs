//! Convolutions with few outputs and many weights: matrix products that read every weight once, where it lies.
//!
//! Elsewhere weights are put into the order of the registers first; with a few hundred voxels that costs more than the products.
//! Here the outputs' inputs are laid out as the weights are (taps of a channel, channel after channel), so that an output is the
//! scalar product of two runs. For both gradients a run of weights is what the lanes hold.
#![allow(unsafe_code)]

mod columns;
mod factor;

use rayon::prelude::*;

use super::bf16::{Engine, engine};
use super::correlate::{Pass, Products, SharedOut};
use super::isa::{Isa, isa};
use super::moments::Moments;
use super::pack::Strided;
use super::portable;
use super::scratch::Scratch;
use super::shape::Correlation;
use super::source::Source;
use columns::{Reach, fill, pad};
use factor::{Factor, Grid, ROWS, Rows, WIDTH};

/// Weights from which on it matters.
const WEIGHTS: usize = 1 << 17;
/// Weights that are more than a last level cache holds once they were put in order.
const MANY_WEIGHTS: usize = 4 << 20;
/// Channels whose gradients a task makes.
const CHANNELS: usize = 16;
/// Output channels of a task.
const BLOCK: usize = 4 * ROWS[1];
/// Bytes of a part of the columns that stay in a second level cache.
const CACHED: usize = 600 << 10;
/// Factors of the weights' rows that stay in a first level cache.
const LENGTH: usize = 24 << 10;

/// Whether a dense correlation with the weights (out, in, taps) of a convolution is one for this method.
pub(crate) fn applies(plan: &Correlation, products: Products, pass: Pass) -> bool {
    let outputs = plan.input.batch * plan.count.iter().product::<usize>();
    let dense = plan.out_start == [0; 3] && plan.out_step == [1; 3] && plan.count == plan.output.space;
    isa() == Isa::Avx512
        && dense
        && !plan.is_empty()
        && plan.depth() * plan.output.channels >= WEIGHTS
        && outputs <= most(plan, products, pass)
        && match products {
            Products::Fast => true,
            Products::Direct => false,
            Products::Bf16 | Products::Bf16Strict => engine() == Some(Engine::Dot),
        }
}

/// Outputs up to which the method was found to be faster than Winograd's filtering and register blocks.
fn most(plan: &Correlation, products: Products, pass: Pass) -> usize {
    match pass {
        Pass::Prepared => 64,
        // Put in order, so many weights are more than a last level cache holds.
        Pass::Forward if plan.depth() * plan.output.channels > MANY_WEIGHTS => 600,
        Pass::Forward => 200,
        Pass::Backward if matches!(products, Products::Fast | Products::Direct) => 600,
        Pass::Backward => 1300,
    }
}

/// Whether weights lie as those of a convolution: the taps of a channel together, channel after channel.
pub(crate) fn lie_in_order(plan: &Correlation, weights: &Strided<'_>) -> bool {
    let taps: usize = plan.taps.iter().product();
    weights.input == taps
        && weights.output == plan.depth()
        && weights.taps.iter().copied().eq(0..taps)
        && weights.values.len() >= plan.depth() * plan.output.channels
}

/// Computes all outputs and, if asked for, their moments, as [`super::correlate::Prepared::run`] does.
pub(crate) fn correlate(
    plan: &Correlation,
    products: Products,
    x: Source<'_>,
    weights: &[f32],
    bias: &[f32],
    out: &mut [f32],
    moments: bool,
) -> Vec<Moments> {
    match products {
        Products::Bf16 | Products::Bf16Strict => forward::<u16>(plan, x, weights, bias, out),
        Products::Fast | Products::Direct => forward::<f32>(plan, x, weights, bias, out),
    }
    if moments { portable::moments(plan, out) } else { Vec::new() }
}

fn forward<F: Factor>(plan: &Correlation, x: Source<'_>, weights: &[f32], bias: &[f32], out: &mut [f32]) {
    let reach = Reach::of(plan);
    let (ci, co, taps, outputs) =
        (plan.input.channels, plan.output.channels, reach.taps.len(), reach.first.len());
    assert!(weights.len() >= co * ci * taps && bias.len() >= co);
    assert!(out.len() >= (outputs - 1) * plan.pitch + co);
    let values = pad(plan, &x);
    let mut padded = Scratch::<F>::any(values.len());
    F::convert(&values, &mut padded);
    let bytes = outputs * taps * size_of::<F>();
    let together = (CACHED / bytes).min(LENGTH / ROWS[1] / taps / size_of::<F>()).clamp(1, ci);
    let together = ci.div_ceil(ci.div_ceil(together));
    let pitch = (together * taps).next_multiple_of(F::LANES);
    let mut columns = Scratch::<F>::any(outputs * pitch);
    let shared = SharedOut(out.as_mut_ptr());
    for first in (0..ci).step_by(together) {
        let own = first..ci.min(first + together);
        const SOME: usize = 16;
        columns.par_chunks_mut(SOME * pitch).enumerate().for_each(|(part, rows)| {
            let outputs = part * SOME..outputs.min((part + 1) * SOME);
            fill(&reach, outputs, &padded, ci, own.clone(), pitch, rows);
        });
        let part = Part { plan, weights, bias, columns: &columns, pitch, own, taps, outputs };
        (0..co.div_ceil(BLOCK)).into_par_iter().with_max_len(1).for_each(|block| {
            // SAFETY: `applies` asks for the instructions; tasks write channels of their own.
            unsafe { part.block(block * BLOCK..co.min((block + 1) * BLOCK), shared) };
        });
    }
}

/// The products of some input channels.
struct Part<'a, F> {
    plan: &'a Correlation,
    weights: &'a [f32],
    bias: &'a [f32],
    columns: &'a [F],
    pitch: usize,
    own: std::ops::Range<usize>,
    taps: usize,
    outputs: usize,
}

impl<F: Factor> Part<'_, F> {
    /// Adds the products to the outputs of some channels; those of the first input channels come with the bias.
    ///
    /// # Safety
    /// The processor has the instructions; the outputs can be written.
    unsafe fn block(&self, channels: std::ops::Range<usize>, out: SharedOut) {
        let (length, depth) = (self.own.len() * self.taps, self.plan.depth());
        let step = length.next_multiple_of(F::LANES);
        let mut rounded = Scratch::<F>::any(ROWS[1] * step);
        let mut sums = [0.0; ROWS[0] * ROWS[1]];
        let mut first = channels.start;
        while first < channels.end {
            let count = match channels.end - first {
                n if n >= ROWS[1] => ROWS[1],
                n => n.min(2),
            };
            for (j, to) in rounded.chunks_exact_mut(step).take(count).enumerate() {
                let from = (first + j) * depth + self.own.start * self.taps;
                F::convert(&self.weights[from..][..length], &mut to[..length]);
            }
            // Meanwhile, those of the next rows are on their way.
            let next = first + count..channels.end.min(first + count + ROWS[1]);
            let ahead = (next.len() * length).div_ceil(self.outputs.div_ceil(ROWS[0]));
            for output in (0..self.outputs).step_by(ROWS[0]) {
                let own = ROWS[0].min(self.outputs - output);
                for at in (output / ROWS[0] * ahead..next.len() * length).step_by(16).take(ahead.div_ceil(16))
                {
                    let row = next.start + at / length;
                    prefetch(&self.weights[row * depth + self.own.start * self.taps + at % length]);
                }
                let x = Rows { values: &self.columns[output * self.pitch..], step: self.pitch, count: own };
                let w = Rows { values: &rounded, step, count };
                // SAFETY: the caller's.
                unsafe { F::dots(x, w, length, &mut sums) };
                for (j, sums) in sums.chunks_exact(own).take(count).enumerate() {
                    for (i, sum) in sums.iter().enumerate() {
                        // SAFETY: `forward` checked the length.
                        unsafe {
                            let to = out.0.add((output + i) * self.plan.pitch + first + j);
                            *to = sum + if self.own.start == 0 { self.bias[first + j] } else { *to };
                        }
                    }
                }
            }
            first += count;
        }
    }
}

/// Asks for a value.
fn prefetch(value: *const f32) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 processor has the instruction, which never fails.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(value.cast()) };
}

/// Runs a task for every block of input channels.
fn each_block(channels: usize, run: impl Fn(std::ops::Range<usize>) + Sync) {
    let blocks = (0..channels.div_ceil(CHANNELS)).into_par_iter().with_max_len(1);
    blocks.for_each(|block| run(block * CHANNELS..channels.min((block + 1) * CHANNELS)));
}

/// The gradient of the input, added to the zeros of `dx`; `plan` is that of the forward pass.
pub(crate) fn input_gradient(
    plan: &Correlation,
    products: Products,
    dy: &[f32],
    weights: &[f32],
    dx: &mut [f32],
) {
    match products {
        Products::Bf16 | Products::Bf16Strict => input_gradient_of::<u16>(plan, dy, weights, dx),
        Products::Fast | Products::Direct => input_gradient_of::<f32>(plan, dy, weights, dx),
    }
}

fn input_gradient_of<F: Factor>(plan: &Correlation, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    let reach = Reach::of(plan);
    let (ci, co, outputs) = (plan.input.channels, plan.output.channels, reach.first.len());
    assert!(weights.len() >= plan.depth() * co && dy.len() == outputs * co && dx.len() == plan.input.len());
    // An even number of channels, so that pairs lie together.
    let even = co.next_multiple_of(F::PAIR);
    let mut factors = Scratch::<F>::zeros(outputs * even);
    for (to, from) in factors.chunks_exact_mut(even).zip(dy.chunks_exact(co)) {
        F::convert(from, &mut to[..co]);
    }
    let shared = SharedOut(dx.as_mut_ptr());
    each_block(ci, |own| {
        let mut planes = Scratch::zeros(own.len() * reach.voxels(plan.input.batch));
        // SAFETY: `applies` asks for the instructions.
        unsafe { gradient_planes(plan, &reach, &factors, weights, own.clone(), &mut planes) };
        crop(plan, &reach, own, &planes, shared);
    });
}

/// Adds the gradients of some input channels to zero-padded planes, channel after channel.
///
/// # Safety
/// The processor has the instructions of `F`.
unsafe fn gradient_planes<F: Factor>(
    plan: &Correlation,
    reach: &Reach,
    dy: &[F],
    weights: &[f32],
    own: std::ops::Range<usize>,
    planes: &mut [f32],
) {
    let (co, taps, voxels) = (plan.output.channels, reach.taps.len(), reach.voxels(plan.input.batch));
    let (outputs, even, depth) = (reach.first.len(), co.next_multiple_of(F::PAIR), plan.depth());
    let (columns, steps) = (own.len() * taps, even / F::PAIR);
    let mut panel = Scratch::<F>::any(even * WIDTH);
    let mut sums = [0.0; ROWS[1] * WIDTH];
    let zeros = [0.0; WIDTH];
    for first in (0..columns).step_by(WIDTH) {
        let width = WIDTH.min(columns - first);
        for (step, to) in panel.chunks_exact_mut(F::PAIR * WIDTH).enumerate() {
            let row = |o: usize| {
                let at = o * depth + own.start * taps + first;
                weights.get(at..at + width).filter(|_| o < co).unwrap_or(&zeros[..width])
            };
            let (even, odd) = (row(step * F::PAIR), row(step * F::PAIR + F::PAIR - 1));
            F::interleave(even, odd, &mut to[..F::PAIR * width]);
            for values in [even, odd].iter().take(F::PAIR) {
                for at in (WIDTH..2 * WIDTH).step_by(16) {
                    prefetch(values.as_ptr().wrapping_add(at));
                }
            }
            to[F::PAIR * width..].fill(F::default());
        }
        let mut shifts = [0; WIDTH];
        for (j, shift) in shifts.iter_mut().enumerate().take(width) {
            *shift = (first + j) / taps * voxels + reach.taps[(first + j) % taps];
        }
        for output in (0..outputs).step_by(ROWS[1]) {
            let rows = ROWS[1].min(outputs - output);
            let a = Grid { first: dy[output * even..].as_ptr(), row: even, step: F::PAIR };
            // SAFETY: `dy` has `even` factors per output, the panel as many rows of `WIDTH`.
            unsafe { F::outer(a, rows, steps, (panel.as_ptr(), F::PAIR * WIDTH), &mut sums) };
            for (sums, base) in sums.chunks_exact(WIDTH).zip(&reach.first[output..output + rows]) {
                assert!(base + reach.last() + (own.len() - 1) * voxels < planes.len());
                for (sum, shift) in sums.iter().zip(&shifts[..width]) {
                    // SAFETY: shifts go to a tap of one of the planes.
                    unsafe { *planes.get_unchecked_mut(base + shift) += sum };
                }
            }
        }
    }
}

/// Writes the voxels of planes that lie inside of the input to its channels `own`.
fn crop(plan: &Correlation, reach: &Reach, own: std::ops::Range<usize>, planes: &[f32], dx: SharedOut) {
    let ([nz, ny, nx], [pz, py, px]) = (plan.input.space, reach.padded);
    let voxels = reach.voxels(plan.input.batch);
    let inside = |at: usize, a: usize| {
        let at = at.checked_add_signed(-plan.offset[a])?;
        (at < reach.padded[a]).then_some(at)
    };
    for number in 0..plan.input.batch * nz * ny * nx {
        let (b, z, y, x) = (number / nx / ny / nz, number / nx / ny % nz, number / nx % ny, number % nx);
        let (Some(z), Some(y), Some(x)) = (inside(z, 0), inside(y, 1), inside(x, 2)) else { continue };
        let at = ((b * pz + z) * py + y) * px + x;
        for (i, channel) in own.clone().enumerate() {
            // SAFETY: a channel of a voxel of the input; tasks have channels of their own.
            unsafe { *dx.0.add(number * plan.input.channels + channel) = planes[i * voxels + at] };
        }
    }
}

/// The gradient of the weight (out, in, taps); `plan` is that of the forward pass.
pub(crate) fn weight_gradient(plan: &Correlation, products: Products, x: Source<'_>, dy: &[f32]) -> Vec<f32> {
    match products {
        Products::Bf16 | Products::Bf16Strict => weight_gradient_of::<u16>(plan, x, dy),
        Products::Fast | Products::Direct => weight_gradient_of::<f32>(plan, x, dy),
    }
}

fn weight_gradient_of<F: Factor>(plan: &Correlation, x: Source<'_>, dy: &[f32]) -> Vec<f32> {
    let reach = Reach::of(plan);
    let (ci, co, outputs) = (plan.input.channels, plan.output.channels, reach.first.len());
    assert_eq!(dy.len(), outputs * co);
    let padded = pad(plan, &x);
    // Pairs of outputs, channel after channel.
    let steps = outputs.div_ceil(F::PAIR);
    let mut factors = Scratch::<F>::any(steps * F::PAIR * co);
    let zeros = vec![0.0; co];
    for (step, to) in factors.chunks_exact_mut(F::PAIR * co).enumerate() {
        let row = |v: usize| dy.get(v * co..(v + 1) * co).unwrap_or(&zeros);
        F::interleave(row(step * F::PAIR), row(step * F::PAIR + F::PAIR - 1), to);
    }
    // Every one of them is written.
    let mut dw = Vec::with_capacity(co * plan.depth());
    let shared = SharedOut(dw.as_mut_ptr());
    each_block(ci, |own| {
        // SAFETY: `applies` asks for the instructions; tasks have channels of their own.
        unsafe { weight_gradients(plan, &reach, &padded, &factors, own, shared) };
    });
    // SAFETY: tasks have written all channels.
    unsafe { dw.set_len(co * plan.depth()) };
    dw
}

/// The gradients of the weights of some input channels.
///
/// # Safety
/// The processor has the instructions of `F`; `dw` can be written.
unsafe fn weight_gradients<F: Factor>(
    plan: &Correlation,
    reach: &Reach,
    padded: &[f32],
    dy: &[F],
    own: std::ops::Range<usize>,
    dw: SharedOut,
) {
    let (ci, co, taps, outputs) =
        (plan.input.channels, plan.output.channels, reach.taps.len(), reach.first.len());
    let (width, steps) = (own.len() * taps, outputs.div_ceil(F::PAIR));
    let pitch = width.next_multiple_of(WIDTH);
    let mut columns = Scratch::<f32>::any(steps * F::PAIR * pitch);
    fill(reach, 0..outputs, padded, ci, own.clone(), pitch, &mut columns);
    columns[outputs * pitch..].fill(0.0);
    let mut panel = Scratch::<F>::any(steps * F::PAIR * WIDTH);
    let mut sums = [0.0; ROWS[1] * WIDTH];
    for first in (0..width).step_by(WIDTH) {
        for (step, to) in panel.chunks_exact_mut(F::PAIR * WIDTH).enumerate() {
            let row = |v: usize| &columns[v * pitch + first..][..WIDTH];
            F::interleave(row(step * F::PAIR), row(step * F::PAIR + F::PAIR - 1), to);
        }
        let used = WIDTH.min(width - first);
        for o in (0..co).step_by(ROWS[1]) {
            let rows = ROWS[1].min(co - o);
            let a = Grid { first: dy[o * F::PAIR..].as_ptr(), row: F::PAIR, step: F::PAIR * co };
            // SAFETY: a step of `dy` has `co` factors or pairs, one of the panel `WIDTH`; `dw` has `co` rows.
            unsafe {
                F::outer(a, rows, steps, (panel.as_ptr(), F::PAIR * WIDTH), &mut sums);
                for (i, sums) in sums.chunks_exact(WIDTH).take(rows).enumerate() {
                    let to = dw.0.add((o + i) * plan.depth() + own.start * taps + first);
                    to.copy_from_nonoverlapping(sums.as_ptr(), used);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bf16::rounded;
    use super::super::conv::forward_plan;
    use super::super::shape::{ConvGeometry, Dims};
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| rounded(((i * 2_654_435_761 + seed * 97) % 2003) as f32 / 1001.0 - 1.0)).collect()
    }

    /// How far the results in bf16 are from those in f32, of values that bf16 holds.
    #[test]
    fn products_in_bf16_are_those_of_rounded_values() {
        if engine() != Some(Engine::Dot) {
            return println!("skipped: this processor has no AVX512-BF16");
        }
        for (inputs, channels, batch, space, stride) in
            [(96, 53, 3, [5, 3, 4], [1; 3]), (53, 97, 1, [7, 9, 8], [2; 3]), (320, 64, 1, [3, 1, 1], [1; 3])]
        {
            let input = Dims { batch, space, channels: inputs };
            let geometry = ConvGeometry::same([3; 3], stride);
            let plan = forward_plan(input, channels, &geometry);
            let (x, w) = (values(input.len(), 1), values(plan.depth() * channels, 2));
            let (dy, bias) = (values(plan.output.len(), 3), values(channels, 4));
            let run = |products| {
                let source = Source::plain(&x, inputs);
                let [mut y, mut dx] = [plan.output, input].map(|dims| vec![0.0; dims.len()]);
                let moments = correlate(&plan, products, source, &w, &bias, &mut y, true);
                assert!((moments[0].count - plan.output.voxels() as f64).abs() < 0.5);
                input_gradient(&plan, products, &dy, &w, &mut dx);
                [y, dx, weight_gradient(&plan, products, source, &dy)]
            };
            for (half, full) in run(Products::Bf16).iter().zip(&run(Products::Fast)) {
                let square =
                    |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>();
                let apart = square(&mut half.iter().zip(full).map(|(a, b)| a - b));
                assert!(apart < 1e-10 * square(&mut full.iter().copied()), "{plan:?}: {apart}");
            }
        }
    }
}
