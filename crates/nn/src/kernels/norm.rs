//! Instance norm fused with leaky ReLU.

use rayon::prelude::*;

use super::moments::Moments;
use super::shape::Dims;
use super::source::leaky;

/// Voxels that one task takes; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 2048;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
pub struct NormSaved {
    /// Mean per sample and channel.
    pub mean: Vec<f32>,
    /// 1 / sqrt(variance + eps) per sample and channel.
    pub inverse_std: Vec<f32>,
}

/// Gradients of [`norm_act_forward`].
#[derive(Debug, Clone)]
pub struct NormGradients {
    /// Of the input.
    pub x: Vec<f32>,
    /// Of the scale, per channel.
    pub weight: Vec<f32>,
    /// Of the shift, per channel.
    pub bias: Vec<f32>,
}

/// `y = act(weight · (x − mean) / sqrt(var + eps) + bias)` with mean and biased variance over the voxels of each sample
/// and channel, and `act(v) = v` for v > 0, `slope · v` otherwise (`slope` 1 for none).
pub fn norm_act_forward(
    x: &[f32],
    dims: Dims,
    weight: &[f32],
    bias: &[f32],
    eps: f64,
    slope: f32,
) -> (Vec<f32>, NormSaved) {
    let c = dims.channels;
    let saved = statistics(x, dims, eps);
    let mut y = vec![0.0; x.len()];
    if x.is_empty() {
        return (y, saved);
    }
    let sample = dims.voxels() * c;
    for b in 0..dims.batch {
        let (scale, shift) = saved.affine(b, weight, bias);
        let range = b * sample..(b + 1) * sample;
        y[range.clone()].par_chunks_mut(CHUNK * c).zip(x[range].par_chunks(CHUNK * c)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                let (y, x, scale, shift) = (&mut y[..c], &x[..c], &scale[..c], &shift[..c]);
                for i in 0..c {
                    y[i] = leaky(x[i] * scale[i] + shift[i], slope);
                }
            }
        });
    }
    (y, saved)
}

/// [`norm_act_forward`] over its input, for where no backward pass follows.
pub fn norm_act_in_place(x: &mut [f32], dims: Dims, weight: &[f32], bias: &[f32], eps: f64, slope: f32) {
    if x.is_empty() {
        return;
    }
    let c = dims.channels;
    let saved = statistics(x, dims, eps);
    for (b, sample) in x.chunks_exact_mut(dims.voxels() * c).enumerate() {
        let (scale, shift) = saved.affine(b, weight, bias);
        sample.par_chunks_mut(CHUNK * c).for_each(|x| {
            for x in x.chunks_exact_mut(c) {
                let (x, scale, shift) = (&mut x[..c], &scale[..c], &shift[..c]);
                for i in 0..c {
                    x[i] = leaky(x[i] * scale[i] + shift[i], slope);
                }
            }
        });
    }
}

impl NormSaved {
    /// From the moments of every sample and channel.
    pub(crate) fn of(moments: &[Moments], eps: f64) -> Self {
        let both = moments.iter().map(|moments| moments.normaliser(eps));
        let (mean, inverse_std) = both.map(|(mean, inverse)| (mean as f32, inverse as f32)).unzip();
        Self { mean, inverse_std }
    }

    /// Scale and shift of a sample's channels that normalise and then apply `weight` and `bias`.
    pub(crate) fn affine(&self, sample: usize, weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let first = sample * weight.len();
        let scale: Vec<f32> = weight.iter().zip(&self.inverse_std[first..]).map(|(w, s)| w * s).collect();
        let shift = (0..weight.len()).map(|i| bias[i] - self.mean[first + i] * scale[i]).collect();
        (scale, shift)
    }
}

/// Mean and inverse standard deviation per sample and channel, in one pass: sums of deviations from the first voxel,
/// short runs in f32 and their totals in f64.
fn statistics(x: &[f32], dims: Dims, eps: f64) -> NormSaved {
    let (c, n) = (dims.channels, dims.voxels());
    let mut saved = NormSaved { mean: vec![0.0; dims.batch * c], inverse_std: vec![0.0; dims.batch * c] };
    if x.is_empty() {
        return saved;
    }
    for (b, sample) in x.chunks_exact(n * c).enumerate() {
        let pivot = &sample[..c];
        let partial: Vec<Vec<[f64; 2]>> =
            sample.par_chunks(CHUNK * c).map(|chunk| moments(chunk, pivot)).collect();
        for i in 0..c {
            let [sum, squares] = partial.iter().fold([0.0; 2], |t, p| [t[0] + p[i][0], t[1] + p[i][1]]);
            let shift = sum / n as f64;
            let variance = (squares / n as f64 - shift * shift).max(0.0);
            saved.mean[b * c + i] = (f64::from(pivot[i]) + shift) as f32;
            saved.inverse_std[b * c + i] = (1.0 / (variance + eps).sqrt()) as f32;
        }
    }
    saved
}

fn moments(chunk: &[f32], pivot: &[f32]) -> Vec<[f64; 2]> {
    let c = pivot.len();
    let mut total = vec![[0.0f64; 2]; c];
    let (mut sum, mut squares) = (vec![0.0f32; c], vec![0.0f32; c]);
    for run in chunk.chunks(64 * c) {
        sum.fill(0.0);
        squares.fill(0.0);
        for voxel in run.chunks_exact(c) {
            let (voxel, pivot) = (&voxel[..c], &pivot[..c]);
            let (sum, squares) = (&mut sum[..c], &mut squares[..c]);
            for i in 0..c {
                let d = voxel[i] - pivot[i];
                sum[i] += d;
                squares[i] += d * d;
            }
        }
        for ((t, s), q) in total.iter_mut().zip(&sum).zip(&squares) {
            t[0] += f64::from(*s);
            t[1] += f64::from(*q);
        }
    }
    total
}

/// Gradients from `dy`, the input `x` and what the forward pass saved.
pub fn norm_act_backward(
    x: &[f32],
    dy: &[f32],
    dims: Dims,
    saved: &NormSaved,
    weight: &[f32],
    bias: &[f32],
    slope: f32,
) -> NormGradients {
    let mut dx = dy.to_vec();
    let (weight, bias) = backward_in_place(x, dims.channels, &mut dx, dims, saved, weight, bias, slope);
    NormGradients { x: dx, weight, bias }
}

/// [`norm_act_backward`] for an input with `pitch` values per voxel; the gradient of the output becomes that of the input.
/// Returns the gradients of scale and shift.
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward_in_place(
    x: &[f32],
    pitch: usize,
    dy: &mut [f32],
    dims: Dims,
    saved: &NormSaved,
    weight: &[f32],
    bias: &[f32],
    slope: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (c, n) = (dims.channels, dims.voxels());
    if dims.is_empty() {
        return (vec![0.0; c], vec![0.0; c]);
    }
    let sample = n * c;
    let (mut dweight, mut dbias) = (vec![0.0f64; c], vec![0.0f64; c]);
    for b in 0..dims.batch {
        let x = &x[b * n * pitch..((b + 1) * n * pitch).min(x.len())];
        let dy = &mut dy[b * sample..(b + 1) * sample];
        let inverse = &saved.inverse_std[b * c..(b + 1) * c];
        let offset: Vec<f32> = (0..c).map(|i| -saved.mean[b * c + i] * inverse[i]).collect();
        let act = Activation { pitch, inverse, offset: &offset, weight, bias, slope };
        let partial: Vec<Vec<[f64; 2]>> = x
            .par_chunks(CHUNK * pitch)
            .zip(dy.par_chunks(CHUNK * c))
            .map(|(x, dy)| act.gradient_sums(x, dy))
            .collect();
        let sums: Vec<[f64; 2]> =
            (0..c).map(|i| partial.iter().fold([0.0; 2], |t, p| [t[0] + p[i][0], t[1] + p[i][1]])).collect();
        for i in 0..c {
            dbias[i] += sums[i][0];
            dweight[i] += sums[i][1];
        }
        let mean = |k: usize| sums.iter().map(|s| (s[k] / n as f64) as f32).collect::<Vec<f32>>();
        let (mean_g, mean_gx) = (mean(0), mean(1));
        dy.par_chunks_mut(CHUNK * c)
            .zip(x.par_chunks(CHUNK * pitch))
            .for_each(|(dy, x)| act.input_gradient(x, dy, &mean_g, &mean_gx));
    }
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|v| v as f32).collect();
    (narrow(dweight), narrow(dbias))
}

/// The affine map and activation of one sample, per channel.
struct Activation<'a> {
    /// Values per voxel of the input.
    pitch: usize,
    inverse: &'a [f32],
    offset: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    slope: f32,
}

impl Activation<'_> {
    /// Σ g and Σ g · x̂ per channel, where g is the gradient behind the activation.
    fn gradient_sums(&self, x: &[f32], dy: &[f32]) -> Vec<[f64; 2]> {
        let c = self.weight.len();
        let mut total = vec![[0.0f64; 2]; c];
        let (mut sum, mut product) = (vec![0.0f32; c], vec![0.0f32; c]);
        for (x, dy) in x.chunks(64 * self.pitch).zip(dy.chunks(64 * c)) {
            sum.fill(0.0);
            product.fill(0.0);
            for (x, dy) in x.chunks(self.pitch).zip(dy.chunks_exact(c)) {
                let (x, dy) = (&x[..c], &dy[..c]);
                let (inverse, offset) = (&self.inverse[..c], &self.offset[..c]);
                let (weight, bias) = (&self.weight[..c], &self.bias[..c]);
                let (sum, product) = (&mut sum[..c], &mut product[..c]);
                for i in 0..c {
                    let normal = x[i] * inverse[i] + offset[i];
                    let g = if normal * weight[i] + bias[i] > 0.0 { dy[i] } else { dy[i] * self.slope };
                    sum[i] += g;
                    product[i] += g * normal;
                }
            }
            for ((t, s), p) in total.iter_mut().zip(&sum).zip(&product) {
                t[0] += f64::from(*s);
                t[1] += f64::from(*p);
            }
        }
        total
    }

    fn input_gradient(&self, x: &[f32], dy: &mut [f32], mean_g: &[f32], mean_gx: &[f32]) {
        let c = self.weight.len();
        for (x, dy) in x.chunks(self.pitch).zip(dy.chunks_exact_mut(c)) {
            let (x, dy) = (&x[..c], &mut dy[..c]);
            let (inverse, offset) = (&self.inverse[..c], &self.offset[..c]);
            let (weight, bias) = (&self.weight[..c], &self.bias[..c]);
            let (mean_g, mean_gx) = (&mean_g[..c], &mean_gx[..c]);
            for i in 0..c {
                let normal = x[i] * inverse[i] + offset[i];
                let g = if normal * weight[i] + bias[i] > 0.0 { dy[i] } else { dy[i] * self.slope };
                dy[i] = weight[i] * inverse[i] * (g - mean_g[i] - normal * mean_gx[i]);
            }
        }
    }
}
