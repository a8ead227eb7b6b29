//! Batch normalisation (Ioffe and Szegedy 2015) by the kernels of instance normalisation.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::norm::instance_norm_leaky_relu;
use super::slice::with_values;

/// Voxels that one task takes; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 2048;

/// Mean and variance of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelMoments {
    /// The means.
    pub mean: Vec<f32>,
    /// The variances without bias, as running means of them are kept.
    pub variance: Vec<f32>,
}

/// Batch norm with the statistics of the channels-last batch at hand, then leaky ReLU (none without `slope`).
///
/// `weight` and `bias` are scale and shift per channel (1 and 0 if absent).
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn batch_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    slope: Option<f64>,
) -> Result<Tensor> {
    let (batch, z, y, columns, channels) = x.dims5()?;
    // One sample of all planes has the statistics of the batch.
    let one = x.contiguous()?.reshape((1, batch * z, y, columns, channels))?;
    instance_norm_leaky_relu(&one, weight, bias, eps, slope)?.reshape((batch, z, y, columns, channels))
}

/// Batch norm with given means and variances, as in evaluation.
///
/// # Errors
/// Shapes that do not fit.
pub fn batch_norm_with(
    x: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let mut scale = (variance + eps)?.sqrt()?.recip()?;
    if let Some(weight) = weight {
        scale = (scale * weight)?;
    }
    let shift = (mean * &scale)?.neg()?;
    let shift = match bias {
        Some(bias) => (shift + bias)?,
        None => shift,
    };
    x.broadcast_mul(&scale)?.broadcast_add(&shift)
}

/// Mean and variance of each channel, the last axis.
///
/// # Errors
/// A tensor that is not f32 on the CPU.
pub fn channel_moments(x: &Tensor) -> Result<ChannelMoments> {
    let channels = x.dim(candle_core::D::Minus1)?.max(1);
    with_values(x, |values| {
        let parts: Vec<[Vec<f64>; 2]> =
            values.par_chunks(CHUNK * channels).map(|chunk| sums(chunk, channels)).collect();
        let mut total = [vec![0.0; channels], vec![0.0; channels]];
        for part in &parts {
            for (total, part) in total.iter_mut().zip(part) {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        let count = (values.len() / channels) as f64;
        let mean = |c: usize| total[0][c] / count.max(1.0);
        let variance =
            |c: usize| ((total[1][c] - count * mean(c) * mean(c)) / (count - 1.0).max(1.0)).max(0.0) as f32;
        ChannelMoments {
            mean: (0..channels).map(|c| mean(c) as f32).collect(),
            variance: (0..channels).map(variance).collect(),
        }
    })
}

/// Sums of values and squares per channel.
fn sums(values: &[f32], channels: usize) -> [Vec<f64>; 2] {
    let mut sums = [vec![0.0; channels], vec![0.0; channels]];
    for voxel in values.chunks_exact(channels) {
        for (c, &value) in voxel.iter().enumerate() {
            sums[0][c] += f64::from(value);
            sums[1][c] += f64::from(value) * f64::from(value);
        }
    }
    sums
}
