//! Residual blocks with the activation in front.

use candle_core::{Result, Tensor};

use super::activation::ActivationLayer;
use super::builder::Builder;
use super::drop::stochastic_depth;
use super::excitation::{SqueezeExcitation, excite};
use super::norm::{NormLayer, norm_act};
use super::pass::Pass;
use super::stage::BlockShape;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;

/// Norm, activation and convolution, twice, with a shortcut around them that nothing changes but a strided 1×1 convolution
/// where shapes differ (He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, ECCV 2016).
#[derive(Debug, Clone)]
pub struct PreactivationBlock {
    parts: [(Option<NormLayer>, Option<ActivationLayer>, ConvUnit); 2],
    excitation: Option<SqueezeExcitation>,
    shortcut: Option<ConvUnit>,
    drop: f64,
}

impl PreactivationBlock {
    /// A block under `{name}.norm1`, `{name}.conv1`, `{name}.norm2`, `{name}.conv2` and `{name}.skip`; the first of a network
    /// has neither norm nor activation in front of its first convolution.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: BlockShape,
        first: bool,
    ) -> std::result::Result<Self, NnError> {
        let bias = builder.style.bias;
        let mut part = |number: usize, conv: ConvShape, bare: bool| {
            let (mut norm, mut activation) = (None, None);
            if !bare {
                norm = builder.norm(&format!("{name}.norm{number}"), conv.inputs, false)?;
                activation = builder.activation(&format!("{name}.nonlin{number}"), conv.inputs)?;
            }
            let mut unit = ConvUnit::convolution(builder, &format!("{name}.conv{number}"), conv, bias)?;
            unit.set_dropout(builder.style.dropout);
            Ok::<_, NnError>((norm, activation, unit))
        };
        let parts = [
            part(1, shape.strided(shape.outputs), first)?,
            part(2, shape.conv(shape.outputs, shape.outputs), false)?,
        ];
        let projects = shape.inputs != shape.outputs || shape.stride != [1; 3];
        let skip = ConvShape { stride: shape.stride, ..ConvShape::new(shape.inputs, shape.outputs, [1; 3]) };
        Ok(Self {
            parts,
            excitation: SqueezeExcitation::of_style(builder, name, shape.outputs)?,
            shortcut: projects
                .then(|| ConvUnit::convolution(builder, &format!("{name}.skip"), skip, bias))
                .transpose()?,
            drop: shape.drop,
        })
    }

    /// A channels-last tensor through the block.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut main = x.clone();
        for (norm, activation, unit) in &self.parts {
            main = unit.forward(&norm_act(norm.as_ref(), activation.as_ref(), &main, pass)?, pass)?;
        }
        let main = stochastic_depth(&excite(self.excitation.as_ref(), main)?, self.drop, pass)?;
        match &self.shortcut {
            Some(shortcut) => main + shortcut.forward(x, pass)?,
            None => main + x,
        }
    }
}
