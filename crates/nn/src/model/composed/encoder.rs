//! The stages of falling resolution.

use candle_core::{Result, Tensor};
use nnunet_plan::{BlockKind, Blocks, DownKind, NetworkKind, NetworkSpec};

use crate::NnError;
use crate::blocks::{BlockShape, Builder, ConvUnit, Pass, Stage, StageShape};
use crate::ops::max_pool;

/// The encoder of a network.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    stem: Option<ConvUnit>,
    stages: Vec<(Down, Stage)>,
}

/// What lies before a stage.
#[derive(Debug, Clone)]
enum Down {
    Nothing,
    Pool([usize; 3]),
    Conv(ConvUnit),
}

impl Encoder {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        spec: &NetworkSpec,
        blocks: &Blocks,
        inputs: usize,
    ) -> std::result::Result<Self, NnError> {
        let (mut channels, mut stem) = (inputs, None);
        if blocks.encoder.needs_stem() {
            let (features, kernel) = (spec.features[0], spec.kernel_sizes[0]);
            stem = Some(ConvUnit::new(builder, "encoder.stem.convs.0", channels, features, kernel, [1; 3])?);
            channels = features;
        }
        let mut drops = drops(spec, blocks).into_iter();
        let mut stages = Vec::with_capacity(spec.num_stages());
        for stage in 0..spec.num_stages() {
            let (features, kernel) = (spec.features[stage], spec.kernel_sizes[stage]);
            let (mut down, mut stride) = (Down::Nothing, spec.strides[stage]);
            if blocks.down == DownKind::Conv && stage > 0 {
                let name = format!("encoder.down.{stage}");
                down =
                    Down::Conv(ConvUnit::new(builder, &name, channels, features, stride, stride)?.unpadded());
                channels = features;
                stride = [1; 3];
            } else if blocks.down == DownKind::MaxPool && stride != [1; 3] {
                down = Down::Pool(stride);
                stride = [1; 3];
            }
            // nnU-Net's plain encoder wraps each stage once more.
            let wrapped = spec.kind == NetworkKind::PlainConvUNet;
            let name = format!("encoder.stages.{stage}{}", if wrapped { ".0" } else { "" });
            let dilation = blocks.dilations.get(stage).copied().unwrap_or(1);
            let block = BlockShape { stride, dilation, ..BlockShape::new(channels, features, kernel) };
            let count = spec.encoder_convs[stage];
            let shape = StageShape {
                block,
                kind: blocks.encoder,
                count,
                growth: blocks.growth_rate,
                first: stage == 0,
                drops: drops.by_ref().take(blocks_of(blocks.encoder, count)).collect(),
            };
            stages.push((down, Stage::new(builder, &name, &shape)?));
            channels = features;
        }
        Ok(Self { stem, stages })
    }

    /// The output of each stage, highest resolution first.
    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let mut x = match &self.stem {
            Some(stem) => stem.forward(x, pass)?,
            None => x.clone(),
        };
        let mut features = Vec::with_capacity(self.stages.len());
        for (down, stage) in &self.stages {
            x = match down {
                Down::Nothing => x,
                Down::Pool(size) => max_pool(&x, *size)?,
                Down::Conv(conv) => conv.forward(&x, pass)?,
            };
            x = stage.forward(&x, pass)?;
            features.push(x.clone());
        }
        Ok(features)
    }
}

/// Blocks that `count` makes.
fn blocks_of(kind: BlockKind, count: usize) -> usize {
    if kind == BlockKind::Vnet { 1 } else { count }
}

/// The probability of each block that it is left out, rising from block to block.
fn drops(spec: &NetworkSpec, blocks: &Blocks) -> Vec<f64> {
    let total: usize = spec.encoder_convs.iter().map(|&count| blocks_of(blocks.encoder, count)).sum();
    (1..=total).map(|block| blocks.stochastic_depth * block as f64 / total as f64).collect()
}
