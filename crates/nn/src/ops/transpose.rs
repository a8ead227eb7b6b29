//! Transposed convolution with kernel = stride, alone and joined with a skip connection.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::slice::{dims, needs_gradient, shape, slice, tensor, with_values};
use crate::kernels::{
    Dims, conv_transpose_backward_data, conv_transpose_backward_weights, conv_transpose_forward, split,
};

/// Transposed convolution of a channels-last tensor with a weight `(in, out, sz, sy, sx)`; the stride is the kernel size.
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn conv_transpose(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let up = Up::of(weight)?;
    x.contiguous()?.apply_op2(&up.pack(weight, bias)?, up)
}

/// `[conv_transpose(low) | skip]` along the channels, written into one buffer.
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn up_concat(low: &Tensor, skip: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let up = Up::of(weight)?;
    low.contiguous()?.apply_op3(&skip.contiguous()?, &up.pack(weight, bias)?, UpConcat(up))
}

/// Shape of the weight; weight and bias travel as one packed tensor.
#[derive(Clone, Copy)]
struct Up {
    inputs: usize,
    channels: usize,
    stride: [usize; 3],
}

impl Up {
    fn of(weight: &Tensor) -> Result<Self> {
        match *weight.dims() {
            [inputs, channels, z, y, x] => Ok(Self { inputs, channels, stride: [z, y, x] }),
            ref found => {
                bail!("conv-transpose: expected a weight (in, out, sz, sy, sx), found shape {found:?}")
            }
        }
    }

    fn pack(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias = match bias {
            Some(bias) if bias.dims() == [self.channels] => bias.clone(),
            Some(bias) => {
                bail!("conv-transpose: expected {} biases, found shape {:?}", self.channels, bias.dims())
            }
            None => Tensor::zeros(self.channels, weight.dtype(), weight.device())?,
        };
        Tensor::cat(&[weight.flatten_all()?, bias], 0)
    }

    fn weights(&self) -> usize {
        self.inputs * self.channels * self.stride.iter().product::<usize>()
    }

    fn output(&self, input: Dims) -> Dims {
        let space = std::array::from_fn(|a| input.space[a] * self.stride[a]);
        Dims { batch: input.batch, space, channels: self.channels }
    }

    fn forward(&self, low: &[f32], input: Dims, packed: &[f32], pitch: usize) -> Result<Vec<f32>> {
        if input.channels != self.inputs {
            bail!("conv-transpose: {} input channels, the weight has {}", input.channels, self.inputs);
        }
        let (weight, bias) = packed.split_at(self.weights());
        Ok(conv_transpose_forward(low, input, weight, Some(bias), self.channels, self.stride, pitch))
    }

    /// Gradients of input and packed weights.
    fn backward(&self, low: &Tensor, packed: &Tensor, dy: &[f32]) -> Result<(Option<Tensor>, Tensor)> {
        let input = dims("conv-transpose", low.layout())?;
        let dx = needs_gradient(low)
            .then(|| {
                with_values(packed, |packed| {
                    let weight = &packed[..self.weights()];
                    conv_transpose_backward_data(dy, input, weight, self.channels, self.stride)
                })
            })
            .transpose()?;
        let (mut dw, mut dbias) = with_values(low, |low| {
            conv_transpose_backward_weights(low, input, dy, self.channels, self.stride)
        })?;
        dw.append(&mut dbias);
        let dx = dx.map(|values| tensor(values, input)).transpose()?;
        Ok((dx, Tensor::from_vec(dw, packed.shape(), packed.device())?))
    }
}

impl CustomOp2 for Up {
    fn name(&self) -> &'static str {
        "conv-transpose"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp2::name(self);
        let input = dims(name, x_layout)?;
        let packed = slice(name, packed, packed_layout)?;
        let y = self.forward(slice(name, x, x_layout)?, input, packed, self.channels)?;
        Ok((CpuStorage::F32(y), shape(self.output(input))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = with_values(gradient, |dy| self.backward(x, packed, dy))??;
        Ok((dx, Some(dw)))
    }
}

struct UpConcat(Up);

impl CustomOp3 for UpConcat {
    fn name(&self) -> &'static str {
        "up-concat"
    }

    fn cpu_fwd(
        &self,
        low: &CpuStorage,
        low_layout: &Layout,
        skip: &CpuStorage,
        skip_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (name, up) = (self.name(), self.0);
        let (input, beside) = (dims(name, low_layout)?, dims(name, skip_layout)?);
        let mut output = up.output(input);
        if output.batch != beside.batch || output.space != beside.space {
            bail!("{name}: the skip connection has voxels {:?}, expected {:?}", beside.space, output.space);
        }
        output.channels += beside.channels;
        let packed = slice(name, packed, packed_layout)?;
        let mut y = up.forward(slice(name, low, low_layout)?, input, packed, output.channels)?;
        let skip = slice(name, skip, skip_layout)?;
        if beside.channels > 0 {
            let row = beside.space[2].max(1);
            y.par_chunks_mut(row * output.channels).zip(skip.par_chunks(row * beside.channels)).for_each(
                |(to, from)| {
                    let voxels = from.chunks_exact(beside.channels);
                    for (to, from) in to.chunks_exact_mut(output.channels).zip(voxels) {
                        to[up.channels..].copy_from_slice(from);
                    }
                },
            );
        }
        Ok((CpuStorage::F32(y), shape(output)))
    }

    fn bwd(
        &self,
        low: &Tensor,
        skip: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let beside = dims(self.name(), skip.layout())?;
        let (dy, dskip) = with_values(gradient, |g| split(g, self.0.channels, beside.channels))?;
        let (dlow, dpacked) = self.0.backward(low, packed, &dy)?;
        let dskip = needs_gradient(skip).then(|| tensor(dskip, beside)).transpose()?;
        Ok((dlow, dskip, Some(dpacked)))
    }
}
