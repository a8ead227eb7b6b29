//! Group normalisation (Wu and He 2018) by the kernels of instance normalisation.

use candle_core::{Result, Tensor, bail};

use super::norm::instance_norm_leaky_relu;

/// Normalises the voxels and channels of each group of a channels-last tensor, then scales and shifts each channel.
///
/// `weight` and `bias` are scale and shift per channel (1 and 0 if absent).
///
/// # Errors
/// A number of groups that does not divide the channels, or a tensor that is not f32 on the CPU.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let (batch, z, y, columns, channels) = x.dims5()?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("group norm: {groups} groups do not divide {channels} channels");
    }
    let (voxels, size) = (z * y * columns, channels / groups);
    // The groups take the place of the channels, and what is in them that of voxels.
    let turned = x.contiguous()?.reshape((batch, voxels, groups, size))?.transpose(2, 3)?.contiguous()?;
    let turned = turned.reshape((batch, voxels, size, 1, groups))?;
    let normed = instance_norm_leaky_relu(&turned, None, None, eps, None)?;
    let normed = normed.reshape((batch, voxels, size, groups))?.transpose(2, 3)?.contiguous()?;
    affine(&normed.reshape((batch, z, y, columns, channels))?, weight, bias)
}

/// `x · weight + bias` per channel, the last axis.
pub(crate) fn affine(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    let scaled = match weight {
        Some(weight) => x.broadcast_mul(weight)?,
        None => x.clone(),
    };
    match bias {
        Some(bias) => scaled.broadcast_add(bias),
        None => Ok(scaled),
    }
}
