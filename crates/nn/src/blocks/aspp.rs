//! Atrous spatial pyramid pooling.

use candle_core::{Result, Tensor};

use super::activation::{ActivationLayer, activate};
use super::builder::Builder;
use super::pass::Pass;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;

/// A 1×1 convolution, convolutions of several dilations and the mean of the image side by side, joined by a 1×1 convolution
/// (Chen, Papandreou, Schroff, Adam: *Rethinking Atrous Convolution for Semantic Image Segmentation*, 2017).
///
/// The mean of the image has no norm: most norms would leave nothing of a single voxel.
#[derive(Debug, Clone)]
pub struct Aspp {
    branches: Vec<ConvUnit>,
    pooled: ConvUnit,
    pooled_activation: Option<ActivationLayer>,
    join: ConvUnit,
}

impl Aspp {
    /// Branches of `channels` channels under `{name}.branches.N`, `{name}.pooled` and `{name}.join`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        inputs: usize,
        channels: usize,
        rates: &[usize],
    ) -> std::result::Result<Self, NnError> {
        let one = ConvShape::new(inputs, channels, [1; 3]);
        let kernel = if builder.style.dims == 2 { [1, 3, 3] } else { [3; 3] };
        let mut branches = vec![ConvUnit::activated(builder, &format!("{name}.branches.0"), one)?];
        for (number, &dilation) in rates.iter().enumerate() {
            let shape = ConvShape { kernel, dilation, ..one };
            branches.push(ConvUnit::activated(builder, &format!("{name}.branches.{}", number + 1), shape)?);
        }
        let joined = ConvShape::new((branches.len() + 1) * channels, channels, [1; 3]);
        Ok(Self {
            branches,
            pooled: ConvUnit::convolution(builder, &format!("{name}.pooled"), one, true)?,
            pooled_activation: builder.activation(&format!("{name}.pooled.nonlin"), channels)?,
            join: ConvUnit::activated(builder, &format!("{name}.join"), joined)?,
        })
    }

    /// A channels-last tensor through all branches.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut seen = Vec::with_capacity(self.branches.len() + 1);
        for branch in &self.branches {
            seen.push(branch.forward(x, pass)?);
        }
        let mean = self.pooled.forward(&x.mean_keepdim((1, 2, 3))?, pass)?;
        let mean = activate(self.pooled_activation.as_ref(), mean)?;
        let (batch, z, y, columns, _) = x.dims5()?;
        seen.push(mean.broadcast_as((batch, z, y, columns, mean.dim(4)?))?.contiguous()?);
        self.join.forward(&Tensor::cat(&seen, 4)?, pass)
    }
}
