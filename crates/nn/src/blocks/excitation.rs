//! Squeeze-and-excitation.

use candle_core::{Result, Tensor};

use super::builder::Builder;
use super::weights::Role;
use crate::NnError;
use crate::kernels::ConvGeometry;
use crate::model::spatial;
use crate::ops::{conv, sigmoid};

/// Weights each channel by what the means of all channels say (Hu, Shen, Sun: *Squeeze-and-Excitation Networks*, CVPR 2018).
#[derive(Debug, Clone)]
pub struct SqueezeExcitation {
    squeeze: (Tensor, Tensor),
    excite: (Tensor, Tensor),
}

impl SqueezeExcitation {
    /// Two 1×1 convolutions, `{name}.fc1` and `{name}.fc2`, with `channels / reduction` values between them.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        channels: usize,
        reduction: usize,
    ) -> std::result::Result<Self, NnError> {
        let between = (channels / reduction.max(1)).max(1);
        let mut layer = |part: &str, inputs: usize, outputs: usize| {
            let weight = builder.kernel(&format!("{name}.{part}.weight"), outputs, inputs, [1; 3])?;
            let bias = builder.weight(&format!("{name}.{part}.bias"), &[outputs], Role::Shift)?;
            Ok::<_, NnError>((weight, bias))
        };
        Ok(Self { squeeze: layer("fc1", channels, between)?, excite: layer("fc2", between, channels)? })
    }

    /// A channels-last tensor with weighted channels.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let one = ConvGeometry::same([1; 3], [1; 3]);
        let means = x.mean_keepdim((1, 2, 3))?;
        let squeezed = conv(&means, &spatial(&self.squeeze.0)?, Some(&self.squeeze.1), &one)?.relu()?;
        let excited = conv(&squeezed, &spatial(&self.excite.0)?, Some(&self.excite.1), &one)?;
        x.broadcast_mul(&sigmoid(&excited)?)
    }

    /// The one of the builder's style, if that has one.
    pub(crate) fn of_style(
        builder: &mut Builder<'_>,
        name: &str,
        channels: usize,
    ) -> std::result::Result<Option<Self>, NnError> {
        let reduction = builder.style.squeeze_excitation;
        let name = format!("{name}.squeeze_excitation");
        reduction.map(|reduction| Self::new(builder, &name, channels, reduction)).transpose()
    }
}

/// The excitation, if there is one.
pub(crate) fn excite(layer: Option<&SqueezeExcitation>, x: Tensor) -> Result<Tensor> {
    match layer {
        Some(layer) => layer.forward(&x),
        None => Ok(x),
    }
}
