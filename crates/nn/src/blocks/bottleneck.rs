//! Bottleneck blocks.

use candle_core::{Result, Tensor};

use super::activation::{ActivationLayer, activate};
use super::builder::Builder;
use super::drop::stochastic_depth;
use super::excitation::{SqueezeExcitation, excite};
use super::pass::Pass;
use super::shortcut::Shortcut;
use super::stage::BlockShape;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;

/// A convolution between two 1×1 convolutions that narrow to a quarter of the features and widen again, with a shortcut
/// around them (He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, CVPR 2016; the stride is that of the
/// convolution in the middle).
#[derive(Debug, Clone)]
pub struct BottleneckBlock {
    units: [ConvUnit; 3],
    excitation: Option<SqueezeExcitation>,
    shortcut: Shortcut,
    activation: Option<ActivationLayer>,
    drop: f64,
}

impl BottleneckBlock {
    /// A block under `{name}.conv1` to `{name}.conv3` and `{name}.skip`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: BlockShape,
    ) -> std::result::Result<Self, NnError> {
        let (narrow, bias) = (shape.outputs.div_ceil(4), builder.style.bias);
        let middle = ConvShape { stride: shape.stride, ..shape.conv(narrow, narrow) };
        let widen = ConvShape::new(narrow, shape.outputs, [1; 3]);
        let units = [
            ConvUnit::activated(
                builder,
                &format!("{name}.conv1"),
                ConvShape::new(shape.inputs, narrow, [1; 3]),
            )?,
            ConvUnit::activated(builder, &format!("{name}.conv2"), middle)?,
            ConvUnit::linear(builder, &format!("{name}.conv3"), widen, true, bias)?,
        ];
        Ok(Self {
            units,
            excitation: SqueezeExcitation::of_style(builder, name, shape.outputs)?,
            shortcut: Shortcut::new(builder, name, shape.inputs, shape.outputs, shape.stride)?,
            activation: builder.activation(&format!("{name}.nonlin3"), shape.outputs)?,
            drop: shape.drop,
        })
    }

    /// A channels-last tensor through the block.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut main = x.clone();
        for unit in &self.units {
            main = unit.forward(&main, pass)?;
        }
        let main = stochastic_depth(&excite(self.excitation.as_ref(), main)?, self.drop, pass)?;
        activate(self.activation.as_ref(), (main + self.shortcut.forward(x, pass)?)?)
    }
}
