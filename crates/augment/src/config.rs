use std::f64::consts::{FRAC_PI_2, PI};

use crate::strong::Strong;
use crate::{AugmentError, Cascade, LeftRight};

/// A transform that is applied to a share of the samples with a magnitude from a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance {
    /// Probability that a sample gets the transform.
    pub probability: f64,
    /// Range the magnitude is drawn from; its unit is said where the transform is configured.
    pub range: [f64; 2],
}

/// Elastic deformations: smoothed noise moves every voxel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElasticChance {
    /// Probability that a sample is deformed.
    pub probability: f64,
    /// Standard deviation of the smoothing along each axis, as a part of the patch's length.
    pub scale: [f64; 2],
    /// Largest displacement along each axis, in voxels.
    pub magnitude: [f64; 2],
}

/// Every setting of the augmentation of one configuration of the plans.
///
/// The fields are public, so single settings can be changed: `PipelineConfig { p_scaling: 0.0, ..config }`.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfig {
    /// Shape `[z, y, x]` of the patch that the network sees, in voxels; 2-D has a leading 1.
    pub patch_size: [usize; 3],
    /// 2 or 3: the dimensions of the network. 2-D leaves the z axis alone everywhere.
    pub dims: usize,
    /// Rotate and scale in the plane of axes y and x only, every slice the same way (strongly anisotropic patches).
    pub dummy_2d: bool,
    /// Probability that a sample is rotated.
    pub p_rotation: f64,
    /// Angles about each axis, in radians.
    pub rotation_range: [f64; 2],
    /// Probability that an axis of a rotated sample keeps its angle; others are not turned about.
    pub p_rotation_per_axis: f64,
    /// Probability that a sample is scaled.
    pub p_scaling: f64,
    /// Scale factors; above 1 objects shrink.
    pub scaling_range: [f64; 2],
    /// Whether one factor scales all axes; otherwise each has its own.
    pub uniform_scaling: bool,
    /// Elastic deformation.
    pub elastic: ElasticChance,
    /// Whether resampled intensities are those of the nearest voxel instead of linear between voxels.
    pub nearest_image: bool,
    /// Whether resampled labels are those of the nearest voxel.
    pub nearest_labels: bool,
    /// The enlarged patch is divided by this, so that moderate zooming out still finds image.
    pub enlargement_divisor: f64,
    /// Additive Gaussian noise; the range is the standard deviation, in intensity units.
    pub noise: Chance,
    /// Gaussian blur; the range is sigma in voxels, drawn per channel and axis.
    pub blur: Chance,
    /// Probability that a channel of a blurred sample is blurred.
    pub blur_per_channel: f64,
    /// Multiplicative brightness per channel; below and above 1 are equally probable.
    pub brightness: Chance,
    /// Contrast per channel within the channel's range; below and above 1 are equally probable.
    pub contrast: Chance,
    /// Simulated low resolution; the range is the factor on the number of voxels per axis.
    pub low_resolution: Chance,
    /// Probability that a channel of a sample with simulated low resolution gets it.
    pub low_resolution_per_channel: f64,
    /// Gamma of the negated image, statistics kept; the range is the exponent, below and above 1 equally probable.
    pub gamma_inverted: Chance,
    /// Gamma, statistics kept; as [`gamma_inverted`](Self::gamma_inverted).
    pub gamma: Chance,
    /// Array axes (z = 0, y = 1, x = 2) that are each mirrored with probability one half.
    pub mirror_axes: Vec<usize>,
    /// Labels that are exchanged where the sample is mirrored from left to right.
    pub left_right: Option<LeftRight>,
    /// Transforms beyond the default ones.
    pub strong: Option<Strong>,
    /// What happens to the segmentation of a previous stage, in a second label channel.
    pub cascade: Option<Cascade>,
    /// For each image channel, whether it is set to 0 where the label is −1 (`use_mask_for_norm` of the plans).
    pub mask_channels: Vec<bool>,
}

/// A patch whose first axis is this many times shorter than its longest is augmented slice by slice.
const ANISOTROPY_THRESHOLD: usize = 3;

impl PipelineConfig {
    /// The settings of nnU-Net v2.8.1 for a patch of 2 (`[y, x]`) or 3 (`[z, y, x]`) axes.
    ///
    /// Whether augmentation happens in the plane and how far it rotates follows from the patch: in three
    /// dimensions ±30° about each axis, in the plane ±180°, for elongated 2-D patches ±15°. A patch of another
    /// number of axes is reported by the pipeline when it is applied.
    ///
    /// ```
    /// let config = nnunet_augment::PipelineConfig::nnunet(&[20, 320, 256], &[false]);
    /// assert!(config.dummy_2d);
    /// assert_eq!(config.initial_patch_size(), [20, 376, 376]);
    /// ```
    pub fn nnunet(patch_size: &[usize], use_mask_for_norm: &[bool]) -> Self {
        let dims = patch_size.len();
        let mut patch = [1; 3];
        for (slot, &length) in patch.iter_mut().rev().zip(patch_size.iter().rev()) {
            *slot = length;
        }
        let longest = patch.iter().copied().max().unwrap_or(1);
        let dummy_2d = dims == 3 && longest > ANISOTROPY_THRESHOLD * patch[0];
        let shortest_in_plane = patch[1].min(patch[2]);
        let limit = match (dims, dummy_2d) {
            (2, _) if 2 * longest > 3 * shortest_in_plane => PI / 12.0,
            (2, _) | (_, true) => PI,
            _ => PI / 6.0,
        };
        let chance = |probability, range| Chance { probability, range };
        Self {
            patch_size: patch,
            dims,
            dummy_2d,
            p_rotation: 0.2,
            rotation_range: [-limit, limit],
            p_rotation_per_axis: 1.0,
            p_scaling: 0.2,
            scaling_range: [0.7, 1.4],
            uniform_scaling: true,
            elastic: ElasticChance { probability: 0.0, scale: [0.0, 0.2], magnitude: [0.0, 0.2] },
            nearest_image: false,
            nearest_labels: false,
            enlargement_divisor: 0.85,
            noise: chance(0.1, [0.0, 0.1]),
            blur: chance(0.2, [0.5, 1.0]),
            blur_per_channel: 0.5,
            brightness: chance(0.15, [0.75, 1.25]),
            contrast: chance(0.15, [0.75, 1.25]),
            low_resolution: chance(0.25, [0.5, 1.0]),
            low_resolution_per_channel: 0.5,
            gamma_inverted: chance(0.1, [0.7, 1.5]),
            gamma: chance(0.3, [0.7, 1.5]),
            mirror_axes: if dims == 2 { vec![1, 2] } else { vec![0, 1, 2] },
            left_right: None,
            strong: None,
            cascade: None,
            mask_channels: use_mask_for_norm.to_vec(),
        }
    }

    /// The settings of nnU-Net v2.8.1's DA5 trainers: stronger geometry, and the transforms of [`Strong`].
    pub fn da5(patch_size: &[usize], use_mask_for_norm: &[bool]) -> Self {
        let chance = |probability, range| Chance { probability, range };
        let default = Self::nnunet(patch_size, use_mask_for_norm);
        Self {
            p_rotation: 0.4,
            p_rotation_per_axis: 0.5,
            scaling_range: [0.7, 1.43],
            uniform_scaling: false,
            enlargement_divisor: 0.7,
            blur: chance(0.2, [0.3, 1.5]),
            brightness: chance(0.0, [1.0, 1.0]),
            contrast: chance(0.0, [1.0, 1.0]),
            low_resolution: chance(0.15, [0.25, 1.0]),
            gamma: chance(0.0, [1.0, 1.0]),
            strong: Some(Strong::default()),
            ..default
        }
    }

    /// The same settings for a strongly anisotropic patch that is rotated about all axes instead of slice by slice.
    pub fn without_dummy_2d(self) -> Self {
        if !self.dummy_2d {
            return self;
        }
        let limit = PI / 6.0;
        Self { dummy_2d: false, rotation_range: [-limit, limit], ..self }
    }

    /// Whether rotation and scaling stay in the plane of axes y and x.
    pub fn in_plane(&self) -> bool {
        self.dims == 2 || self.dummy_2d
    }

    /// Shape `[z, y, x]` of the patch to load for training, so that a rotated patch still finds image in its
    /// corners (nnU-Net v2.8.1 behaviour).
    ///
    /// The largest extent over a rotation by the largest angle about each axis alone, divided by
    /// [`enlargement_divisor`](Self::enlargement_divisor); z keeps its length where augmentation is in the plane.
    pub fn initial_patch_size(&self) -> [usize; 3] {
        let angle = self.rotation_range[0].abs().max(self.rotation_range[1].abs()).min(FRAC_PI_2);
        let (sin, cos) = angle.sin_cos();
        let [z, y, x] = self.patch_size.map(|length| length as f64);
        let mut extent = [z, y, x];
        let mut widen = |rotated: [f64; 3]| {
            for (e, r) in extent.iter_mut().zip(rotated) {
                *e = e.max(r.abs());
            }
        };
        widen([z, y * cos + x * sin, -y * sin + x * cos]);
        if !self.in_plane() {
            widen([z * cos - x * sin, y, z * sin + x * cos]);
            widen([z * cos + y * sin, -z * sin + y * cos, x]);
        }
        let mut enlarged = extent.map(|length| (length / self.enlargement_divisor) as usize);
        if self.in_plane() {
            enlarged[0] = self.patch_size[0];
        }
        enlarged
    }

    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<(), AugmentError> {
        let fail = |key, found: String, expected: &str| {
            Err(AugmentError::Config { key, found, expected: expected.into() })
        };
        if !(2..=3).contains(&self.dims) {
            return fail("dims", self.dims.to_string(), "2 or 3");
        }
        if self.patch_size.contains(&0) {
            return fail("patch_size", format!("{:?}", self.patch_size), "no axis of length zero");
        }
        if self.dims == 2 && self.patch_size[0] != 1 {
            return fail("patch_size", format!("{:?}", self.patch_size), "a leading 1 for 2-D");
        }
        if let Some(pairs) = &self.left_right
            && pairs.axis > 2
        {
            return fail("left_right", format!("axis {}", pairs.axis), "axes 0 to 2");
        }
        if let Some(label) = self.cascade.iter().flat_map(|cascade| &cascade.labels).find(|&&label| label < 1)
        {
            return fail("cascade", format!("label {label}"), "foreground labels");
        }
        if let Some(axis) = self.mirror_axes.iter().find(|&&axis| axis > 2) {
            return fail("mirror_axes", format!("axis {axis}"), "axes 0 to 2");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(patch: &[usize]) -> (bool, f64, Vec<usize>) {
        let config = PipelineConfig::nnunet(patch, &[false]);
        let initial = config.initial_patch_size();
        (config.dummy_2d, config.rotation_range[1].to_degrees().round(), initial[3 - patch.len()..].to_vec())
    }

    #[test]
    fn enlarged_patches_are_those_of_the_reference() {
        assert_eq!(summary(&[128, 128, 128]), (false, 30.0, vec![205, 205, 205]));
        assert_eq!(summary(&[96, 160, 160]), (false, 30.0, vec![191, 257, 219]));
        assert_eq!(summary(&[64, 192, 160]), (false, 30.0, vec![178, 289, 200]));
        assert_eq!(summary(&[40, 56, 40]), (false, 30.0, vec![73, 80, 64]));
        assert_eq!(summary(&[20, 320, 256]), (true, 180.0, vec![20, 376, 376]));
        assert_eq!(summary(&[16, 64, 48]), (true, 180.0, vec![16, 75, 75]));
        assert_eq!(summary(&[32, 96, 96]), (false, 30.0, vec![89, 154, 116]));
        assert_eq!(summary(&[512, 512]), (false, 180.0, vec![602, 602]));
        assert_eq!(summary(&[256, 224]), (false, 180.0, vec![301, 301]));
        assert_eq!(summary(&[320, 192]), (false, 15.0, vec![422, 225]));
    }

    #[test]
    fn a_two_dimensional_patch_keeps_its_single_slice() {
        let config = PipelineConfig::nnunet(&[56, 40], &[]);
        assert_eq!(config.patch_size, [1, 56, 40]);
        assert_eq!(config.initial_patch_size()[0], 1);
        assert_eq!(config.mirror_axes, [1, 2]);
    }

    #[test]
    fn impossible_settings_are_named() {
        let key = |config: PipelineConfig| match config.check() {
            Err(AugmentError::Config { key, .. }) => key,
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(key(PipelineConfig::nnunet(&[4], &[])), "dims");
        assert_eq!(key(PipelineConfig::nnunet(&[], &[])), "dims");
        assert_eq!(key(PipelineConfig::nnunet(&[1, 2, 3, 4], &[])), "dims");
        assert_eq!(key(PipelineConfig::nnunet(&[4, 0, 4], &[])), "patch_size");
        let mut config = PipelineConfig::nnunet(&[4, 4], &[]);
        config.mirror_axes.push(3);
        assert_eq!(key(config), "mirror_axes");
    }
}
