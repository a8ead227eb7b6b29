//! What networks can be built of besides nnU-Net's own parts, as plain data.

use serde::{Deserialize, Serialize};

use crate::{NetworkKind, NetworkSpec};

/// Which values a normalisation takes its statistics over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// The voxels of a sample and channel (Ulyanov et al., *Instance Normalization*, 2016).
    Instance,
    /// The voxels of a channel over the batch, and running means of them in evaluation (Ioffe and Szegedy, *Batch
    /// Normalization*, 2015).
    Batch {
        /// Weight of the newest batch in the running means, 0.1.
        momentum: f64,
    },
    /// The voxels of a group of channels of a sample (Wu and He, *Group Normalization*, 2018).
    Group {
        /// Number of groups, which must divide the channels.
        groups: usize,
    },
    /// The mean square of a sample and channel, without a mean (Singh and Krishnan, *Filter Response Normalization Layer*,
    /// 2020).
    FilterResponse,
}

/// What follows a normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x` above 0, `slope · x` below (Maas et al. 2013); with slope 0 the ReLU (Nair and Hinton 2010).
    LeakyRelu(f64),
    /// `x · Φ(x)` with the normal distribution's Φ (Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016).
    Gelu,
    /// `x / (1 + exp(−x))` (Elfwing et al. 2018; *Swish*, Ramachandran et al. 2017).
    Silu,
    /// A leaky ReLU with one learnt slope per channel (He et al., *Delving Deep into Rectifiers*, 2015).
    Prelu,
    /// `max(x, τ)` with one learnt threshold per channel, which belongs to filter response normalisation (Singh and Krishnan
    /// 2020).
    Tlu,
}

/// What a dropout sets to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropoutKind {
    /// Whole channels of a sample (Tompson et al., *Efficient Object Localization*, 2015).
    Channel,
    /// Single values (Srivastava et al., *Dropout*, 2014).
    Value,
}

/// The layers of a resolution stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Convolutions, each with norm and activation (Ronneberger et al., *U-Net*, 2015).
    Plain,
    /// As plain; all but the last convolution have half the features (Çiçek et al., *3D U-Net*, 2016).
    Doubling,
    /// Pairs of convolutions with a shortcut around them, activation after the sum (He et al., *Deep Residual Learning*, 2016,
    /// as nnU-Net arranges it: the shortcut pools, then projects).
    Residual,
    /// Pairs of convolutions with norm and activation in front of each and a clean shortcut (He et al., *Identity Mappings in
    /// Deep Residual Networks*, 2016).
    Preactivation,
    /// 1×1, k×k and 1×1 convolution, the inner ones with a quarter of the features, with a shortcut (He et al., *Deep Residual
    /// Learning*, 2016).
    Bottleneck,
    /// Convolutions that each see all outputs before them, then a 1×1 convolution to the stage's features (Huang et al.,
    /// *Densely Connected Convolutional Networks*, 2017).
    Dense,
    /// Convolutions with one shortcut around all of them (Milletari et al., *V-Net*, 2016).
    Vnet,
}

impl BlockKind {
    /// Whether there is a sum with a shortcut.
    pub fn is_residual(self) -> bool {
        matches!(self, Self::Residual | Self::Preactivation | Self::Bottleneck | Self::Vnet)
    }

    /// Whether the first convolution can have a stride.
    pub fn takes_stride(self) -> bool {
        !matches!(self, Self::Dense | Self::Vnet)
    }

    /// Whether a network whose encoder begins with such blocks has a convolution before them.
    pub fn needs_stem(self) -> bool {
        matches!(self, Self::Residual | Self::Bottleneck | Self::Dense)
    }
}

/// How a stage of the encoder halves the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownKind {
    /// The stage's first convolution has the stride.
    #[default]
    Stride,
    /// Max pooling before the stage (Ronneberger et al. 2015).
    MaxPool,
    /// A convolution of its own, whose kernel is the stride, to the stage's features (Milletari et al. 2016).
    Conv,
}

/// How the decoder doubles the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpKind {
    /// A transposed convolution to the features of the stage above (Ronneberger et al. 2015).
    #[default]
    Transposed,
    /// A transposed convolution that keeps the number of channels (Çiçek et al. 2016).
    TransposedWide,
    /// A transposed convolution to the features of the stage above, with norm and activation (Milletari et al. 2016).
    TransposedUnit,
    /// Linear interpolation, which keeps the channels.
    Linear,
}

/// What lies behind the encoder.
#[derive(Debug, Clone, PartialEq)]
pub enum DecoderKind {
    /// A decoder stage per encoder stage, fed with the encoder's output (Ronneberger et al. 2015).
    Concat,
    /// The same, with gates that weight the encoder's output by what the stage below sees (Oktay et al., *Attention U-Net*,
    /// 2018).
    Attention,
    /// A grid of nodes, each fed with all earlier ones of its resolution and the one below; a head on each node of the full
    /// resolution (Zhou et al., *UNet++*, 2018).
    Nested,
    /// Atrous spatial pyramid pooling: convolutions of several dilations and the mean of the image side by side, a head, and
    /// interpolation to the full resolution (Chen et al., *Rethinking Atrous Convolution*, 2017).
    Aspp {
        /// Dilation of each convolution.
        rates: Vec<usize>,
        /// Channels of each branch and of what joins them.
        channels: usize,
    },
}

/// A network's parts where they are not nnU-Net's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// Kind of the normalisation, where there is one.
    pub norm: NormKind,
    /// The activation.
    pub activation: Option<Activation>,
    /// Kind of the dropout, where there is one.
    pub dropout: DropoutKind,
    /// Blocks of the encoder.
    pub encoder: BlockKind,
    /// Blocks of the decoder.
    pub decoder: BlockKind,
    /// How they are joined.
    pub joined: DecoderKind,
    /// How the resolution falls.
    pub down: DownKind,
    /// How it rises again.
    pub up: UpKind,
    /// Dilation of each encoder stage's convolutions (Yu and Koltun, *Multi-Scale Context Aggregation by Dilated
    /// Convolutions*, 2016); stages with more than 1 have no stride.
    pub dilations: Vec<usize>,
    /// Features over those of the bottleneck of a squeeze-and-excitation in each block (Hu et al., *Squeeze-and-Excitation
    /// Networks*, 2018).
    pub squeeze_excitation: Option<usize>,
    /// Channels that each convolution of a dense block adds.
    pub growth_rate: usize,
    /// Probability that the last block of the encoder is skipped in training, rising linearly from the first one (Huang et
    /// al., *Deep Networks with Stochastic Depth*, 2016).
    pub stochastic_depth: f64,
}

impl Blocks {
    /// nnU-Net's own parts, with `stages` stages.
    pub fn standard(kind: NetworkKind, stages: usize, activation: Option<Activation>) -> Self {
        let residual = kind == NetworkKind::ResidualEncoderUNet;
        Self {
            norm: NormKind::Instance,
            activation,
            dropout: DropoutKind::Channel,
            encoder: if residual { BlockKind::Residual } else { BlockKind::Plain },
            decoder: BlockKind::Plain,
            joined: DecoderKind::Concat,
            down: DownKind::Stride,
            up: UpKind::Transposed,
            dilations: vec![1; stages],
            squeeze_excitation: None,
            growth_rate: 0,
            stochastic_depth: 0.0,
        }
    }
}

impl NetworkSpec {
    /// Whether the network is made of nnU-Net's own parts alone, so that every engine runs it.
    pub fn is_standard(&self) -> bool {
        self.blocks.is_none()
    }

    /// Its parts, nnU-Net's own included.
    pub fn parts(&self) -> Blocks {
        let activation = self.negative_slope.map(Activation::LeakyRelu);
        let standard = || Blocks::standard(self.kind, self.num_stages(), activation);
        self.blocks.clone().unwrap_or_else(standard)
    }

    /// Channels of the decoder at a stage: the stage's features, or twice as many behind V-Net's blocks, which sum up what
    /// they are fed.
    pub fn decoder_features(&self, stage: usize) -> usize {
        let wide = self.blocks.as_ref().is_some_and(|blocks| blocks.decoder == BlockKind::Vnet);
        self.features[stage] * if wide { 2 } else { 1 }
    }

    /// What kind of network this is, for messages.
    pub fn describe(&self) -> String {
        let Some(blocks) = &self.blocks else { return format!("{:?}", self.kind) };
        let joined = match &blocks.joined {
            DecoderKind::Concat => "",
            DecoderKind::Attention => ", attention gates",
            DecoderKind::Nested => ", nested skip pathways",
            DecoderKind::Aspp { .. } => ", atrous spatial pyramid pooling",
        };
        let (encoder, norm) = (blocks.encoder, blocks.norm);
        format!("{:?} with {encoder:?} blocks, {norm:?} normalisation{joined}", self.kind)
    }
}
