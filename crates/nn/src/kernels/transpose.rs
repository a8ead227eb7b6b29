//! Transposed convolution with kernel = stride: every input voxel becomes a box of output voxels.

use super::conv::{sum_channels, zeros};
use super::correlate::{Prepared, Products};
use super::outer::outer_with;
use super::pack::Strided;
use super::shape::{Correlation, Dims};
use super::source::Source;

/// Shape of the output for an input of shape `input`.
fn output_dims(input: Dims, channels: usize, stride: [usize; 3]) -> Dims {
    let space = std::array::from_fn(|a| input.space[a] * stride[a]);
    Dims { batch: input.batch, space, channels }
}

/// `y[b, i·stride + r, co] = bias[co] + Σ x[b, i, ci] · w[ci, co, r]`, with `pitch` values per output voxel, of which this
/// fills the first `channels` and leaves the rest zero.
///
/// `weight` is (in, out, sz, sy, sx); `pitch` is at least `channels`.
pub fn conv_transpose_forward(
    x: &[f32],
    input: Dims,
    weight: &[f32],
    bias: Option<&[f32]>,
    channels: usize,
    stride: [usize; 3],
    pitch: usize,
) -> Vec<f32> {
    let output = output_dims(input, channels, stride);
    let mut y = zeros(output.batch * output.voxels() * pitch);
    let boxes: usize = stride.iter().product();
    if input.is_empty() || channels == 0 || boxes == 0 {
        return y;
    }
    let plans = up_plans(input, channels, stride, pitch);
    let weights = |r: usize, _: usize, c: usize, o: usize| weight[(c * channels + o) * boxes + r];
    let up = Prepared::new(&plans, &weights, bias);
    up.run(Source::plain(x, input.channels), &mut y, false);
    y
}

/// A transposed convolution as one correlation for every voxel of the box that an input voxel becomes.
pub(crate) fn up_plans(input: Dims, channels: usize, stride: [usize; 3], pitch: usize) -> Vec<Correlation> {
    let [_, sy, sx] = stride;
    let plan = |r: usize| Correlation {
        input,
        output: output_dims(input, channels, stride),
        count: input.space,
        taps: [1; 3],
        in_stride: [1; 3],
        offset: [0; 3],
        out_start: [r / sx / sy, r / sx % sy, r % sx],
        out_step: stride,
        pitch,
    };
    (0..stride.iter().product()).map(plan).collect()
}

/// The convolution with kernel = stride over the output, whose result has the shape of the input.
pub(crate) fn gather_plan(input: Dims, channels: usize, stride: [usize; 3]) -> Correlation {
    Correlation {
        input: output_dims(input, channels, stride),
        output: input,
        count: input.space,
        taps: stride,
        in_stride: stride,
        offset: [0; 3],
        out_start: [0; 3],
        out_step: [1; 3],
        pitch: input.channels,
    }
}

/// Gradient of the input from the gradient `dy` of the output.
pub fn conv_transpose_backward_data(
    dy: &[f32],
    input: Dims,
    weight: &[f32],
    channels: usize,
    stride: [usize; 3],
) -> Vec<f32> {
    up_input_gradient(dy, input, weight, channels, stride, Products::Fast)
}

/// [`conv_transpose_backward_data`], with products of a kind.
pub(crate) fn up_input_gradient(
    dy: &[f32],
    input: Dims,
    weight: &[f32],
    channels: usize,
    stride: [usize; 3],
    products: Products,
) -> Vec<f32> {
    let plan = gather_plan(input, channels, stride);
    let boxes: usize = stride.iter().product();
    let mut dx = zeros(input.len());
    assert_eq!(dy.len(), plan.input.len());
    if !plan.is_empty() {
        let weights =
            Strided { values: weight, output: channels * boxes, input: boxes, taps: (0..boxes).collect() };
        Prepared::with(products, &[plan], &weights, None).run(Source::plain(dy, channels), &mut dx, false);
    }
    dx
}

/// Gradients of weight (in, out, sz, sy, sx) and bias from input and output gradient.
pub fn conv_transpose_backward_weights(
    x: &[f32],
    input: Dims,
    dy: &[f32],
    channels: usize,
    stride: [usize; 3],
) -> (Vec<f32>, Vec<f32>) {
    let dw = up_weight_gradient(x, input, dy, channels, stride, Products::Fast);
    (dw, sum_channels(dy, channels))
}

/// Gradient of the weight (in, out, sz, sy, sx), with products of a kind.
pub(crate) fn up_weight_gradient(
    x: &[f32],
    input: Dims,
    dy: &[f32],
    channels: usize,
    stride: [usize; 3],
    products: Products,
) -> Vec<f32> {
    let plan = gather_plan(input, channels, stride);
    let sums = outer_with(products, &plan, Source::plain(dy, channels), x);
    let boxes: usize = stride.iter().product();
    if plan.is_empty() {
        return vec![0.0; input.channels * channels * boxes];
    }
    let mut dw = vec![0.0; input.channels * channels * boxes];
    for (i, value) in dw.iter_mut().enumerate() {
        let (c, o, r) = (i / boxes / channels, i / boxes % channels, i % boxes);
        *value = sums.values[sums.row(o, boxes) + r * sums.width * sums.padded + c];
    }
    dw
}
