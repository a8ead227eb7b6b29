//! V-Net's blocks.

use candle_core::{Result, Tensor};

use super::activation::{ActivationLayer, activate};
use super::builder::Builder;
use super::drop::stochastic_depth;
use super::excitation::{SqueezeExcitation, excite};
use super::pass::Pass;
use super::stage::BlockShape;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;

/// Convolutions with one shortcut around all of them, activation after the sum (Milletari, Navab, Ahmadi: *V-Net*, 3DV 2016).
/// Where the channels of the input differ, a 1×1 convolution makes them fit.
#[derive(Debug, Clone)]
pub struct VnetBlock {
    units: Vec<ConvUnit>,
    excitation: Option<SqueezeExcitation>,
    shortcut: Option<ConvUnit>,
    activation: Option<ActivationLayer>,
    drop: f64,
}

impl VnetBlock {
    /// `count` convolutions under `{name}.convs.N`, and `{name}.skip`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: BlockShape,
        count: usize,
    ) -> std::result::Result<Self, NnError> {
        let mut units = Vec::with_capacity(count);
        for number in 0..count {
            let conv = shape.conv(if number == 0 { shape.inputs } else { shape.outputs }, shape.outputs);
            let (name, bias) = (format!("{name}.convs.{number}"), builder.style.bias);
            units.push(match number + 1 == count {
                false => ConvUnit::activated(builder, &name, conv)?,
                true => ConvUnit::linear(builder, &name, conv, false, bias)?,
            });
        }
        let skip = ConvShape::new(shape.inputs, shape.outputs, [1; 3]);
        let projects = shape.inputs != shape.outputs;
        Ok(Self {
            units,
            excitation: SqueezeExcitation::of_style(builder, name, shape.outputs)?,
            shortcut: projects
                .then(|| ConvUnit::convolution(builder, &format!("{name}.skip"), skip, false))
                .transpose()?,
            activation: builder.activation(&format!("{name}.nonlin"), shape.outputs)?,
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
        let sum = match &self.shortcut {
            Some(shortcut) => (main + shortcut.forward(x, pass)?)?,
            None => (main + x)?,
        };
        activate(self.activation.as_ref(), sum)
    }
}
