//! One configuration of the plans, with inheritance resolved.

use serde::{Deserialize, Serialize};

use crate::{Architecture, Normalization, PlanError, Resampler, ResamplingKwargs};

/// One or several names of configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// How one network is trained and applied: the data it sees, its shape, its batches.
///
/// The names of the fields are the keys of `plans.json`. Axes are those of the transposed data; a 2-D configuration has
/// two of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Name of the folder of preprocessed cases.
    pub data_identifier: String,
    /// Name of the preprocessor.
    pub preprocessor_name: String,
    /// Samples per training step.
    pub batch_size: usize,
    /// Size of the network's input in voxels.
    pub patch_size: Vec<usize>,
    /// Median size of the resampled cases in voxels; may end in .5.
    pub median_image_size_in_voxels: Vec<f64>,
    /// Spacing that cases are resampled to, in millimetres.
    pub spacing: Vec<f64>,
    /// Name of the normalisation scheme of each channel; see [`Configuration::normalizations`].
    pub normalization_schemes: Vec<String>,
    /// Whether the scheme of each channel looks only at the non-zero mask.
    pub use_mask_for_norm: Vec<bool>,
    /// Function that resamples images; see [`Resampler`].
    pub resampling_fn_data: String,
    /// Function that resamples segmentations.
    pub resampling_fn_seg: String,
    /// Its arguments for images.
    pub resampling_fn_data_kwargs: ResamplingKwargs,
    /// Its arguments for segmentations.
    pub resampling_fn_seg_kwargs: ResamplingKwargs,
    /// Function that resamples probabilities.
    pub resampling_fn_probabilities: String,
    /// Its arguments for probabilities.
    pub resampling_fn_probabilities_kwargs: ResamplingKwargs,
    /// The network.
    pub architecture: Architecture,
    /// Whether Dice is computed over the batch as a whole.
    #[serde(default)]
    pub batch_dice: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_stage: Option<OneOrMany>,
    /// Configuration whose predictions this one refines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_stage: Option<String>,
    /// Configuration whose keys this one has taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherits_from: Option<String>,
}

impl Configuration {
    /// Whether the network works on slices.
    pub fn is_2d(&self) -> bool {
        self.patch_size.len() == 2
    }

    /// Patch size along z, y, x; 1 along z for a 2-D configuration.
    pub fn patch_3d(&self) -> [usize; 3] {
        match self.patch_size[..] {
            [z, y, x] => [z, y, x],
            [y, x] => [1, y, x],
            // Excluded by `check`.
            _ => [1; 3],
        }
    }

    /// Configurations that refine the predictions of this one.
    pub fn next_stages(&self) -> &[String] {
        match &self.next_stage {
            None => &[],
            Some(OneOrMany::One(name)) => std::slice::from_ref(name),
            Some(OneOrMany::Many(names)) => names,
        }
    }

    /// Normalisation scheme of each channel.
    ///
    /// # Errors
    /// A scheme that is not known.
    pub fn normalizations(&self) -> Result<Vec<Normalization>, PlanError> {
        self.normalization_schemes.iter().map(|name| name.parse()).collect()
    }

    /// Resampling function for images.
    ///
    /// # Errors
    /// A function that is not known.
    pub fn data_resampler(&self) -> Result<Resampler, PlanError> {
        self.resampling_fn_data.parse()
    }

    /// Resampling function for segmentations.
    ///
    /// # Errors
    /// A function that is not known.
    pub fn seg_resampler(&self) -> Result<Resampler, PlanError> {
        self.resampling_fn_seg.parse()
    }

    /// Resampling function for probabilities.
    ///
    /// # Errors
    /// A function that is not known.
    pub fn probabilities_resampler(&self) -> Result<Resampler, PlanError> {
        self.resampling_fn_probabilities.parse()
    }

    /// Whether lengths fit together and sizes are positive.
    pub(crate) fn check(&self, name: &str) -> Result<(), PlanError> {
        let dims = self.patch_size.len();
        let wrong = |key: &str, reason: String| Err(PlanError::invalid(name, key, reason));
        if !(2..=3).contains(&dims) || self.patch_size.contains(&0) {
            return wrong("patch_size", format!("{:?}, expected 2 or 3 positive sizes", self.patch_size));
        }
        if self.spacing.len() != dims || !self.spacing.iter().all(|s| *s > 0.0 && s.is_finite()) {
            return wrong("spacing", format!("{:?}, expected {dims} positive numbers", self.spacing));
        }
        if self.batch_size == 0 {
            return wrong("batch_size", "0, expected at least 1".to_owned());
        }
        let (schemes, masks) = (self.normalization_schemes.len(), self.use_mask_for_norm.len());
        if schemes != masks {
            return wrong("use_mask_for_norm", format!("{masks} entries, normalization_schemes has {schemes}"));
        }
        Ok(())
    }
}
