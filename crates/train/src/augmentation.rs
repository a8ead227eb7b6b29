use nnunet_augment::{LeftRight, PipelineConfig};
use serde::Serialize;

/// What happens to training patches.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AugmentOptions {
    /// The transforms and their numbers.
    pub set: AugmentSet,
    /// Along which axes patches are mirrored, in training and at test time.
    pub mirroring: Mirroring,
    /// Labels that come in pairs of left and right, which are exchanged when a patch is mirrored; none by default.
    pub left_right: Option<LeftRight>,
    /// Labels of rotated and scaled patches are those of the nearest voxel, false.
    pub nearest_labels: bool,
    /// Intensities of rotated and scaled patches are those of the nearest voxel, false.
    pub nearest_image: bool,
    /// Strongly anisotropic patches are rotated about all axes like others instead of slice by slice, false.
    pub no_dummy_2d: bool,
    /// Probability of an elastic deformation, 0.
    pub p_elastic: f64,
}

/// A set of transforms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AugmentSet {
    /// nnU-Net's default.
    #[default]
    Default,
    /// None: patches are cut out and shown as they are. Nothing is mirrored at test time either.
    None,
    /// The stronger set of nnU-Net's DA5 trainers.
    Da5,
}

/// Axes along which patches are mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mirroring {
    /// All axes of the patch.
    #[default]
    All,
    /// All but the last: z and y in three dimensions, y in two.
    AllButLast,
    /// None.
    None,
}

impl AugmentOptions {
    /// Whether training patches are transformed at all.
    pub(crate) fn is_on(&self) -> bool {
        self.set != AugmentSet::None
    }

    /// The settings of the pipeline for a patch of two or three axes.
    pub(crate) fn pipeline(&self, patch: &[usize], use_mask_for_norm: &[bool]) -> PipelineConfig {
        let mut config = match self.set {
            AugmentSet::Da5 => PipelineConfig::da5(patch, use_mask_for_norm),
            AugmentSet::Default | AugmentSet::None => PipelineConfig::nnunet(patch, use_mask_for_norm),
        };
        if self.no_dummy_2d {
            config = config.without_dummy_2d();
        }
        match self.mirroring {
            Mirroring::All if self.is_on() => {}
            Mirroring::AllButLast if self.is_on() => config.mirror_axes.retain(|&axis| axis != 2),
            _ => config.mirror_axes.clear(),
        }
        config.left_right = self.left_right.clone();
        config.nearest_labels = self.nearest_labels;
        config.nearest_image = self.nearest_image;
        config.elastic.probability = self.p_elastic;
        config
    }
}
