//! Dense blocks.

use candle_core::{Result, Tensor};

use super::activation::ActivationLayer;
use super::builder::Builder;
use super::excitation::{SqueezeExcitation, excite};
use super::norm::{NormLayer, norm_act};
use super::pass::Pass;
use super::stage::BlockShape;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;

/// Norm, activation and convolution, each fed with the input and all outputs before it, then a 1×1 convolution over all of
/// them (Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, CVPR 2017).
#[derive(Debug, Clone)]
pub struct DenseBlock {
    layers: Vec<(Option<NormLayer>, Option<ActivationLayer>, ConvUnit)>,
    excitation: Option<SqueezeExcitation>,
}

impl DenseBlock {
    /// `count` layers of `growth` channels under `{name}.layers.N`, and `{name}.transition`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes, or groups do not divide the channels of a layer.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: BlockShape,
        count: usize,
        growth: usize,
    ) -> std::result::Result<Self, NnError> {
        let mut layers = Vec::with_capacity(count + 1);
        for layer in 0..=count {
            let inputs = shape.inputs + layer * growth;
            let (name, conv) = if layer < count {
                (format!("{name}.layers.{layer}"), shape.conv(inputs, growth))
            } else {
                (format!("{name}.transition"), ConvShape::new(inputs, shape.outputs, [1; 3]))
            };
            let norm = builder.norm(&format!("{name}.norm"), inputs, false)?;
            let activation = builder.activation(&format!("{name}.nonlin"), inputs)?;
            let mut unit = ConvUnit::convolution(builder, &name, conv, builder.style.bias)?;
            unit.set_dropout(builder.style.dropout);
            layers.push((norm, activation, unit));
        }
        Ok(Self { layers, excitation: SqueezeExcitation::of_style(builder, name, shape.outputs)? })
    }

    /// A channels-last tensor through the block.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (mut all, mut last) = (x.clone(), x.clone());
        for (number, (norm, activation, unit)) in self.layers.iter().enumerate() {
            last = unit.forward(&norm_act(norm.as_ref(), activation.as_ref(), &all, pass)?, pass)?;
            if number + 1 < self.layers.len() {
                all = Tensor::cat(&[&all, &last], 4)?;
            }
        }
        excite(self.excitation.as_ref(), last)
    }
}
