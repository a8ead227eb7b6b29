//! The keys that describe networks of other parts than nnU-Net's own.

use serde_json::{Map, Value};

use crate::architecture::Architecture;
use crate::{
    Activation, BlockKind, Blocks, DecoderKind, DownKind, DropoutKind, NetworkKind, NetworkSpec, NormKind,
    PlanError,
};

/// Class of networks that are put together of parts.
pub(crate) const COMPOSED: &str = "ComposedUNet";

/// Numbers beyond these fit no memory.
const MAX_GROWTH: usize = 1 << 12;
const MAX_RATES: usize = 1 << 6;

/// Keys that nnU-Net's networks have too.
const SHARED_KEYS: [&str; 14] = [
    "n_stages",
    "features_per_stage",
    "conv_op",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
];

/// Keys of composed networks alone.
const OWN_KEYS: [&str; 11] = [
    "encoder_block",
    "decoder_block",
    "decoder",
    "down",
    "up",
    "dilations",
    "squeeze_excitation",
    "growth_rate",
    "stochastic_depth",
    "aspp_rates",
    "aspp_channels",
];

impl Architecture {
    /// The parts of the network, none if they are nnU-Net's own.
    pub(crate) fn blocks(&self, kind: NetworkKind, stages: usize) -> Result<Option<Blocks>, PlanError> {
        let composed = kind == NetworkKind::Composed;
        self.check_keys(composed)?;
        let standard = Blocks::standard(kind, stages, self.activation()?);
        let blocks = Blocks { norm: self.norm_kind()?, dropout: self.dropout_kind()?, ..standard.clone() };
        let leaky = matches!(blocks.activation, None | Some(Activation::LeakyRelu(_)));
        if !composed {
            return Ok((blocks != standard || !leaky).then_some(blocks));
        }
        let encoder = self.optional("encoder_block")?.unwrap_or(BlockKind::Plain);
        let decoder = self.optional("decoder_block")?.unwrap_or(BlockKind::Plain);
        let dense = encoder == BlockKind::Dense || decoder == BlockKind::Dense;
        let dilated = self.arch_kwargs.get("dilations").is_some_and(|value| !value.is_null());
        let blocks = Blocks {
            encoder,
            decoder,
            joined: self.decoder_kind()?,
            down: self.optional("down")?.unwrap_or_default(),
            up: self.optional("up")?.unwrap_or_default(),
            dilations: if dilated {
                self.per_stage("dilations", stages)?
            } else {
                standard.dilations.clone()
            },
            squeeze_excitation: self.optional("squeeze_excitation")?,
            growth_rate: if dense { self.value("growth_rate")? } else { 0 },
            stochastic_depth: self.optional("stochastic_depth")?.unwrap_or(0.0),
            ..blocks
        };
        Ok(Some(blocks))
    }

    /// Refuses keys that mean nothing to the class.
    fn check_keys(&self, composed: bool) -> Result<(), PlanError> {
        for key in self.arch_kwargs.keys() {
            let own = OWN_KEYS.contains(&key.as_str());
            if !composed && own {
                let class = &self.network_class_name;
                return Err(self.wrong(key, format!("a key of {COMPOSED}, the network is a {class:?}")));
            }
            if composed && !own && !SHARED_KEYS.contains(&key.as_str()) {
                let known = [SHARED_KEYS.as_slice(), &OWN_KEYS].concat().join(", ");
                return Err(self.wrong(key, format!("unknown to {COMPOSED}, which knows {known}")));
            }
        }
        Ok(())
    }

    fn decoder_kind(&self) -> Result<DecoderKind, PlanError> {
        match self.optional::<String>("decoder")?.as_deref() {
            None | Some("concat") => Ok(DecoderKind::Concat),
            Some("attention") => Ok(DecoderKind::Attention),
            Some("nested") => Ok(DecoderKind::Nested),
            Some("aspp") => Ok(DecoderKind::Aspp {
                rates: self.value("aspp_rates")?,
                channels: self.value("aspp_channels")?,
            }),
            Some(other) => {
                let reason = format!("{other:?}, expected concat, attention, nested or aspp");
                Err(self.wrong("decoder", reason))
            }
        }
    }

    fn norm_kind(&self) -> Result<NormKind, PlanError> {
        let Some(class) = self.optional::<String>("norm_op")? else { return Ok(NormKind::Instance) };
        let kwargs: Map<String, Value> = self.optional("norm_op_kwargs")?.unwrap_or_default();
        match class.rsplit('.').next() {
            Some("BatchNorm2d" | "BatchNorm3d") => {
                if kwargs.get("track_running_stats") == Some(&Value::Bool(false)) {
                    return Err(self.wrong("norm_op_kwargs.track_running_stats", "false is not supported"));
                }
                let momentum = self.number(&kwargs, "norm_op_kwargs.momentum", 0.1)?;
                if !(0.0..=1.0).contains(&momentum) {
                    return Err(self.wrong("norm_op_kwargs.momentum", format!("{momentum}, expected 0 to 1")));
                }
                Ok(NormKind::Batch { momentum })
            }
            Some("GroupNorm") => match kwargs.get("num_groups").and_then(Value::as_u64) {
                Some(groups @ 1..) => Ok(NormKind::Group { groups: groups as usize }),
                _ => Err(self.wrong("norm_op_kwargs.num_groups", "missing, expected a whole number above 0")),
            },
            Some("FilterResponseNorm") => Ok(NormKind::FilterResponse),
            // `norm` has refused all others.
            _ => Ok(NormKind::Instance),
        }
    }

    /// A number among the arguments of a class; `key` is its path.
    pub(crate) fn number(
        &self,
        kwargs: &Map<String, Value>,
        key: &str,
        default: f64,
    ) -> Result<f64, PlanError> {
        let name = key.rsplit('.').next().unwrap_or_default();
        match kwargs.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| self.wrong(key, format!("{value}, expected a number"))),
        }
    }

    fn activation(&self) -> Result<Option<Activation>, PlanError> {
        let Some(class) = self.optional::<String>("nonlin")? else { return Ok(None) };
        let kwargs: Map<String, Value> = self.optional("nonlin_kwargs")?.unwrap_or_default();
        match class.rsplit('.').next() {
            Some("GELU") => match kwargs.get("approximate").and_then(Value::as_str) {
                None | Some("none") => Ok(Some(Activation::Gelu)),
                Some(other) => {
                    Err(self.wrong("nonlin_kwargs.approximate", format!("{other:?}, expected none")))
                }
            },
            Some("SiLU" | "Swish") => Ok(Some(Activation::Silu)),
            Some("PReLU") => Ok(Some(Activation::Prelu)),
            Some("TLU") => Ok(Some(Activation::Tlu)),
            _ => Ok(self.nonlinearity()?.map(Activation::LeakyRelu)),
        }
    }

    fn dropout_kind(&self) -> Result<DropoutKind, PlanError> {
        let class = self.optional::<String>("dropout_op")?;
        let value = class.as_deref().and_then(|class| class.rsplit('.').next()) == Some("Dropout");
        Ok(if value { DropoutKind::Value } else { DropoutKind::Channel })
    }

    /// Refuses parts that do not go together.
    pub(crate) fn check_blocks(&self, spec: &NetworkSpec, blocks: &Blocks) -> Result<(), PlanError> {
        if let (NormKind::Group { groups }, true) = (blocks.norm, spec.norm.is_some())
            && let Some(features) = spec.features.iter().find(|features| !features.is_multiple_of(groups))
        {
            let reason = format!("{groups} groups do not divide {features} features");
            return Err(self.wrong("norm_op_kwargs.num_groups", reason));
        }
        for (stage, (&dilation, stride)) in blocks.dilations.iter().zip(&spec.strides).enumerate() {
            if dilation == 0 {
                return Err(self.wrong("dilations", format!("0 at stage {stage}, expected at least 1")));
            }
            if dilation > 1 && *stride != [1; 3] && blocks.down == DownKind::Stride {
                let reason = format!(
                    "{dilation} at stage {stage}, which has the stride {stride:?}; expected stride 1"
                );
                return Err(self.wrong("dilations", reason));
            }
        }
        if blocks.down == DownKind::Stride && !blocks.encoder.takes_stride() {
            let reason = format!("stride, but {:?} blocks need max_pool or conv", blocks.encoder);
            return Err(self.wrong("down", reason));
        }
        if blocks.down != DownKind::Stride && spec.strides[0] != [1; 3] {
            let reason = format!("{:?} at stage 0, expected 1", spec.strides[0]);
            return Err(self.wrong("strides", reason));
        }
        self.check_numbers(blocks)
    }

    fn check_numbers(&self, blocks: &Blocks) -> Result<(), PlanError> {
        let p = blocks.stochastic_depth;
        if !(0.0..1.0).contains(&p) {
            return Err(self.wrong("stochastic_depth", format!("{p}, expected a probability below 1")));
        }
        if p > 0.0 && !blocks.encoder.is_residual() {
            let reason = format!("needs residual blocks in the encoder, there are {:?} ones", blocks.encoder);
            return Err(self.wrong("stochastic_depth", reason));
        }
        if blocks.squeeze_excitation == Some(0) {
            return Err(self.wrong("squeeze_excitation", "0, expected at least 1"));
        }
        let dense = blocks.encoder == BlockKind::Dense || blocks.decoder == BlockKind::Dense;
        if dense && !(1..=MAX_GROWTH).contains(&blocks.growth_rate) {
            let reason = format!("{}, expected 1 to {MAX_GROWTH}", blocks.growth_rate);
            return Err(self.wrong("growth_rate", reason));
        }
        match &blocks.joined {
            DecoderKind::Nested if blocks.decoder == BlockKind::Vnet => {
                Err(self.wrong("decoder_block", "vnet blocks have no place in a nested decoder"))
            }
            DecoderKind::Aspp { rates, channels } => {
                let sound = (1..=MAX_RATES).contains(&rates.len()) && !rates.contains(&0);
                if sound && (1..=MAX_GROWTH).contains(channels) {
                    return Ok(());
                }
                let reason = format!(
                    "{} rates and {channels} channels, expected 1 to {MAX_RATES} rates above 0 and 1 to {MAX_GROWTH} channels",
                    rates.len()
                );
                Err(self.wrong("aspp_rates, aspp_channels", reason))
            }
            _ => Ok(()),
        }
    }
}
