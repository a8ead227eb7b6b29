//! Published networks as architectures.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::composed::COMPOSED;
use crate::{Architecture, PlanError};

/// A published network that [`Preset::architecture`] describes with the parts of this project.
///
/// `docs/building-blocks.md` tells where each deviates from its paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Ronneberger, Fischer, Brox: *U-Net: Convolutional Networks for Biomedical Image Segmentation*, MICCAI 2015.
    UNet,
    /// Çiçek, Abdulkadir, Lienkamp, Brox, Ronneberger: *3D U-Net: Learning Dense Volumetric Segmentation from Sparse
    /// Annotation*, MICCAI 2016.
    UNet3d,
    /// Milletari, Navab, Ahmadi: *V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation*, 3DV
    /// 2016.
    VNet,
    /// Zhang, Liu, Wang: *Road Extraction by Deep Residual U-Net*, IEEE GRSL 2018.
    ResidualUNet,
    /// Oktay et al.: *Attention U-Net: Learning Where to Look for the Pancreas*, MIDL 2018.
    AttentionUNet,
    /// Jégou, Drozdzal, Vazquez, Romero, Bengio: *The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic
    /// Segmentation*, CVPRW 2017.
    DenseUNet,
    /// Zhou, Siddiquee, Tajbakhsh, Liang: *UNet++: A Nested U-Net Architecture for Medical Image Segmentation*, DLMIA 2018.
    UNetPlusPlus,
    /// Chen, Papandreou, Schroff, Adam: *Rethinking Atrous Convolution for Semantic Image Segmentation* (DeepLabv3), 2017.
    DeepLab,
}

/// The sizes of a network: what a preset leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetShape {
    /// Channels of each stage, highest resolution first.
    pub features: Vec<usize>,
    /// Kernel of each stage, 2 or 3 numbers each.
    pub kernel_sizes: Vec<Vec<usize>>,
    /// Stride of each stage, as many numbers each.
    pub strides: Vec<Vec<usize>>,
}

impl PresetShape {
    /// Stages that halve every axis, with cubic kernels.
    pub fn even(dims: usize, features: &[usize], kernel: usize) -> Self {
        let stride = |stage: usize| vec![if stage == 0 { 1 } else { 2 }; dims];
        Self {
            features: features.to_vec(),
            kernel_sizes: vec![vec![kernel; dims]; features.len()],
            strides: (0..features.len()).map(stride).collect(),
        }
    }
}

/// Names on the command line.
const NAMES: [(&str, Preset); 8] = [
    ("unet", Preset::UNet),
    ("unet-3d", Preset::UNet3d),
    ("vnet", Preset::VNet),
    ("residual-unet", Preset::ResidualUNet),
    ("attention-unet", Preset::AttentionUNet),
    ("dense-unet", Preset::DenseUNet),
    ("unet-plus-plus", Preset::UNetPlusPlus),
    ("deeplab", Preset::DeepLab),
];

impl FromStr for Preset {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|(_, preset)| *preset);
        found.ok_or_else(|| {
            let known = NAMES.map(|(name, _)| name).join(", ");
            PlanError::Option(format!("unknown architecture {text:?}; there are {known}"))
        })
    }
}

impl Preset {
    /// Every preset.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(_, preset)| preset)
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, preset)| *preset == self).map_or("", |(name, _)| name)
    }

    /// The features of the publication, highest resolution first.
    pub fn published_features(self) -> &'static [usize] {
        match self {
            Self::UNet => &[64, 128, 256, 512, 1024],
            Self::UNet3d | Self::ResidualUNet => &[64, 128, 256, 512],
            Self::VNet | Self::AttentionUNet => &[16, 32, 64, 128, 256],
            Self::DenseUNet => &[96, 144, 192, 240, 288, 336],
            Self::UNetPlusPlus => &[32, 64, 128, 256, 512],
            Self::DeepLab => &[64, 64, 256, 512, 1024, 2048],
        }
    }

    /// Features for any number of stages: the publication's as far as they go, its last ones from there on, at most `most`.
    pub fn features(self, stages: usize, most: usize) -> Vec<usize> {
        let published = self.published_features();
        let last = published.last().copied().unwrap_or(1);
        let all = published.iter().copied().chain(std::iter::repeat(last));
        all.take(stages).map(|features| features.min(most)).collect()
    }

    /// Edge of a kernel: V-Net's are 5, all others 3.
    pub fn kernel(self) -> usize {
        if self == Self::VNet { 5 } else { 3 }
    }

    /// The network with the publication's sizes, in 2 or 3 dimensions.
    pub fn published(self, dims: usize) -> Architecture {
        self.architecture(&PresetShape::even(dims, self.published_features(), self.kernel()))
    }

    /// The network with sizes of one's own. DeepLab makes the last stage dilated instead of strided.
    ///
    /// ```
    /// use nnunet_plan::{DecoderKind, Preset, PresetShape};
    ///
    /// let shape = PresetShape::even(2, &[8, 16, 32], 3);
    /// let spec = Preset::AttentionUNet.architecture(&shape).resolve().unwrap();
    /// assert_eq!((spec.dims, spec.num_stages()), (2, 3));
    /// assert_eq!(spec.blocks.unwrap().joined, DecoderKind::Attention);
    /// ```
    pub fn architecture(self, shape: &PresetShape) -> Architecture {
        let (stages, dims) = (shape.features.len(), shape.strides.first().map_or(3, Vec::len));
        let (encoder, decoder) = self.counts(stages);
        let mut kwargs = json!({
            "n_stages": stages,
            "features_per_stage": shape.features,
            "conv_op": format!("torch.nn.modules.conv.Conv{dims}d"),
            "kernel_sizes": shape.kernel_sizes,
            "strides": shape.strides,
            "n_conv_per_stage": encoder,
            "n_conv_per_stage_decoder": decoder,
            "conv_bias": true,
            "norm_op": format!("torch.nn.modules.batchnorm.BatchNorm{dims}d"),
            "norm_op_kwargs": {"eps": 1e-5, "affine": true},
            "dropout_op": null,
            "dropout_op_kwargs": null,
            "nonlin": "torch.nn.ReLU",
            "nonlin_kwargs": {"inplace": true},
        });
        self.own_keys(&mut kwargs, shape, dims);
        Architecture {
            network_class_name: format!("nnunet.{COMPOSED}"),
            arch_kwargs: match kwargs {
                Value::Object(map) => map,
                _ => Map::new(),
            },
            kw_requires_import: ["conv_op", "norm_op", "dropout_op", "nonlin"].map(str::to_owned).to_vec(),
        }
    }

    /// Convolutions or blocks of each encoder stage, and of each decoder stage, lowest resolution first.
    fn counts(self, stages: usize) -> (Vec<usize>, Vec<usize>) {
        let decoders = stages.saturating_sub(1);
        match self {
            Self::VNet => {
                let encoder: Vec<usize> = (1..=stages).map(|stage| stage.min(3)).collect();
                let decoder = encoder[..decoders].iter().rev().copied().collect();
                (encoder, decoder)
            }
            Self::ResidualUNet => (vec![1; stages], vec![1; decoders]),
            Self::DenseUNet => (vec![4; stages], vec![4; decoders]),
            Self::DeepLab => {
                let counts = [1, 1, 3, 4, 6].into_iter().chain(std::iter::repeat(3));
                (counts.take(stages).collect(), vec![1; decoders])
            }
            _ => (vec![2; stages], vec![2; decoders]),
        }
    }

    fn own_keys(self, kwargs: &mut Value, shape: &PresetShape, dims: usize) {
        let entries = match self {
            Self::UNet => json!({"down": "max_pool", "norm_op": null, "norm_op_kwargs": null}),
            Self::UNet3d => json!({"encoder_block": "doubling", "down": "max_pool", "up": "transposed_wide"}),
            Self::VNet => json!({
                "encoder_block": "vnet", "decoder_block": "vnet", "down": "conv", "up": "transposed_unit",
                "nonlin": "torch.nn.PReLU", "nonlin_kwargs": null, "norm_op": null, "norm_op_kwargs": null,
            }),
            Self::ResidualUNet => {
                json!({"encoder_block": "preactivation", "decoder_block": "preactivation", "up": "linear"})
            }
            Self::AttentionUNet => json!({"decoder": "attention", "down": "max_pool", "up": "linear"}),
            Self::DenseUNet => json!({
                "encoder_block": "dense", "decoder_block": "dense", "growth_rate": 12, "down": "max_pool",
            }),
            Self::UNetPlusPlus => json!({"decoder": "nested", "down": "max_pool"}),
            Self::DeepLab => {
                let (mut strides, mut dilations) = (shape.strides.clone(), vec![1; shape.strides.len()]);
                if let (Some(stride), Some(dilation)) = (strides.last_mut(), dilations.last_mut()) {
                    (*stride, *dilation) = (vec![1; dims], 2);
                }
                json!({
                    "encoder_block": "bottleneck", "decoder": "aspp", "aspp_rates": [6, 12, 18],
                    "aspp_channels": 256.min(shape.features.last().copied().unwrap_or(256)),
                    "strides": strides, "dilations": dilations,
                })
            }
        };
        if let (Value::Object(map), Value::Object(entries)) = (kwargs, entries) {
            map.extend(entries);
        }
    }
}
