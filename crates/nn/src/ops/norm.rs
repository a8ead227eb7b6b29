//! Instance norm with leaky ReLU as an operation of its own.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::slice::{dims, slice, tensor, with_values};
use crate::kernels::{NormSaved, norm_act_backward, norm_act_forward};

/// Instance norm over the voxels of each sample and channel, then leaky ReLU.
///
/// `weight` and `bias` are scale and shift per channel (1 and 0 if absent); no activation without `slope`.
///
/// # Errors
/// Shapes that do not fit, or a tensor that is not f32 on the CPU.
pub fn instance_norm_leaky_relu(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    slope: Option<f64>,
) -> Result<Tensor> {
    let channels = x.dim(candle_core::D::Minus1)?;
    let or = |given: Option<&Tensor>, default: f32| match given {
        Some(tensor) => tensor.contiguous(),
        None => Tensor::full(default, channels, x.device()),
    };
    let op = NormAct { eps, slope: slope.unwrap_or(1.0) as f32, saved: OnceLock::new() };
    x.contiguous()?.apply_op3(&or(weight, 1.0)?, &or(bias, 0.0)?, op)
}

struct NormAct {
    eps: f64,
    slope: f32,
    saved: OnceLock<NormSaved>,
}

impl CustomOp3 for NormAct {
    fn name(&self) -> &'static str {
        "instance-norm-leaky-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let shape = dims(name, x_layout)?;
        let (weight, bias) = (slice(name, weight, weight_layout)?, slice(name, bias, bias_layout)?);
        if weight.len() != shape.channels || bias.len() != shape.channels {
            bail!("{name}: {} channels, {} scales, {} shifts", shape.channels, weight.len(), bias.len());
        }
        let (y, saved) =
            norm_act_forward(slice(name, x, x_layout)?, shape, weight, bias, self.eps, self.slope);
        let _ = self.saved.set(saved);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.saved.get() else { bail!("{}: no forward pass", self.name()) };
        let shape = dims(self.name(), x.layout())?;
        let (w, b) = (weight.to_vec1::<f32>()?, bias.to_vec1::<f32>()?);
        let back = with_values(x, |x| {
            with_values(gradient, |g| norm_act_backward(x, g, shape, saved, &w, &b, self.slope))
        })??;
        let row = |values: Vec<f32>| Tensor::from_vec(values, shape.channels, x.device());
        Ok((Some(tensor(back.x, shape)?), Some(row(back.weight)?), Some(row(back.bias)?)))
    }
}
