//! The network as plain data: as `plans.json` has it, and resolved to what a builder needs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::composed::COMPOSED;
use crate::{Blocks, DecoderKind, PlanError};

/// Largest number of stages; images that could be halved more often do not exist.
const MAX_STAGES: usize = 64;

/// Numbers beyond these fit no memory.
const MAX_FEATURES: usize = 1 << 16;
const MAX_EDGE: usize = 1 << 8;
const MAX_COUNT: usize = 1 << 8;

/// The network of a configuration: a class and its constructor arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Dotted path of the class; the last part counts.
    pub network_class_name: String,
    /// Constructor arguments.
    pub arch_kwargs: Map<String, Value>,
    /// Names of the arguments that are classes themselves.
    #[serde(rename = "_kw_requires_import", default)]
    pub kw_requires_import: Vec<String>,
}

/// The networks that nnU-Net plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkKind {
    /// Two plain convolutions per stage (Ronneberger et al. 2015, Çiçek et al. 2016, as nnU-Net configures them).
    PlainConvUNet,
    /// Residual blocks in the encoder (Isensee et al., *nnU-Net Revisited*, 2024).
    ResidualEncoderUNet,
    /// A network of other parts than nnU-Net's own ([`Blocks`]).
    Composed,
}

/// A normalisation; its kind, where it is not instance normalisation, is among the [`Blocks`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSpec {
    /// Added to the variance.
    pub eps: f64,
    /// Whether there are scale and shift per channel.
    pub affine: bool,
}

/// A U-Net, ready to be built. All sizes are (z, y, x); 2-D networks have 1 along z.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    /// Which network.
    pub kind: NetworkKind,
    /// Spatial axes of the weights, 2 or 3.
    pub dims: usize,
    /// Channels of each resolution stage, highest resolution first.
    pub features: Vec<usize>,
    /// Kernel of each stage.
    pub kernel_sizes: Vec<[usize; 3]>,
    /// Stride of the first convolution of each stage.
    pub strides: Vec<[usize; 3]>,
    /// Convolutions (plain) or blocks (residual) of each encoder stage.
    pub encoder_convs: Vec<usize>,
    /// Convolutions of each decoder stage, lowest resolution first; one fewer than stages.
    pub decoder_convs: Vec<usize>,
    /// Whether convolutions have a bias.
    pub conv_bias: bool,
    /// Normalisation after each convolution.
    pub norm: Option<NormSpec>,
    /// Probability that a channel is dropped in training.
    pub dropout: Option<f64>,
    /// Slope of the leaky ReLU for negative values; none where the activation is another one.
    pub negative_slope: Option<f64>,
    /// The network's parts; none if they are nnU-Net's own.
    pub blocks: Option<Blocks>,
}

impl Architecture {
    /// Resolves class names and arguments.
    ///
    /// # Errors
    /// A class or argument that is not supported or contradicts another; the error names it.
    pub fn resolve(&self) -> Result<NetworkSpec, PlanError> {
        let class = self.network_class_name.rsplit('.').next().unwrap_or_default();
        let (kind, encoder_key) = match class {
            "PlainConvUNet" => (NetworkKind::PlainConvUNet, "n_conv_per_stage"),
            "ResidualEncoderUNet" => (NetworkKind::ResidualEncoderUNet, "n_blocks_per_stage"),
            COMPOSED => (NetworkKind::Composed, "n_conv_per_stage"),
            other => {
                let reason = format!(
                    "{other:?} is not supported; PlainConvUNet, ResidualEncoderUNet and {COMPOSED} are"
                );
                return Err(PlanError::key("architecture.network_class_name", reason));
            }
        };
        let dims = match self.text("conv_op")?.rsplit('.').next() {
            Some("Conv2d") => 2,
            Some("Conv3d") => 3,
            other => return Err(self.wrong("conv_op", format!("{other:?}, expected Conv2d or Conv3d"))),
        };
        let stages: usize = self.value("n_stages")?;
        if !(2..=MAX_STAGES).contains(&stages) {
            return Err(
                self.wrong("n_stages", format!("{stages}, a U-Net has at least 2, and at most {MAX_STAGES}"))
            );
        }
        let blocks = self.blocks(kind, stages)?;
        let has_decoder = !blocks.as_ref().is_some_and(|b| matches!(b.joined, DecoderKind::Aspp { .. }));
        let spec = NetworkSpec {
            kind,
            dims,
            features: self.per_stage("features_per_stage", stages)?,
            kernel_sizes: self.sizes("kernel_sizes", stages, dims)?,
            strides: self.sizes("strides", stages, dims)?,
            encoder_convs: self.per_stage(encoder_key, stages)?,
            decoder_convs: match has_decoder {
                true => self.per_stage("n_conv_per_stage_decoder", stages.saturating_sub(1))?,
                false => Vec::new(),
            },
            conv_bias: self.optional("conv_bias")?.unwrap_or(false),
            norm: self.norm()?,
            dropout: self.dropout()?,
            negative_slope: if blocks.is_some() { None } else { self.nonlinearity()? },
            blocks,
        };
        self.check_sizes(&spec)?;
        if let Some(blocks) = &spec.blocks {
            self.check_blocks(&spec, blocks)?;
        }
        Ok(spec)
    }

    fn check_sizes(&self, spec: &NetworkSpec) -> Result<(), PlanError> {
        let sizes = spec.kernel_sizes.iter().chain(&spec.strides).flatten();
        let counts = spec.encoder_convs.iter().chain(&spec.decoder_convs);
        let limited = [
            ("features_per_stage", MAX_FEATURES, spec.features.iter().max()),
            ("kernel_sizes, strides", MAX_EDGE, sizes.clone().max()),
            ("n_conv_per_stage, n_conv_per_stage_decoder", MAX_COUNT, counts.clone().max()),
        ];
        if sizes.chain(counts).chain(&spec.features).any(|&n| n == 0) {
            return Err(self.wrong("features, kernels, strides or blocks", "0 is not possible"));
        }
        match limited.into_iter().find(|(_, limit, found)| found.is_some_and(|found| found > limit)) {
            Some((key, limit, Some(found))) => {
                Err(self.wrong(key, format!("{found}, expected at most {limit}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn wrong(&self, key: &str, reason: impl Into<String>) -> PlanError {
        PlanError::key(format!("architecture.arch_kwargs.{key}"), reason)
    }

    pub(crate) fn value<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, PlanError> {
        let value = self.arch_kwargs.get(key).ok_or_else(|| self.wrong(key, "missing"))?;
        serde_json::from_value(value.clone()).map_err(|e| self.wrong(key, e.to_string()))
    }

    pub(crate) fn optional<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PlanError> {
        match self.arch_kwargs.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.value(key).map(Some),
        }
    }

    fn text(&self, key: &str) -> Result<String, PlanError> {
        self.value(key)
    }

    /// One number for all stages, or one per stage.
    pub(crate) fn per_stage(&self, key: &str, stages: usize) -> Result<Vec<usize>, PlanError> {
        if let Some(Value::Number(_)) = self.arch_kwargs.get(key) {
            return Ok(vec![self.value(key)?; stages]);
        }
        let list: Vec<usize> = self.value(key)?;
        if list.len() != stages {
            return Err(self.wrong(key, format!("{} entries, expected {stages}", list.len())));
        }
        Ok(list)
    }

    fn sizes(&self, key: &str, stages: usize, dims: usize) -> Result<Vec<[usize; 3]>, PlanError> {
        let entries: Vec<Value> = match self.value(key)? {
            Value::Array(list) => list,
            one => vec![one; stages],
        };
        if entries.len() != stages {
            return Err(self.wrong(key, format!("{} entries, expected {stages}", entries.len())));
        }
        entries
            .into_iter()
            .map(|entry| {
                let list: Vec<usize> = match entry {
                    Value::Number(n) => vec![n.as_u64().unwrap_or(0) as usize; dims],
                    other => serde_json::from_value(other).map_err(|e| self.wrong(key, e.to_string()))?,
                };
                match (dims, list.as_slice()) {
                    (2, &[y, x]) => Ok([1, y, x]),
                    (3, &[z, y, x]) => Ok([z, y, x]),
                    _ => Err(self.wrong(key, format!("{list:?}, expected {dims} sizes"))),
                }
            })
            .collect()
    }

    fn norm(&self) -> Result<Option<NormSpec>, PlanError> {
        let Some(class) = self.optional::<String>("norm_op")? else { return Ok(None) };
        // Instance norms have no scale and shift where nothing is said, the others have.
        let (eps, affine) = match class.rsplit('.').next() {
            Some("InstanceNorm2d" | "InstanceNorm3d") => (1e-5, false),
            Some("BatchNorm2d" | "BatchNorm3d" | "GroupNorm") => (1e-5, true),
            Some("FilterResponseNorm") => (1e-6, true),
            _ => {
                let known = "InstanceNorm, BatchNorm, GroupNorm and FilterResponseNorm are";
                return Err(self.wrong("norm_op", format!("{class:?} is not supported; {known}")));
            }
        };
        let kwargs: Map<String, Value> = self.optional("norm_op_kwargs")?.unwrap_or_default();
        let eps = kwargs.get("eps").and_then(Value::as_f64).unwrap_or(eps);
        let affine = kwargs.get("affine").and_then(Value::as_bool).unwrap_or(affine);
        Ok(Some(NormSpec { eps, affine }))
    }

    fn dropout(&self) -> Result<Option<f64>, PlanError> {
        let Some(class) = self.optional::<String>("dropout_op")? else { return Ok(None) };
        if !matches!(class.rsplit('.').next(), Some("Dropout2d" | "Dropout3d" | "Dropout")) {
            return Err(self.wrong("dropout_op", format!("{class:?} is not supported")));
        }
        let kwargs: Map<String, Value> = self.optional("dropout_op_kwargs")?.unwrap_or_default();
        Ok(Some(kwargs.get("p").and_then(Value::as_f64).unwrap_or(0.5)))
    }

    pub(crate) fn nonlinearity(&self) -> Result<Option<f64>, PlanError> {
        let Some(class) = self.optional::<String>("nonlin")? else { return Ok(None) };
        let kwargs: Map<String, Value> = self.optional("nonlin_kwargs")?.unwrap_or_default();
        match class.rsplit('.').next() {
            Some("LeakyReLU") => {
                Ok(Some(kwargs.get("negative_slope").and_then(Value::as_f64).unwrap_or(0.01)))
            }
            Some("ReLU") => Ok(Some(0.0)),
            _ => {
                let known = "LeakyReLU, ReLU, GELU, SiLU, PReLU and TLU are";
                Err(self.wrong("nonlin", format!("{class:?} is not supported; {known}")))
            }
        }
    }
}

impl NetworkSpec {
    /// Number of resolution stages.
    pub fn num_stages(&self) -> usize {
        self.features.len()
    }

    /// Size of each deep-supervision output relative to the patch, highest resolution first: one for every stage but the
    /// bottleneck. A nested decoder has all its outputs in the full resolution, atrous spatial pyramid pooling has one.
    pub fn deep_supervision_scales(&self) -> Vec<[f64; 3]> {
        match self.blocks.as_ref().map(|blocks| &blocks.joined) {
            Some(DecoderKind::Nested) => return vec![[1.0; 3]; self.num_stages() - 1],
            Some(DecoderKind::Aspp { .. }) => return vec![[1.0; 3]],
            _ => {}
        }
        let mut scale = [1.0; 3];
        let stages = self.strides.iter().take(self.num_stages() - 1);
        stages
            .map(|stride| {
                for axis in 0..3 {
                    scale[axis] /= stride[axis] as f64;
                }
                scale
            })
            .collect()
    }

    /// Values in the feature maps of one sample, which stand for the memory that training needs; `outputs` is the number of
    /// output channels, counted once at full resolution.
    pub fn feature_map_cost(&self, patch: [usize; 3], outputs: usize) -> u64 {
        if let Some(blocks) = &self.blocks {
            return crate::cost::feature_map_cost(self, blocks, patch, outputs as u64);
        }
        let mut size = patch.map(|n| n as u64);
        let mut voxels = Vec::new();
        let mut total = 0;
        if self.kind == NetworkKind::ResidualEncoderUNet {
            total += self.features[0] as u64 * size.iter().product::<u64>();
        }
        for stage in 0..self.num_stages() {
            let before = size;
            for axis in 0..3 {
                size[axis] /= self.strides[stage][axis] as u64;
            }
            let map = self.features[stage] as u64 * size.iter().product::<u64>();
            voxels.push(size.iter().product::<u64>());
            total += match self.kind {
                NetworkKind::PlainConvUNet | NetworkKind::Composed => self.encoder_convs[stage] as u64 * map,
                NetworkKind::ResidualEncoderUNet => {
                    let widens = stage > 0 && self.features[stage] != self.features[stage - 1];
                    let skip = if widens || size != before { map } else { 0 };
                    2 * self.encoder_convs[stage] as u64 * map + skip
                }
            };
        }
        for (below, convs) in self.decoder_convs.iter().enumerate() {
            let stage = self.num_stages() - 2 - below;
            total += (*convs as u64 + 1) * self.features[stage] as u64 * voxels[stage];
        }
        total + outputs as u64 * voxels[0]
    }
}
