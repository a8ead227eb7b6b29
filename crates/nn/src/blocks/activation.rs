//! An activation with its weights.

use candle_core::{Result, Tensor, bail};
use nnunet_plan::Activation;

use crate::ops::{leaky_relu, prelu, tlu};

/// An activation; the papers are named by [`Activation`].
#[derive(Debug, Clone)]
pub struct ActivationLayer {
    /// Which one.
    pub kind: Activation,
    /// Slopes or thresholds of the channels, where they are learnt.
    pub weight: Option<Tensor>,
}

impl ActivationLayer {
    /// Value by value.
    ///
    /// # Errors
    /// Slopes or thresholds that are missing or of another number than the channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match (self.kind, &self.weight) {
            (Activation::LeakyRelu(slope), _) => leaky_relu(x, slope),
            (Activation::Gelu, _) => x.gelu_erf(),
            (Activation::Silu, _) => x.silu(),
            (Activation::Prelu, Some(slopes)) => prelu(x, slopes),
            (Activation::Tlu, Some(thresholds)) => tlu(x, thresholds),
            (kind @ (Activation::Prelu | Activation::Tlu), None) => bail!("{kind:?} without its weights"),
        }
    }

    /// The slope below 0, if that is all there is to it.
    pub(crate) fn slope(&self) -> Option<f64> {
        match self.kind {
            Activation::LeakyRelu(slope) => Some(slope),
            _ => None,
        }
    }
}

/// The activation, if there is one.
pub(crate) fn activate(layer: Option<&ActivationLayer>, x: Tensor) -> Result<Tensor> {
    match layer {
        Some(layer) => layer.forward(&x),
        None => Ok(x),
    }
}
