//! Convolution, dropout, norm and activation.

use candle_core::{Result, Tensor};
use nnunet_plan::{DropoutKind, NormKind};

use super::activation::ActivationLayer;
use super::builder::Builder;
use super::drop::dropout;
use super::norm::{NormLayer, norm_act};
use super::pass::Pass;
use super::weights::Role;
use crate::NnError;
use crate::kernels::ConvGeometry;
use crate::model::spatial;
use crate::ops::{conv, conv_norm_act, dilated_conv};

/// Convolution, then dropout, norm and activation where there are such, in nnU-Net's order.
#[derive(Debug, Clone)]
pub struct ConvUnit {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    dilation: usize,
    dropout: Option<(DropoutKind, f64)>,
    norm: Option<NormLayer>,
    activation: Option<ActivationLayer>,
}

/// The convolution of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: usize,
}

impl ConvShape {
    /// Stride and dilation 1.
    pub(crate) fn new(inputs: usize, outputs: usize, kernel: [usize; 3]) -> Self {
        Self { inputs, outputs, kernel, stride: [1; 3], dilation: 1 }
    }
}

impl ConvUnit {
    /// A convolution with norm and activation under the names `{name}.conv`, `{name}.norm` and `{name}.nonlin`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 3],
        stride: [usize; 3],
    ) -> std::result::Result<Self, NnError> {
        Self::activated(builder, name, ConvShape { stride, ..ConvShape::new(inputs, outputs, kernel) })
    }

    pub(crate) fn activated(
        builder: &mut Builder<'_>,
        name: &str,
        shape: ConvShape,
    ) -> std::result::Result<Self, NnError> {
        let mut unit = Self::convolution(builder, name, shape, builder.style.bias)?;
        unit.dropout = builder.style.dropout;
        unit.norm = builder.norm(&format!("{name}.norm"), shape.outputs, false)?;
        unit.activation = builder.activation(&format!("{name}.nonlin"), shape.outputs)?;
        Ok(unit)
    }

    /// A convolution with norm and without activation; `zero`: its norm starts at 0.
    pub(crate) fn linear(
        builder: &mut Builder<'_>,
        name: &str,
        shape: ConvShape,
        zero: bool,
        bias: bool,
    ) -> std::result::Result<Self, NnError> {
        let mut unit = Self::convolution(builder, name, shape, bias)?;
        unit.norm = builder.norm(&format!("{name}.norm"), shape.outputs, zero)?;
        Ok(unit)
    }

    /// A convolution alone.
    pub(crate) fn convolution(
        builder: &mut Builder<'_>,
        name: &str,
        shape: ConvShape,
        bias: bool,
    ) -> std::result::Result<Self, NnError> {
        let ConvShape { inputs, outputs, kernel, stride, dilation } = shape;
        let weight = builder.kernel(&format!("{name}.conv.weight"), outputs, inputs, kernel)?;
        let bias = bias.then(|| builder.weight(&format!("{name}.conv.bias"), &[outputs], Role::Shift));
        Ok(Self {
            weight,
            bias: bias.transpose()?,
            geometry: ConvGeometry::same(kernel, stride),
            dilation,
            dropout: None,
            norm: None,
            activation: None,
        })
    }

    /// The same unit without padding, for kernels that are the stride.
    pub(crate) fn unpadded(mut self) -> Self {
        self.geometry.padding = [0; 3];
        self
    }

    pub(crate) fn set_dropout(&mut self, dropout: Option<(DropoutKind, f64)>) {
        self.dropout = dropout;
    }

    /// A channels-last tensor through all of it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        if let Some(y) = self.fused(x)? {
            return Ok(y);
        }
        let weight = spatial(&self.weight)?;
        let mut y = match self.dilation {
            1 => conv(x, &weight, self.bias.as_ref(), &self.geometry)?,
            dilation => dilated_conv(x, &weight, self.bias.as_ref(), [dilation; 3])?,
        };
        if let Some((kind, p)) = self.dropout {
            y = dropout(&y, kind, p, pass)?;
        }
        norm_act(self.norm.as_ref(), self.activation.as_ref(), &y, pass)
    }

    /// The operation that does all at once and keeps less for the backward pass, where there is one.
    fn fused(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let slope = match &self.activation {
            None => None,
            Some(activation) => match activation.slope() {
                Some(slope) => Some(slope),
                None => return Ok(None),
            },
        };
        let Some(norm) = self.norm.as_ref().filter(|norm| norm.kind == NormKind::Instance) else {
            return Ok(None);
        };
        if self.dilation != 1 || self.dropout.is_some() {
            return Ok(None);
        }
        let (gamma, beta) = (norm.gamma.as_ref(), norm.beta.as_ref());
        let (weight, bias) = (spatial(&self.weight)?, self.bias.as_ref());
        conv_norm_act(x, &weight, bias, gamma, beta, &self.geometry, norm.eps, slope).map(Some)
    }
}
