//! Convolution, alone and fused with instance norm and leaky ReLU.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::slice::{dims, needs_gradient, shape, slice, tensor, with_values};
use crate::kernels::{
    ConvGeometry, Dims, NormSaved, conv_backward_data, conv_backward_weights, conv_forward,
    norm_act_backward, norm_act_forward, norm_act_in_place,
};

/// Convolution of a channels-last tensor with a weight `(out, in, kz, ky, kx)`; zero padding, dilation 1.
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, geometry: &ConvGeometry) -> Result<Tensor> {
    let channels = weight.dim(0)?;
    let bias = row(bias, channels, 0.0, weight)?;
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, Conv { geometry: *geometry, norm: None })
}

/// Convolution, instance norm and leaky ReLU in one operation, so that only two activations are kept for the backward pass.
///
/// `gamma` and `beta` are scale and shift of the norm (1 and 0 if absent), `slope` that of the leaky ReLU (no activation if
/// absent). The statistics are those of each sample and channel, with the biased variance.
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
#[allow(clippy::too_many_arguments)]
pub fn conv_norm_act(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    geometry: &ConvGeometry,
    eps: f64,
    slope: Option<f64>,
) -> Result<Tensor> {
    let channels = weight.dim(0)?;
    let rows = [
        row(bias, channels, 0.0, weight)?,
        row(gamma, channels, 1.0, weight)?,
        row(beta, channels, 0.0, weight)?,
    ];
    let tracked = x.track_op() || weight.track_op() || rows.iter().any(Tensor::track_op);
    let norm = Norm { eps, slope: slope.unwrap_or(1.0) as f32, tracked, saved: OnceLock::new() };
    let op = Conv { geometry: *geometry, norm: Some(norm) };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &Tensor::stack(&rows, 0)?, op)
}

fn row(given: Option<&Tensor>, channels: usize, default: f64, like: &Tensor) -> Result<Tensor> {
    match given {
        Some(tensor) if tensor.dims() == [channels] => tensor.contiguous(),
        Some(tensor) => bail!("expected {channels} values per channel, found shape {:?}", tensor.dims()),
        None => Tensor::full(default as f32, channels, like.device()),
    }
}

struct Conv {
    geometry: ConvGeometry,
    norm: Option<Norm>,
}

struct Norm {
    eps: f64,
    slope: f32,
    /// Whether a backward pass may follow.
    tracked: bool,
    /// The convolution's output and its statistics, for the backward pass.
    saved: OnceLock<(Vec<f32>, NormSaved)>,
}

impl Conv {
    fn check(&self, input: Dims, weight: &Layout) -> Result<usize> {
        let k = self.geometry.kernel;
        match *weight.dims() {
            [out, channels, z, y, x] if channels == input.channels && [z, y, x] == k => Ok(out),
            ref found => {
                bail!("conv: expected a weight (out, {}, {k:?}), found shape {found:?}", input.channels)
            }
        }
    }

    fn output(&self, input: Dims, channels: usize) -> Dims {
        Dims { batch: input.batch, space: self.geometry.output(input.space), channels }
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        if self.norm.is_some() { "conv-norm-act" } else { "conv" }
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let input = dims(name, x_layout)?;
        let channels = self.check(input, weight_layout)?;
        let output = self.output(input, channels);
        let (x, weight) = (slice(name, x, x_layout)?, slice(name, weight, weight_layout)?);
        let rows = slice(name, rows, rows_layout)?;
        let mut y = conv_forward(x, input, weight, Some(&rows[..channels]), channels, &self.geometry);
        let y = match &self.norm {
            None => y,
            Some(norm) => {
                let (gamma, beta) = rows[channels..].split_at(channels);
                if !norm.tracked {
                    norm_act_in_place(&mut y, output, gamma, beta, norm.eps, norm.slope);
                    return Ok((CpuStorage::F32(y), shape(output)));
                }
                let (z, saved) = norm_act_forward(&y, output, gamma, beta, norm.eps, norm.slope);
                let _ = norm.saved.set((y, saved));
                z
            }
        };
        Ok((CpuStorage::F32(y), shape(output)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        rows: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let input = dims(self.name(), x.layout())?;
        let channels = weight.dim(0)?;
        let output = self.output(input, channels);
        let mut row_gradients = Vec::new();
        let inner = match &self.norm {
            None => None,
            Some(norm) => {
                let Some((y, saved)) = norm.saved.get() else { bail!("conv-norm-act: no forward pass") };
                let back = with_values(rows, |rows| {
                    let (gamma, beta) = rows[channels..].split_at(channels);
                    with_values(gradient, |g| norm_act_backward(y, g, output, saved, gamma, beta, norm.slope))
                })??;
                row_gradients = [back.weight, back.bias].concat();
                Some(back.x)
            }
        };
        let backward = |dy: &[f32]| -> Result<_> {
            let dx = needs_gradient(x)
                .then(|| with_values(weight, |w| conv_backward_data(dy, input, w, channels, &self.geometry)))
                .transpose()?;
            let dw = with_values(x, |x| conv_backward_weights(x, input, dy, channels, &self.geometry))?;
            Ok((dx, dw))
        };
        let (dx, (dw, mut dbias)) = match inner {
            Some(dy) => backward(&dy)?,
            None => with_values(gradient, backward)??,
        };
        dbias.append(&mut row_gradients);
        let dx = dx.map(|values| tensor(values, input)).transpose()?;
        let dw = Tensor::from_vec(dw, weight.shape(), weight.device())?;
        Ok((dx, Some(dw), Some(Tensor::from_vec(dbias, rows.shape(), rows.device())?)))
    }
}
