//! Encoder, decoder and heads over one set of tensors.

use candle_core::{Result, Tensor};
use nnunet_plan::{NetworkKind, NetworkSpec};

use super::build::skip_path;
use super::layers::{Residual, Source, Unit, spatial};
use crate::kernels::ConvGeometry;
use crate::ops::{conv, up_concat};

/// The layers of a U-Net.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(super) stem: Option<Unit>,
    pub(super) stages: Vec<Vec<Layer>>,
    pub(super) decoder: Vec<DecoderStage>,
}

#[derive(Debug, Clone)]
pub(super) enum Layer {
    Unit(Unit),
    Residual(Box<Residual>),
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unit(unit) => unit.forward(x),
            Self::Residual(block) => block.forward(x),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct DecoderStage {
    pub(super) up_weight: Tensor,
    pub(super) up_bias: Option<Tensor>,
    pub(super) units: Vec<Unit>,
    pub(super) head_weight: Tensor,
    pub(super) head_bias: Tensor,
}

impl Network {
    pub(super) fn new(spec: &NetworkSpec, in_channels: usize, source: &dyn Source) -> Result<Self> {
        let builder = Builder { spec, source };
        let residual = spec.kind == NetworkKind::ResidualEncoderUNet;
        let stem = residual.then(|| builder.unit("encoder.stem.convs.0", 0, [1; 3])).transpose()?;
        let mut channels = if residual { spec.features[0] } else { in_channels };
        let mut stages = Vec::new();
        for stage in 0..spec.num_stages() {
            let mut layers = Vec::new();
            for i in 0..spec.encoder_convs[stage] {
                layers.push(match spec.kind {
                    NetworkKind::PlainConvUNet | NetworkKind::Composed => {
                        let name = format!("encoder.stages.{stage}.0.convs.{i}");
                        Layer::Unit(builder.unit(&name, stage, builder.stride(stage, i))?)
                    }
                    NetworkKind::ResidualEncoderUNet => {
                        Layer::Residual(Box::new(builder.block(stage, i, channels)?))
                    }
                });
                channels = spec.features[stage];
            }
            stages.push(layers);
        }
        let decoder = (0..spec.num_stages() - 1).map(|d| builder.decoder_stage(d)).collect::<Result<_>>()?;
        Ok(Self { stem, stages, decoder })
    }

    /// Weight and bias of the head of the lowest resolution, if there are others.
    pub(super) fn lowest_head(&self) -> Option<(&Tensor, &Tensor)> {
        match &self.decoder[..] {
            [lowest, _, ..] => Some((&lowest.head_weight, &lowest.head_bias)),
            _ => None,
        }
    }

    /// Logits, lowest resolution first; only those of the full resolution unless `deep`.
    pub(super) fn forward(&self, x: Tensor, deep: bool) -> Result<Vec<Tensor>> {
        let mut x = match &self.stem {
            Some(stem) => stem.forward(&x)?,
            None => x,
        };
        let mut skips = Vec::new();
        for stage in &self.stages {
            for layer in stage {
                x = layer.forward(&x)?;
            }
            skips.push(x.clone());
        }
        skips.pop();
        let mut outputs = Vec::new();
        for (d, stage) in self.decoder.iter().enumerate() {
            let Some(skip) = skips.pop() else { break };
            x = up_concat(&x, &skip, &spatial(&stage.up_weight)?, stage.up_bias.as_ref())?;
            drop(skip);
            for unit in &stage.units {
                x = unit.forward(&x)?;
            }
            if deep || d + 1 == self.decoder.len() {
                let head = spatial(&stage.head_weight)?;
                outputs.push(conv(&x, &head, Some(&stage.head_bias), &ConvGeometry::same([1; 3], [1; 3]))?);
            }
        }
        Ok(outputs)
    }
}

/// Makes layers of named tensors.
struct Builder<'a> {
    spec: &'a NetworkSpec,
    source: &'a dyn Source,
}

impl Builder<'_> {
    /// Only the first layer of a stage has its stride.
    fn stride(&self, stage: usize, layer: usize) -> [usize; 3] {
        if layer == 0 { self.spec.strides[stage] } else { [1; 3] }
    }

    fn unit(&self, name: &str, stage: usize, stride: [usize; 3]) -> Result<Unit> {
        let geometry = ConvGeometry::same(self.spec.kernel_sizes[stage], stride);
        Unit::new(self.source, name, geometry, self.spec.norm, self.spec.negative_slope)
    }

    fn block(&self, stage: usize, block: usize, channels: usize) -> Result<Residual> {
        let (spec, stride) = (self.spec, self.stride(stage, block));
        let name = format!("encoder.stages.{stage}.blocks.{block}");
        let linear = |name: &str, kernel| {
            Unit::new(self.source, name, ConvGeometry::same(kernel, [1; 3]), spec.norm, None)
        };
        let (pools, projects) = skip_path(spec, stage, block, channels);
        let skip = format!("{name}.skip.{}", usize::from(pools));
        Ok(Residual {
            first: self.unit(&format!("{name}.conv1"), stage, stride)?,
            second: linear(&format!("{name}.conv2"), spec.kernel_sizes[stage])?,
            pool: pools.then_some(stride),
            projection: projects.then(|| linear(&skip, [1; 3])).transpose()?,
            slope: spec.negative_slope,
        })
    }

    fn decoder_stage(&self, d: usize) -> Result<DecoderStage> {
        let stage = self.spec.num_stages() - 2 - d;
        let units = (0..self.spec.decoder_convs[d])
            .map(|i| self.unit(&format!("decoder.stages.{d}.convs.{i}"), stage, [1; 3]))
            .collect::<Result<_>>()?;
        Ok(DecoderStage {
            up_weight: self.source.find(&format!("decoder.transpconvs.{d}.weight"))?,
            up_bias: self.source.find_optional(&format!("decoder.transpconvs.{d}.bias")),
            units,
            head_weight: self.source.find(&format!("decoder.seg_layers.{d}.weight"))?,
            head_bias: self.source.find(&format!("decoder.seg_layers.{d}.bias"))?,
        })
    }
}
