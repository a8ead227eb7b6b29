//! Residual blocks.

use candle_core::{Result, Tensor};

use super::activation::{ActivationLayer, activate};
use super::builder::Builder;
use super::drop::stochastic_depth;
use super::excitation::{SqueezeExcitation, excite};
use super::pass::Pass;
use super::shortcut::Shortcut;
use super::stage::BlockShape;
use super::unit::ConvUnit;
use crate::NnError;

/// Two convolutions with a shortcut around them, activation after the sum (He, Zhang, Ren, Sun: *Deep Residual Learning for
/// Image Recognition*, CVPR 2016, in nnU-Net's arrangement).
#[derive(Debug, Clone)]
pub struct ResidualBlock {
    first: ConvUnit,
    second: ConvUnit,
    excitation: Option<SqueezeExcitation>,
    shortcut: Shortcut,
    activation: Option<ActivationLayer>,
    drop: f64,
}

impl ResidualBlock {
    /// A block under `{name}.conv1`, `{name}.conv2` and `{name}.skip`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: BlockShape,
    ) -> std::result::Result<Self, NnError> {
        let bias = builder.style.bias;
        let inner = shape.conv(shape.outputs, shape.outputs);
        Ok(Self {
            first: ConvUnit::activated(builder, &format!("{name}.conv1"), shape.strided(shape.outputs))?,
            second: ConvUnit::linear(builder, &format!("{name}.conv2"), inner, true, bias)?,
            excitation: SqueezeExcitation::of_style(builder, name, shape.outputs)?,
            shortcut: Shortcut::new(builder, name, shape.inputs, shape.outputs, shape.stride)?,
            activation: builder.activation(&format!("{name}.nonlin2"), shape.outputs)?,
            drop: shape.drop,
        })
    }

    /// A channels-last tensor through the block.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let main = self.second.forward(&self.first.forward(x, pass)?, pass)?;
        let main = stochastic_depth(&excite(self.excitation.as_ref(), main)?, self.drop, pass)?;
        activate(self.activation.as_ref(), (main + self.shortcut.forward(x, pass)?)?)
    }
}
