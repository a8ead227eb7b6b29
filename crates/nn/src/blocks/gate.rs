//! Attention gates.

use candle_core::{Result, Tensor};

use super::builder::Builder;
use super::weights::Role;
use crate::NnError;
use crate::kernels::ConvGeometry;
use crate::model::spatial;
use crate::ops::{conv, resize_linear, sigmoid};

/// Weights the voxels of a skip connection by what the stage below sees (Oktay et al., *Attention U-Net: Learning Where to Look
/// for the Pancreas*, MIDL 2018): `x · σ(ψ(relu(θ(x) + φ(g))))`, where θ is a strided convolution to the resolution of `g` and
/// the weights are interpolated back.
#[derive(Debug, Clone)]
pub struct AttentionGate {
    theta: Tensor,
    phi: (Tensor, Tensor),
    psi: (Tensor, Tensor),
    stride: [usize; 3],
}

impl AttentionGate {
    /// A gate under `{name}.theta`, `{name}.phi` and `{name}.psi` with half the channels of the skip connection inside.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        channels: usize,
        gating: usize,
        stride: [usize; 3],
    ) -> std::result::Result<Self, NnError> {
        let inner = (channels / 2).max(1);
        let theta = builder.kernel(&format!("{name}.theta.weight"), inner, channels, stride)?;
        let mut layer = |part: &str, inputs: usize, outputs: usize| {
            let weight = builder.kernel(&format!("{name}.{part}.weight"), outputs, inputs, [1; 3])?;
            let bias = builder.weight(&format!("{name}.{part}.bias"), &[outputs], Role::Shift)?;
            Ok::<_, NnError>((weight, bias))
        };
        Ok(Self { theta, phi: layer("phi", gating, inner)?, psi: layer("psi", inner, 1)?, stride })
    }

    /// The weighted skip connection; `gating` has the resolution of the stage below.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, skip: &Tensor, gating: &Tensor) -> Result<Tensor> {
        let (_, z, y, columns, _) = skip.dims5()?;
        let one = ConvGeometry::same([1; 3], [1; 3]);
        let down = ConvGeometry { kernel: self.stride, stride: self.stride, padding: [0; 3] };
        let seen = conv(skip, &spatial(&self.theta)?, None, &down)?;
        let asked = conv(gating, &spatial(&self.phi.0)?, Some(&self.phi.1), &one)?;
        let joined = (seen + asked)?.relu()?;
        let weight = sigmoid(&conv(&joined, &spatial(&self.psi.0)?, Some(&self.psi.1), &one)?)?;
        skip.broadcast_mul(&resize_linear(&weight, [z, y, columns])?)
    }
}
