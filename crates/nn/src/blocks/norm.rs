//! A normalisation with its weights.

use candle_core::{Result, Tensor, Var, bail};
use nnunet_plan::NormKind;

use super::activation::{ActivationLayer, activate};
use super::pass::Pass;
use crate::ops::{
    batch_norm, batch_norm_with, channel_moments, filter_response_norm, group_norm, instance_norm_leaky_relu,
};

/// A normalisation; the papers are named by [`NormKind`].
#[derive(Debug, Clone)]
pub struct NormLayer {
    /// Which one.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
    /// Scale per channel.
    pub gamma: Option<Tensor>,
    /// Shift per channel.
    pub beta: Option<Tensor>,
    /// Running mean and variance of batch norm.
    pub running: Option<[Var; 2]>,
}

impl NormLayer {
    /// Normalises a channels-last tensor, then activates it. In training, batch norm follows the running statistics.
    ///
    /// # Errors
    /// Shapes that do not fit, or batch norm in training on a single voxel.
    pub fn forward(&self, x: &Tensor, activation: Option<&ActivationLayer>, pass: &Pass) -> Result<Tensor> {
        let (gamma, beta) = (self.gamma.as_ref(), self.beta.as_ref());
        // The kernels of instance norm activate in the same sweep.
        let slope = activation.and_then(ActivationLayer::slope);
        let rest = activation.filter(|_| slope.is_none());
        let y = match self.kind {
            NormKind::Instance => instance_norm_leaky_relu(x, gamma, beta, self.eps, slope)?,
            NormKind::Batch { momentum } if pass.is_training() => {
                self.follow(x, momentum)?;
                batch_norm(x, gamma, beta, self.eps, slope)?
            }
            NormKind::Batch { .. } => {
                let Some([mean, variance]) = &self.running else { bail!("batch norm without running means") };
                let (mean, variance) = (mean.as_detached_tensor(), variance.as_detached_tensor());
                return activate(activation, batch_norm_with(x, &mean, &variance, gamma, beta, self.eps)?);
            }
            NormKind::Group { groups } => {
                return activate(activation, group_norm(x, groups, gamma, beta, self.eps)?);
            }
            NormKind::FilterResponse => {
                return activate(activation, filter_response_norm(x, gamma, beta, self.eps)?);
            }
        };
        activate(rest, y)
    }

    /// Moves the running statistics towards those of the batch.
    fn follow(&self, x: &Tensor, momentum: f64) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let channels = x.dim(candle_core::D::Minus1)?;
        if x.elem_count() <= channels {
            bail!(
                "batch norm in training needs more than one value per channel, the input has the shape {:?}",
                x.dims()
            );
        }
        let moments = channel_moments(&x.detach())?;
        for (var, new) in running.iter().zip([moments.mean, moments.variance]) {
            let new = Tensor::from_vec(new, channels, x.device())?;
            let old = var.as_detached_tensor();
            var.set(&((old * (1.0 - momentum))? + (new * momentum)?)?)?;
        }
        Ok(())
    }
}

/// Norm and activation, each if there is one.
pub(crate) fn norm_act(
    norm: Option<&NormLayer>,
    activation: Option<&ActivationLayer>,
    x: &Tensor,
    pass: &Pass,
) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(x, activation, pass),
        None => activate(activation, x.clone()),
    }
}
