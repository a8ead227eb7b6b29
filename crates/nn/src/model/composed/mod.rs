//! Networks of other parts than nnU-Net's own, layer by layer.

mod decoder;
mod encoder;
mod source;

use candle_core::{Result, Tensor};
use nnunet_plan::NetworkSpec;

use crate::NnError;
use crate::blocks::{Builder, Pass, Style, Weights};
use decoder::Decoder;
use encoder::Encoder;
pub(super) use source::{Copies, Recorder, Shared};

/// The layers of a network over one set of weights.
#[derive(Debug, Clone)]
pub(crate) struct Composed {
    encoder: Encoder,
    decoder: Decoder,
}

impl Composed {
    /// The layers of a specification, which ask for their weights in the order in which they are numbered.
    pub(super) fn new(
        spec: &NetworkSpec,
        inputs: usize,
        outputs: usize,
        weights: &mut dyn Weights,
    ) -> std::result::Result<Self, NnError> {
        let blocks = spec.parts();
        let style = Style {
            dims: spec.dims,
            bias: spec.conv_bias,
            norm: spec.norm.map(|norm| (blocks.norm, norm)),
            activation: blocks.activation,
            dropout: spec.dropout.filter(|&p| p > 0.0).map(|p| (blocks.dropout, p)),
            squeeze_excitation: blocks.squeeze_excitation,
        };
        let mut builder = Builder::new(style, weights);
        Ok(Self {
            encoder: Encoder::new(&mut builder, spec, &blocks, inputs)?,
            decoder: Decoder::new(&mut builder, spec, &blocks, outputs)?,
        })
    }

    /// Logits, lowest resolution first; only those of the full resolution unless `deep`.
    pub(super) fn forward(&self, x: &Tensor, deep: bool, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let (_, z, y, columns, _) = x.dims5()?;
        let features = self.encoder.forward(x, pass)?;
        self.decoder.forward(features, [z, y, columns], deep, pass)
    }
}
