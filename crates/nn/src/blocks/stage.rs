//! The blocks of a resolution.

use candle_core::{Result, Tensor};
use nnunet_plan::BlockKind;

use super::bottleneck::BottleneckBlock;
use super::builder::Builder;
use super::dense::DenseBlock;
use super::excitation::{SqueezeExcitation, excite};
use super::pass::Pass;
use super::preactivation::PreactivationBlock;
use super::residual::ResidualBlock;
use super::unit::{ConvShape, ConvUnit};
use super::vnet::VnetBlock;
use crate::NnError;

/// What a block is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its output.
    pub outputs: usize,
    /// Its kernel.
    pub kernel: [usize; 3],
    /// Its stride.
    pub stride: [usize; 3],
    /// Dilation of its convolutions.
    pub dilation: usize,
    /// Probability that its main path is left out in training.
    pub drop: f64,
}

impl BlockShape {
    /// Stride and dilation 1, always there.
    pub fn new(inputs: usize, outputs: usize, kernel: [usize; 3]) -> Self {
        Self { inputs, outputs, kernel, stride: [1; 3], dilation: 1, drop: 0.0 }
    }

    /// A convolution inside the block.
    pub(crate) fn conv(&self, inputs: usize, outputs: usize) -> ConvShape {
        ConvShape { dilation: self.dilation, ..ConvShape::new(inputs, outputs, self.kernel) }
    }

    /// The convolution of its input. One with a stride is not dilated.
    pub(crate) fn strided(&self, outputs: usize) -> ConvShape {
        ConvShape { stride: self.stride, ..self.conv(self.inputs, outputs) }
    }
}

/// What a stage is made for.
#[derive(Debug, Clone, PartialEq)]
pub struct StageShape {
    /// Its first block.
    pub block: BlockShape,
    /// Kind of its blocks.
    pub kind: BlockKind,
    /// Number of blocks, or of convolutions where there is one block.
    pub count: usize,
    /// Channels that each convolution of a dense block adds.
    pub growth: usize,
    /// Whether the network begins here.
    pub first: bool,
    /// Probability of each block that it is left out in training; 0 where there is none.
    pub drops: Vec<f64>,
}

/// The blocks of one resolution.
#[derive(Debug, Clone)]
pub struct Stage {
    layers: Vec<Layer>,
    excitation: Option<SqueezeExcitation>,
}

#[derive(Debug, Clone)]
enum Layer {
    Unit(ConvUnit),
    Residual(ResidualBlock),
    Preactivation(PreactivationBlock),
    Bottleneck(BottleneckBlock),
    Dense(DenseBlock),
    Vnet(VnetBlock),
}

impl Stage {
    /// Units under `{name}.convs.N`, blocks under `{name}.blocks.N`, single blocks under `{name}.block`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes, or groups do not divide the channels of a norm.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: &StageShape,
    ) -> std::result::Result<Self, NnError> {
        let outputs = shape.block.outputs;
        let block = |number: usize| BlockShape {
            inputs: if number == 0 { shape.block.inputs } else { outputs },
            stride: if number == 0 { shape.block.stride } else { [1; 3] },
            drop: shape.drops.get(number).copied().unwrap_or(0.0),
            ..shape.block
        };
        let single = block(0);
        let one = format!("{name}.block");
        let layers = match shape.kind {
            BlockKind::Plain | BlockKind::Doubling => return Self::units(builder, name, shape),
            BlockKind::Dense => {
                vec![Layer::Dense(DenseBlock::new(builder, &one, single, shape.count, shape.growth)?)]
            }
            BlockKind::Vnet => vec![Layer::Vnet(VnetBlock::new(builder, &one, single, shape.count)?)],
            _ => (0..shape.count)
                .map(|number| {
                    let name = format!("{name}.blocks.{number}");
                    let first = shape.first && number == 0;
                    Layer::block(builder, &name, shape.kind, block(number), first)
                })
                .collect::<std::result::Result<_, _>>()?,
        };
        Ok(Self { layers, excitation: None })
    }

    fn units(
        builder: &mut Builder<'_>,
        name: &str,
        shape: &StageShape,
    ) -> std::result::Result<Self, NnError> {
        let outputs = shape.block.outputs;
        let narrow = if shape.kind == BlockKind::Doubling { (outputs / 2).max(1) } else { outputs };
        let (mut layers, mut inputs) = (Vec::new(), shape.block.inputs);
        for number in 0..shape.count {
            let outputs = if number + 1 == shape.count { outputs } else { narrow };
            let mut conv = shape.block.conv(inputs, outputs);
            if number == 0 {
                conv.stride = shape.block.stride;
            }
            layers.push(Layer::Unit(ConvUnit::activated(builder, &format!("{name}.convs.{number}"), conv)?));
            inputs = outputs;
        }
        Ok(Self { layers, excitation: SqueezeExcitation::of_style(builder, name, outputs)? })
    }

    /// A channels-last tensor through all blocks.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in &self.layers {
            x = match layer {
                Layer::Unit(unit) => unit.forward(&x, pass)?,
                Layer::Residual(block) => block.forward(&x, pass)?,
                Layer::Preactivation(block) => block.forward(&x, pass)?,
                Layer::Bottleneck(block) => block.forward(&x, pass)?,
                Layer::Dense(block) => block.forward(&x, pass)?,
                Layer::Vnet(block) => block.forward(&x, pass)?,
            };
        }
        excite(self.excitation.as_ref(), x)
    }
}

impl Layer {
    fn block(
        builder: &mut Builder<'_>,
        name: &str,
        kind: BlockKind,
        shape: BlockShape,
        first: bool,
    ) -> std::result::Result<Self, NnError> {
        Ok(match kind {
            BlockKind::Bottleneck => Self::Bottleneck(BottleneckBlock::new(builder, name, shape)?),
            BlockKind::Preactivation => {
                Self::Preactivation(PreactivationBlock::new(builder, name, shape, first)?)
            }
            _ => Self::Residual(ResidualBlock::new(builder, name, shape)?),
        })
    }
}
