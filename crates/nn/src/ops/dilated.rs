//! Dilated convolution (Yu and Koltun 2016) by the kernels of plain convolution.

use candle_core::{Result, Tensor, bail};

use super::conv;
use crate::kernels::ConvGeometry;

/// Convolution of a channels-last tensor with a weight `(out, in, kz, ky, kx)` whose taps lie `dilation` voxels apart; odd
/// kernels, stride 1, as many zeros around as keep the size.
///
/// Voxels of the same remainder by the dilation form an image of their own, over which the convolution is a plain one.
///
/// # Errors
/// An even kernel, a dilation of 0, shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn dilated_conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dilation: [usize; 3],
) -> Result<Tensor> {
    let (_, _, kz, ky, kx) = weight.dims5()?;
    let kernel = [kz, ky, kx];
    if dilation.contains(&0) || kernel.iter().any(|k| k.is_multiple_of(2)) {
        bail!(
            "dilated convolution: kernel {kernel:?}, dilation {dilation:?}; expected odd kernels and at least 1"
        );
    }
    let (batch, z, y, columns, channels) = x.dims5()?;
    let space = [z, y, columns];
    // Along an axis with one tap, dilation changes nothing, and beyond the size all taps but one see zeros.
    let dilation: [usize; 3] =
        std::array::from_fn(|a| if kernel[a] == 1 { 1 } else { dilation[a].min(space[a].max(1)) });
    let geometry = ConvGeometry::same(kernel, [1; 3]);
    if dilation == [1; 3] {
        return conv(x, weight, bias, &geometry);
    }
    let mut padded = x.clone();
    for axis in 0..3 {
        let rest = space[axis].next_multiple_of(dilation[axis]) - space[axis];
        padded = padded.pad_with_zeros(axis + 1, 0, rest)?;
    }
    let parts: [usize; 3] = std::array::from_fn(|a| space[a].div_ceil(dilation[a]));
    let [dz, dy, dx] = dilation;
    let split =
        padded.contiguous()?.reshape(vec![batch, parts[0], dz, parts[1], dy, parts[2], dx, channels])?;
    let split = split.permute(vec![0, 2, 4, 6, 1, 3, 5, 7])?.contiguous()?;
    let split = split.reshape((batch * dz * dy * dx, parts[0], parts[1], parts[2], channels))?;
    let found = conv(&split, weight, bias, &geometry)?;
    let outputs = weight.dim(0)?;
    let found = found.reshape(vec![batch, dz, dy, dx, parts[0], parts[1], parts[2], outputs])?;
    let found = found.permute(vec![0, 4, 1, 5, 2, 6, 3, 7])?.contiguous()?;
    let found = found.reshape((batch, parts[0] * dz, parts[1] * dy, parts[2] * dx, outputs))?;
    found.narrow(1, 0, z)?.narrow(2, 0, y)?.narrow(3, 0, columns)?.contiguous()
}
