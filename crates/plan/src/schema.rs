//! `plans.json`.

use std::path::Path;

use indexmap::IndexMap;
use nnunet_fingerprint::{IntensityProperties, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Architecture, PlanError, legacy};

/// All configurations of a data set, as `plans.json` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plans {
    /// `DatasetNNN_Name`.
    pub dataset_name: String,
    /// Name of the plans.
    pub plans_name: String,
    /// Median spacing in millimetres, axes in the order of `transpose_forward`.
    pub original_median_spacing_after_transp: Vec<f64>,
    /// Median shape after cropping, axes in the order of `transpose_forward`.
    pub original_median_shape_after_transp: Vec<u64>,
    /// Name of the reader and writer.
    pub image_reader_writer: String,
    /// Axis `i` of a preprocessed array is axis `transpose_forward[i]` of the image.
    pub transpose_forward: [usize; 3],
    /// The inverse of `transpose_forward`.
    pub transpose_backward: [usize; 3],
    /// The configurations by name, as they stand in the file; see [`Plans::configuration`].
    pub configurations: IndexMap<String, Map<String, Value>>,
    /// Class name of the planner.
    pub experiment_planner_used: String,
    /// Class name of the label rules.
    #[serde(default = "default_label_manager")]
    pub label_manager: String,
    /// Statistics of the foreground intensities per channel.
    #[serde(alias = "foreground_intensity_properties_by_modality")]
    pub foreground_intensity_properties_per_channel: IndexMap<String, IntensityProperties>,
    /// Keys of later or other versions, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn default_label_manager() -> String {
    "LabelManager".to_owned()
}

/// Parameters of a resampling function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResamplingKwargs {
    /// Whether labels are resampled.
    #[serde(default)]
    pub is_seg: bool,
    /// Order of the interpolation.
    #[serde(default = "three")]
    pub order: u8,
    /// Order along a separate axis.
    #[serde(default)]
    pub order_z: u8,
    /// Null: an axis is resampled on its own where the spacing is anisotropic; true: always; false: never. Absent means
    /// false.
    #[serde(default = "never")]
    pub force_separate_z: Option<bool>,
    /// A spacing is anisotropic if its largest entry is more than this many times its smallest.
    #[serde(default = "three_f64", skip_serializing_if = "is_three")]
    pub separate_z_anisotropy_threshold: f64,
    /// Labels: each by its own threshold, the last one counts, instead of the largest (torch resampling only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memefficient_seg_resampling: bool,
}

fn three() -> u8 {
    3
}

fn three_f64() -> f64 {
    3.0
}

fn never() -> Option<bool> {
    Some(false)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_three(value: &f64) -> bool {
    *value == 3.0
}

/// One or several names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// One configuration, inheritance resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Folder of the preprocessed cases.
    pub data_identifier: String,
    /// Class name of the preprocessor.
    pub preprocessor_name: String,
    /// Samples per batch.
    pub batch_size: usize,
    /// Patch size in voxels: (z, y, x), or (y, x) for 2-D.
    pub patch_size: Vec<usize>,
    /// Median shape of the resampled cases.
    pub median_image_size_in_voxels: Vec<f64>,
    /// Target spacing in millimetres: (z, y, x), or (y, x) for 2-D.
    pub spacing: Vec<f64>,
    /// Class name of the normalisation of each channel.
    pub normalization_schemes: Vec<String>,
    /// Per channel, whether statistics are those of the non-zero region.
    pub use_mask_for_norm: Vec<bool>,
    /// Function that resamples images.
    pub resampling_fn_data: String,
    /// Function that resamples segmentations.
    pub resampling_fn_seg: String,
    /// Its parameters.
    pub resampling_fn_data_kwargs: ResamplingKwargs,
    /// Its parameters.
    pub resampling_fn_seg_kwargs: ResamplingKwargs,
    /// Function that resamples logits.
    pub resampling_fn_probabilities: String,
    /// Its parameters.
    pub resampling_fn_probabilities_kwargs: ResamplingKwargs,
    /// The network.
    pub architecture: Architecture,
    /// Whether Dice is computed over the batch as a whole.
    pub batch_dice: bool,
    /// Configurations that continue from this one's predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stage: Option<Names>,
    /// Configuration whose predictions this one continues from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_stage: Option<String>,
}

/// How the intensities of a channel are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Subtract the mean, divide by the standard deviation of the case.
    ZScore,
    /// Clip to the data set's foreground percentiles, then its mean and standard deviation.
    Ct,
    /// Nothing.
    NoNorm,
    /// Scale the case to 0…1.
    RescaleTo01,
    /// Divide by 255.
    RgbTo01,
}

impl Normalization {
    /// The class name in plans.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::ZScore => "ZScoreNormalization",
            Self::Ct => "CTNormalization",
            Self::NoNorm => "NoNormalization",
            Self::RescaleTo01 => "RescaleTo01Normalization",
            Self::RgbTo01 => "RGBTo01Normalization",
        }
    }

    /// The scheme for a channel of this name; whatever is not known is z-scored.
    pub fn for_channel(name: &str) -> Self {
        match name.to_lowercase().as_str() {
            "ct" => Self::Ct,
            "nonorm" => Self::NoNorm,
            "rescale_to_0_1" => Self::RescaleTo01,
            "rgb_to_0_1" => Self::RgbTo01,
            _ => Self::ZScore,
        }
    }

    fn from_class_name(name: &str) -> Option<Self> {
        [Self::ZScore, Self::Ct, Self::NoNorm, Self::RescaleTo01, Self::RgbTo01]
            .into_iter()
            .find(|scheme| scheme.class_name() == name)
    }
}

impl Configuration {
    /// Whether patches have two axes.
    pub fn is_2d(&self) -> bool {
        self.patch_size.len() == 2
    }

    /// Patch size (z, y, x); one slice for 2-D.
    pub fn patch_3d(&self) -> [usize; 3] {
        match *self.patch_size.as_slice() {
            [y, x] => [1, y, x],
            [z, y, x] => [z, y, x],
            _ => [1; 3],
        }
    }

    /// The normalisation of each channel.
    ///
    /// # Errors
    /// A class name that is not known.
    pub fn normalizations(&self) -> Result<Vec<Normalization>, PlanError> {
        self.normalization_schemes
            .iter()
            .map(|name| {
                Normalization::from_class_name(name).ok_or_else(|| {
                    PlanError::key("normalization_schemes", format!("unknown scheme {name:?}"))
                })
            })
            .collect()
    }

    fn check(&self) -> Result<(), PlanError> {
        let axes = self.patch_size.len();
        if ![2, 3].contains(&axes) || self.patch_size.contains(&0) {
            let found = &self.patch_size;
            return Err(PlanError::key("patch_size", format!("{found:?}, expected 2 or 3 sizes above 0")));
        }
        let sound = |s: &f64| s.is_finite() && *s > 0.0;
        if self.spacing.len() != axes || !self.spacing.iter().all(sound) {
            let found = &self.spacing;
            return Err(PlanError::key("spacing", format!("{found:?}, expected {axes} lengths above 0 mm")));
        }
        if self.batch_size == 0 {
            return Err(PlanError::key("batch_size", "0, expected at least 1"));
        }
        Ok(())
    }
}

impl Plans {
    /// Reads a plans file.
    ///
    /// # Errors
    /// The file is missing, is not JSON, or lacks a key.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        if !path.is_file() {
            return Err(PlanError::Missing(path.to_owned()));
        }
        json::read::<Self>(path)?.checked()
    }

    /// As [`Plans::read`], from the bytes of the file.
    ///
    /// # Errors
    /// The bytes are not JSON, or lack a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        json::parse::<Self>(Path::new("plans.json"), bytes)?.checked()
    }

    fn checked(self) -> Result<Self, PlanError> {
        let mut axes = self.transpose_forward;
        axes.sort_unstable();
        if axes != [0, 1, 2]
            || (0..3).any(|i| self.transpose_backward.get(self.transpose_forward[i]) != Some(&i))
        {
            let (forward, backward) = (self.transpose_forward, self.transpose_backward);
            let reason = format!("{forward:?} and {backward:?} are not permutations inverse to each other");
            return Err(PlanError::key("transpose_forward, transpose_backward", reason));
        }
        Ok(self)
    }

    /// Writes the plans in the reference's form, in one piece.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), PlanError> {
        Ok(json::write(path, self)?)
    }

    /// A configuration with everything that it inherits.
    ///
    /// # Errors
    /// No such configuration, inheritance in a circle, or a key that is missing or wrong.
    pub fn configuration(&self, name: &str) -> Result<Configuration, PlanError> {
        let mut map = self.resolve(name, &mut Vec::new())?;
        if !map.contains_key("architecture") {
            legacy::upgrade(&mut map)?;
        }
        for kind in ["data", "seg", "probabilities"] {
            // Where this is absent, it means null to one function and false to the others.
            let torch = map.get(&format!("resampling_fn_{kind}")).and_then(Value::as_str)
                == Some("resample_torch_fornnunet");
            let kwargs = map.get_mut(&format!("resampling_fn_{kind}_kwargs")).and_then(Value::as_object_mut);
            if let Some(kwargs) = kwargs.filter(|_| torch) {
                kwargs.entry("force_separate_z").or_insert(Value::Null);
            }
        }
        let configuration: Configuration = serde_json::from_value(Value::Object(map))
            .map_err(|e| PlanError::key(format!("configurations.{name}"), e.to_string()))?;
        configuration.check()?;
        Ok(configuration)
    }

    fn resolve(&self, name: &str, seen: &mut Vec<String>) -> Result<Map<String, Value>, PlanError> {
        if seen.iter().any(|n| n == name) {
            return Err(PlanError::Cycle(name.to_owned()));
        }
        seen.push(name.to_owned());
        let own = self.configurations.get(name).ok_or_else(|| PlanError::Configuration {
            name: name.to_owned(),
            available: self.configurations.keys().cloned().collect(),
        })?;
        let Some(parent) = own.get("inherits_from").and_then(Value::as_str) else { return Ok(own.clone()) };
        let mut map = self.resolve(parent, seen)?;
        map.extend(own.clone());
        Ok(map)
    }

    /// Takes over the configurations of older plans that these plans do not have.
    pub fn keep_other_configurations(&mut self, older: &Self) {
        for (name, configuration) in &older.configurations {
            self.configurations.entry(name.clone()).or_insert_with(|| configuration.clone());
        }
    }
}
