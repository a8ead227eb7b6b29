//! What all blocks of a network have in common, and the maker of their parts.

use candle_core::Tensor;
use nnunet_plan::{Activation, DropoutKind, NormKind, NormSpec};

use super::activation::ActivationLayer;
use super::norm::NormLayer;
use super::weights::{Role, Weights};
use crate::NnError;

/// What the blocks of a network have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Spatial axes of the weights, 2 or 3.
    pub dims: usize,
    /// Whether convolutions have a bias.
    pub bias: bool,
    /// Norm of each convolution.
    pub norm: Option<(NormKind, NormSpec)>,
    /// What follows it.
    pub activation: Option<Activation>,
    /// Dropout between convolution and norm, with its probability.
    pub dropout: Option<(DropoutKind, f64)>,
    /// Features over those of the bottleneck of squeeze-and-excitations.
    pub squeeze_excitation: Option<usize>,
}

impl Default for Style {
    /// nnU-Net's 3-D networks: instance norm, leaky ReLU with slope 0.01.
    fn default() -> Self {
        Self {
            dims: 3,
            bias: true,
            norm: Some((NormKind::Instance, NormSpec { eps: 1e-5, affine: true })),
            activation: Some(Activation::LeakyRelu(0.01)),
            dropout: None,
            squeeze_excitation: None,
        }
    }
}

/// Makes parts of a style from named weights.
pub struct Builder<'a> {
    /// The style.
    pub style: Style,
    weights: &'a mut dyn Weights,
}

impl<'a> Builder<'a> {
    /// A maker of parts.
    pub fn new(style: Style, weights: &'a mut dyn Weights) -> Self {
        Self { style, weights }
    }

    /// A tensor of weights.
    ///
    /// # Errors
    /// The weights have none of this name and shape.
    pub fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError> {
        self.weights.weight(name, shape, role)
    }

    /// Weight `(a, b, kernel)` of a convolution; 2-D kernels have no z axis.
    ///
    /// # Errors
    /// As [`Builder::weight`].
    pub fn kernel(&mut self, name: &str, a: usize, b: usize, size: [usize; 3]) -> Result<Tensor, NnError> {
        let shape = [&[a, b], &size[3 - self.style.dims.clamp(1, 3)..]].concat();
        self.weight(name, &shape, Role::Kernel)
    }

    /// The norm of the style; `zero` for the last one of a residual block.
    ///
    /// # Errors
    /// As [`Builder::weight`], or groups that do not divide the channels.
    pub fn norm(&mut self, name: &str, channels: usize, zero: bool) -> Result<Option<NormLayer>, NnError> {
        let Some((kind, NormSpec { eps, affine })) = self.style.norm else { return Ok(None) };
        if let NormKind::Group { groups } = kind
            && (groups == 0 || !channels.is_multiple_of(groups))
        {
            let reason = format!("{name}: {groups} groups do not divide {channels} channels");
            return Err(NnError::Unsupported(reason));
        }
        let scale = if zero { Role::ZeroScale } else { Role::Scale };
        let (mut gamma, mut beta, mut running) = (None, None, None);
        if affine {
            gamma = Some(self.weight(&format!("{name}.weight"), &[channels], scale)?);
            beta = Some(self.weight(&format!("{name}.bias"), &[channels], Role::Shift)?);
        }
        if let NormKind::Batch { .. } = kind {
            let mean = self.weights.buffer(&format!("{name}.running_mean"), &[channels], Role::Mean)?;
            let variance =
                self.weights.buffer(&format!("{name}.running_var"), &[channels], Role::Variance)?;
            running = Some([mean, variance]);
        }
        Ok(Some(NormLayer { kind, eps, gamma, beta, running }))
    }

    /// The activation of the style.
    ///
    /// # Errors
    /// As [`Builder::weight`].
    pub fn activation(&mut self, name: &str, channels: usize) -> Result<Option<ActivationLayer>, NnError> {
        let Some(kind) = self.style.activation else { return Ok(None) };
        let weight = match kind {
            Activation::Prelu => Some(self.weight(&format!("{name}.weight"), &[channels], Role::Slope)?),
            Activation::Tlu => Some(self.weight(&format!("{name}.tau"), &[channels], Role::Shift)?),
            _ => None,
        };
        Ok(Some(ActivationLayer { kind, weight }))
    }
}
