//! From a stage of the decoder to the resolution above.

use candle_core::{Result, Tensor};
use nnunet_plan::UpKind;

use super::activation::ActivationLayer;
use super::builder::Builder;
use super::norm::{NormLayer, norm_act};
use super::pass::Pass;
use super::weights::Role;
use crate::NnError;
use crate::model::spatial;
use crate::ops::{conv_transpose, resize_linear};

/// A transposed convolution whose kernel is its stride, or linear interpolation.
#[derive(Debug, Clone)]
pub struct Up {
    layer: Layer,
    channels: usize,
}

#[derive(Debug, Clone)]
enum Layer {
    Transposed {
        weight: Tensor,
        bias: Option<Tensor>,
        norm: Option<NormLayer>,
        activation: Option<ActivationLayer>,
    },
    Linear([usize; 3]),
}

impl Up {
    /// From `inputs` channels to `outputs` where the kind changes their number.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        kind: UpKind,
        [inputs, outputs]: [usize; 2],
        stride: [usize; 3],
    ) -> std::result::Result<Self, NnError> {
        let channels = match kind {
            UpKind::Transposed | UpKind::TransposedUnit => outputs,
            UpKind::TransposedWide => inputs,
            UpKind::Linear => return Ok(Self { layer: Layer::Linear(stride), channels: inputs }),
        };
        let weight = builder.kernel(&format!("{name}.weight"), inputs, channels, stride)?;
        let bias = builder.style.bias;
        let bias =
            bias.then(|| builder.weight(&format!("{name}.bias"), &[channels], Role::Shift)).transpose()?;
        let (mut norm, mut activation) = (None, None);
        if kind == UpKind::TransposedUnit {
            norm = builder.norm(&format!("{name}.norm"), channels, false)?;
            activation = builder.activation(&format!("{name}.nonlin"), channels)?;
        }
        Ok(Self { layer: Layer::Transposed { weight, bias, norm, activation }, channels })
    }

    /// Channels of the result.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// A channels-last tensor in the higher resolution.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        match &self.layer {
            Layer::Transposed { weight, bias, norm, activation } => {
                let y = conv_transpose(x, &spatial(weight)?, bias.as_ref())?;
                norm_act(norm.as_ref(), activation.as_ref(), &y, pass)
            }
            Layer::Linear(stride) => {
                let (_, z, y, columns, _) = x.dims5()?;
                resize_linear(x, [z * stride[0], y * stride[1], columns * stride[2]])
            }
        }
    }
}
