//! Convolution: forward, backward-data, backward-weights.

use rayon::prelude::*;

use super::correlate::{Pass, Prepared, Products};
use super::few;
use super::moments::Moments;
use super::outer::outer_with;
use super::pack::Strided;
use super::shape::{ConvGeometry, Correlation, Dims};
use super::source::Source;
use super::thin;
use super::turn::turn_back;

fn output_dims(input: Dims, channels: usize, g: &ConvGeometry) -> Dims {
    Dims { batch: input.batch, space: g.output(input.space), channels }
}

/// The forward convolution as a plan.
pub(crate) fn forward_plan(input: Dims, channels: usize, g: &ConvGeometry) -> Correlation {
    let output = output_dims(input, channels, g);
    Correlation {
        input,
        output,
        count: output.space,
        taps: g.kernel,
        in_stride: g.stride,
        offset: g.padding.map(|p| -(p as isize)),
        out_start: [0; 3],
        out_step: [1; 3],
        pitch: channels,
    }
}

/// `y[b, o, co] = bias[co] + Σ x[b, o·stride + k − padding, ci] · w[co, ci, k]`.
///
/// `x` is channels-last of shape `input`, `weight` is (out, in, kz, ky, kx); returns the channels-last output.
pub fn conv_forward(
    x: &[f32],
    input: Dims,
    weight: &[f32],
    bias: Option<&[f32]>,
    channels: usize,
    g: &ConvGeometry,
) -> Vec<f32> {
    let plan = forward_plan(input, channels, g);
    let (ci, taps) = (input.channels, g.taps());
    let mut y = zeros(plan.output.len());
    if plan.is_empty() {
        return y;
    }
    assert_eq!(x.len(), input.len());
    let weights = Strided::convolution(weight, ci, taps);
    forward_once(Products::Fast, &plan, &weights, bias, Source::plain(x, ci), &mut y, false);
    y
}

/// Computes all outputs of a plan that is not empty with weights that are used this once; see [`Prepared::run`].
pub(crate) fn forward_once(
    products: Products,
    plan: &Correlation,
    weights: &Strided<'_>,
    bias: Option<&[f32]>,
    x: Source<'_>,
    out: &mut [f32],
    moments: bool,
) -> Vec<Moments> {
    if few::applies(plan, products, Pass::Forward) && few::lie_in_order(plan, weights) {
        let none = vec![0.0; if bias.is_none() { plan.output.channels } else { 0 }];
        return few::correlate(plan, products, x, weights.values, bias.unwrap_or(&none), out, moments);
    }
    Prepared::with(products, &[*plan], weights, bias).run(x, out, moments)
}

/// Gradient of the input from the gradient `dy` of the output; the transpose of [`conv_forward`].
pub fn conv_backward_data(
    dy: &[f32],
    input: Dims,
    weight: &[f32],
    channels: usize,
    g: &ConvGeometry,
) -> Vec<f32> {
    input_gradient(dy, input, weight, channels, g, Products::Fast)
}

/// [`conv_backward_data`], with products of a kind.
pub(crate) fn input_gradient(
    dy: &[f32],
    input: Dims,
    weight: &[f32],
    channels: usize,
    g: &ConvGeometry,
    products: Products,
) -> Vec<f32> {
    assert_eq!(dy.len(), output_dims(input, channels, g).len());
    let output = output_dims(input, channels, g);
    let (ci, taps) = (input.channels, g.taps());
    let forward = forward_plan(input, channels, g);
    if thin::is_head(&forward, products) {
        return thin::head_input_gradient(&forward, dy, weight);
    }
    let mut dx = zeros(input.len());
    if few::applies(&forward, products, Pass::Backward) {
        few::input_gradient(&forward, products, dy, weight, &mut dx);
        return dx;
    }
    // Input voxels with the same remainder by the stride are reached by the same taps: each such class is a dense
    // correlation over the output gradients.
    let (mut plans, mut weights) = (Vec::new(), Vec::new());
    for class in classes(std::array::from_fn(|a| g.stride[a].min(input.space[a]))) {
        let axes: [Axis; 3] = std::array::from_fn(|a| Axis::of(class[a], input.space[a], g, a));
        let plan = Correlation {
            input: output,
            output: input,
            count: axes.map(|axis| axis.count),
            taps: axes.map(|axis| axis.taps),
            in_stride: [1; 3],
            offset: axes.map(|axis| axis.offset),
            out_start: class,
            out_step: g.stride,
            pitch: input.channels,
        };
        if plan.is_empty() {
            continue;
        }
        let [_, ty, tx] = plan.taps;
        let tap_of = |tap: usize| {
            let t = [tap / tx / ty, tap / tx % ty, tap % tx];
            let k: [usize; 3] = std::array::from_fn(|a| axes[a].last - t[a] * g.stride[a]);
            (k[0] * g.kernel[1] + k[1]) * g.kernel[2] + k[2]
        };
        let taps_of_class = (0..plan.taps.iter().product()).map(tap_of).collect();
        weights.push(Strided { values: weight, output: taps, input: ci * taps, taps: taps_of_class });
        plans.push(plan);
    }
    if !plans.is_empty() {
        Prepared::with(products, &plans, &weights[..], None).run(Source::plain(dy, channels), &mut dx, false);
    }
    dx
}

/// One axis of a class of input voxels: which output gradients reach it, through which taps.
#[derive(Clone, Copy)]
struct Axis {
    count: usize,
    taps: usize,
    offset: isize,
    /// The largest tap of the class; it meets the first gradient.
    last: usize,
}

impl Axis {
    fn of(start: usize, size: usize, g: &ConvGeometry, a: usize) -> Self {
        let (kernel, stride, padding) = (g.kernel[a], g.stride[a], g.padding[a]);
        let count = size.saturating_sub(start).div_ceil(stride);
        let first = (start + padding) % stride;
        if first >= kernel {
            return Self { count, taps: 0, offset: 0, last: 0 };
        }
        let taps = (kernel - 1 - first) / stride + 1;
        let last = first + (taps - 1) * stride;
        let offset = ((start + padding) as isize - last as isize) / stride as isize;
        Self { count, taps, offset, last }
    }
}

/// All offsets below the stride or the size.
fn classes(stride: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [sz, sy, sx] = stride;
    (0..sz * sy * sx).map(move |i| [i / sx / sy, i / sx % sy, i % sx])
}

/// Gradients of weight (out, in, kz, ky, kx) and bias from input and output gradient.
pub fn conv_backward_weights(
    x: &[f32],
    input: Dims,
    dy: &[f32],
    channels: usize,
    g: &ConvGeometry,
) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(x.len(), input.len());
    let source = Source::plain(x, input.channels);
    (weight_gradient(source, input, dy, channels, g, Products::Fast), sum_channels(dy, channels))
}

/// Gradient of the weight (out, in, kz, ky, kx), with products of a kind.
pub(crate) fn weight_gradient(
    x: Source<'_>,
    input: Dims,
    dy: &[f32],
    channels: usize,
    g: &ConvGeometry,
    products: Products,
) -> Vec<f32> {
    let plan = forward_plan(input, channels, g);
    if few::applies(&plan, products, Pass::Backward) {
        return few::weight_gradient(&plan, products, x, dy);
    }
    if thin::is_head(&plan, products) {
        return thin::head_weight_gradient(&plan, x, dy);
    }
    let sums = outer_with(products, &plan, x, dy);
    let (ci, taps) = (input.channels, g.taps());
    let mut dw = vec![0.0; channels * ci * taps];
    // A few output channels at a time: they lie together in the sums.
    const TOGETHER: usize = 16;
    dw.par_chunks_mut((TOGETHER * ci * taps).max(1)).enumerate().for_each(|(block, dw)| {
        let own = dw.len() / (ci * taps).max(1);
        for c in 0..ci {
            let (step, first) = (sums.width * sums.padded, sums.row(c, taps) + block * TOGETHER);
            let sums = &sums.values[first..];
            if turn_back(sums, step, taps, own, &mut dw[c * taps..], ci * taps) {
                continue;
            }
            for tap in 0..taps {
                for (dw, sum) in dw.chunks_exact_mut(ci * taps).zip(&sums[tap * step..]) {
                    dw[c * taps + tap] = *sum;
                }
            }
        }
    });
    dw
}

/// Sum over everything but the channels, in an order that does not depend on the number of threads.
pub(crate) fn sum_channels(dy: &[f32], channels: usize) -> Vec<f32> {
    if channels == 0 {
        return Vec::new();
    }
    let partial: Vec<Vec<f64>> = dy
        .par_chunks(channels * 4096)
        .map(|chunk| {
            let mut sums = vec![0.0f64; channels];
            for block in chunk.chunks(channels * 64) {
                let mut short = vec![0.0f32; channels];
                for voxel in block.chunks_exact(channels) {
                    short.iter_mut().zip(voxel).for_each(|(s, v)| *s += v);
                }
                sums.iter_mut().zip(&short).for_each(|(s, v)| *s += f64::from(*v));
            }
            sums
        })
        .collect();
    let mut total = vec![0.0f64; channels];
    for sums in &partial {
        total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
    }
    total.into_iter().map(|v| v as f32).collect()
}

pub(crate) fn zeros(n: usize) -> Vec<f32> {
    vec![0.0; n]
}
