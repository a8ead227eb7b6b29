//! What lies behind the encoder.

use candle_core::{Result, Tensor};
use nnunet_plan::{Blocks, DecoderKind, NetworkSpec};

use crate::NnError;
use crate::blocks::{Aspp, AttentionGate, BlockShape, Builder, Pass, Role, Stage, StageShape, Up};
use crate::kernels::ConvGeometry;
use crate::model::spatial;
use crate::ops::{conv, resize_linear};

/// The decoder of a network with its heads.
#[derive(Debug, Clone)]
pub(super) enum Decoder {
    /// Stages of rising resolution.
    Rows(Vec<Row>),
    /// Rows of nodes, highest resolution first, and the heads of the first one.
    Nested { rows: Vec<Vec<(Up, Stage)>>, heads: Vec<Head> },
    /// Dilated convolutions side by side, and one head.
    Aspp { aspp: Box<Aspp>, head: Head },
}

/// A stage of the decoder.
#[derive(Debug, Clone)]
pub(super) struct Row {
    up: Up,
    gate: Option<AttentionGate>,
    stage: Stage,
    head: Head,
}

/// A 1×1 convolution to the classes.
#[derive(Debug, Clone)]
pub(super) struct Head {
    weight: Tensor,
    bias: Tensor,
}

impl Head {
    fn new(
        builder: &mut Builder<'_>,
        number: usize,
        channels: usize,
        outputs: usize,
    ) -> std::result::Result<Self, NnError> {
        let name = format!("decoder.seg_layers.{number}");
        Ok(Self {
            weight: builder.kernel(&format!("{name}.weight"), outputs, channels, [1; 3])?,
            bias: builder.weight(&format!("{name}.bias"), &[outputs], Role::Shift)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv(x, &spatial(&self.weight)?, Some(&self.bias), &ConvGeometry::same([1; 3], [1; 3]))
    }
}

impl Decoder {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        spec: &NetworkSpec,
        blocks: &Blocks,
        outputs: usize,
    ) -> std::result::Result<Self, NnError> {
        match &blocks.joined {
            DecoderKind::Aspp { rates, channels } => {
                let inputs = spec.features[spec.num_stages() - 1];
                let aspp = Aspp::new(builder, "decoder.aspp", inputs, *channels, rates)?;
                Ok(Self::Aspp { aspp: Box::new(aspp), head: Head::new(builder, 0, *channels, outputs)? })
            }
            DecoderKind::Nested => Self::nested(builder, spec, blocks, outputs),
            DecoderKind::Concat | DecoderKind::Attention => Self::rows(builder, spec, blocks, outputs),
        }
    }

    /// Weights are numbered as nnU-Net's: all stages, all transposed convolutions, (all gates,) all heads.
    fn rows(
        builder: &mut Builder<'_>,
        spec: &NetworkSpec,
        blocks: &Blocks,
        outputs: usize,
    ) -> std::result::Result<Self, NnError> {
        let last = spec.num_stages() - 1;
        // From here down: the channels that a row is fed, and those of its neighbours.
        let below = |stage: usize| {
            if stage + 1 == last { spec.features[last] } else { spec.decoder_features(stage + 1) }
        };
        let mut stages = Vec::with_capacity(last);
        for d in 0..last {
            let stage = last - 1 - d;
            let up = if keeps(blocks) { below(stage) } else { spec.features[stage] };
            let inputs = up + spec.features[stage];
            let shape = node(spec, blocks, stage, inputs, spec.decoder_features(stage));
            stages.push(Stage::new(builder, &format!("decoder.stages.{d}"), &shape)?);
        }
        let mut ups = Vec::with_capacity(last);
        for d in 0..last {
            let stage = last - 1 - d;
            let (name, channels) = (format!("decoder.transpconvs.{d}"), [below(stage), spec.features[stage]]);
            ups.push(Up::new(builder, &name, blocks.up, channels, spec.strides[stage + 1])?);
        }
        let mut gates = Vec::with_capacity(last);
        for d in 0..last {
            let stage = last - 1 - d;
            let (name, stride) = (format!("decoder.gates.{d}"), spec.strides[stage + 1]);
            let (channels, gating) = (spec.features[stage], below(stage));
            let gated = blocks.joined == DecoderKind::Attention;
            let gate = gated.then(|| AttentionGate::new(builder, &name, channels, gating, stride));
            gates.push(gate.transpose()?);
        }
        let mut rows = Vec::with_capacity(last);
        for (d, ((stage, up), gate)) in stages.into_iter().zip(ups).zip(gates).enumerate() {
            let head = Head::new(builder, d, spec.decoder_features(last - 1 - d), outputs)?;
            rows.push(Row { up, gate, stage, head });
        }
        Ok(Self::Rows(rows))
    }

    fn nested(
        builder: &mut Builder<'_>,
        spec: &NetworkSpec,
        blocks: &Blocks,
        outputs: usize,
    ) -> std::result::Result<Self, NnError> {
        let last = spec.num_stages() - 1;
        let mut rows = Vec::with_capacity(last);
        for stage in 0..last {
            let (features, below) = (spec.features[stage], spec.features[stage + 1]);
            let mut row = Vec::with_capacity(last - stage);
            for column in 1..=last - stage {
                let name = format!("decoder.nodes.{stage}.{column}");
                let stride = spec.strides[stage + 1];
                let up = Up::new(builder, &format!("{name}.up"), blocks.up, [below, features], stride)?;
                let shape = node(spec, blocks, stage, column * features + up.channels(), features);
                row.push((up, Stage::new(builder, &name, &shape)?));
            }
            rows.push(row);
        }
        let heads = (0..last).map(|number| Head::new(builder, number, spec.features[0], outputs));
        let heads = heads.collect::<std::result::Result<_, _>>()?;
        Ok(Self::Nested { rows, heads })
    }

    /// Logits, lowest resolution (or least depth) first, from the encoder's outputs; `size` is that of the full resolution.
    pub(super) fn forward(
        &self,
        features: Vec<Tensor>,
        size: [usize; 3],
        deep: bool,
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        match self {
            Self::Rows(rows) => forward_rows(rows, features, deep, pass),
            Self::Nested { rows, heads } => forward_nested(rows, heads, features, deep, pass),
            Self::Aspp { aspp, head } => {
                let Some(lowest) = features.last() else { return Ok(Vec::new()) };
                Ok(vec![resize_linear(&head.forward(&aspp.forward(lowest, pass)?)?, size)?])
            }
        }
    }
}

/// Whether the way up keeps the channels of the stage below.
fn keeps(blocks: &Blocks) -> bool {
    use nnunet_plan::UpKind::{Linear, TransposedWide};
    matches!(blocks.up, Linear | TransposedWide)
}

/// The blocks of a stage of the decoder.
fn node(spec: &NetworkSpec, blocks: &Blocks, stage: usize, inputs: usize, outputs: usize) -> StageShape {
    let convs = spec.num_stages() - 2 - stage;
    StageShape {
        block: BlockShape::new(inputs, outputs, spec.kernel_sizes[stage]),
        kind: blocks.decoder,
        count: spec.decoder_convs.get(convs).copied().unwrap_or(1),
        growth: blocks.growth_rate,
        first: false,
        drops: Vec::new(),
    }
}

fn forward_rows(rows: &[Row], mut features: Vec<Tensor>, deep: bool, pass: &mut Pass) -> Result<Vec<Tensor>> {
    let mut outputs = Vec::new();
    let Some(mut x) = features.pop() else { return Ok(outputs) };
    for (d, row) in rows.iter().enumerate() {
        let Some(mut skip) = features.pop() else { break };
        if let Some(gate) = &row.gate {
            skip = gate.forward(&skip, &x)?;
        }
        x = row.stage.forward(&Tensor::cat(&[row.up.forward(&x, pass)?, skip], 4)?, pass)?;
        if deep || d + 1 == rows.len() {
            outputs.push(row.head.forward(&x)?);
        }
    }
    Ok(outputs)
}

fn forward_nested(
    rows: &[Vec<(Up, Stage)>],
    heads: &[Head],
    features: Vec<Tensor>,
    deep: bool,
    pass: &mut Pass,
) -> Result<Vec<Tensor>> {
    // All nodes of each row so far.
    let mut nodes: Vec<Vec<Tensor>> = features.into_iter().map(|x| vec![x]).collect();
    for column in 1..=rows.len() {
        for (stage, row) in rows.iter().enumerate().take(rows.len() + 1 - column) {
            let (up, blocks) = &row[column - 1];
            let raised = up.forward(&nodes[stage + 1][column - 1], pass)?;
            let mut fed = nodes[stage].clone();
            fed.push(raised);
            nodes[stage].push(blocks.forward(&Tensor::cat(&fed, 4)?, pass)?);
        }
    }
    let mut outputs = Vec::new();
    for (number, head) in heads.iter().enumerate() {
        if deep || number + 1 == heads.len() {
            outputs.push(head.forward(&nodes[0][number + 1])?);
        }
    }
    Ok(outputs)
}
