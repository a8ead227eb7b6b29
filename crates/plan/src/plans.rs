//! `plans.json`.

use std::path::Path;

use indexmap::IndexMap;
use nnunet_fingerprint::{IntensityProperties, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Configuration, PlanError, network};

/// A configuration as the file has it, before inheritance and upgrades; keys keep their order.
pub type RawConfiguration = Map<String, Value>;

/// What a planner decided for a data set. Serialises to `plans.json` in the reference's key order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plans {
    /// `DatasetNNN_Name`.
    pub dataset_name: String,
    /// Name of the plans; also of their file.
    pub plans_name: String,
    /// Median spacing of the cases in millimetres, transposed.
    pub original_median_spacing_after_transp: [f64; 3],
    /// Median shape of the cropped cases in voxels, transposed.
    pub original_median_shape_after_transp: [usize; 3],
    /// Name of the reader and writer of images.
    pub image_reader_writer: String,
    /// Axis of the array as read (z, y, x) that becomes each axis of the transposed array.
    pub transpose_forward: [usize; 3],
    /// The inverse permutation.
    pub transpose_backward: [usize; 3],
    /// The configurations by name; see [`Plans::configuration`].
    pub configurations: IndexMap<String, RawConfiguration>,
    /// Class name of the planner.
    #[serde(default)]
    pub experiment_planner_used: String,
    /// Class name of the label rules.
    #[serde(default = "label_manager")]
    pub label_manager: String,
    /// Channel number as text → statistics of its foreground intensities.
    #[serde(alias = "foreground_intensity_properties_by_modality")]
    pub foreground_intensity_properties_per_channel: IndexMap<String, IntensityProperties>,
    /// All other keys, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn label_manager() -> String {
    "LabelManager".to_owned()
}

impl Plans {
    /// Reads plans, of old versions too.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, lacks a key, or transposes by something that is not a permutation.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let plans: Self = json::read(path)?;
        let order = |p: [usize; 3]| (0..3).all(|axis| p.contains(&axis));
        let (forward, backward) = (plans.transpose_forward, plans.transpose_backward);
        if !order(forward) || !order(backward) || (0..3).any(|axis| forward[backward[axis]] != axis) {
            let reason = format!("{forward:?} and {backward:?}, expected a permutation of 0, 1, 2 and its inverse");
            return Err(PlanError::invalid(&plans.plans_name, "transpose_forward, transpose_backward", reason));
        }
        Ok(plans)
    }

    /// Writes plans in the reference's form, in one piece.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), PlanError> {
        Ok(json::write(path, self)?)
    }

    /// A configuration with everything that it inherits; keys of the child replace those of the parent as a whole.
    ///
    /// # Errors
    /// There is none of this name, a circle of inheritance, or a value that is missing or not of the expected form.
    pub fn configuration(&self, name: &str) -> Result<Configuration, PlanError> {
        let mut raw = self.inherited(name)?;
        network::upgrade_legacy(name, &mut raw)?;
        let configuration: Configuration = serde_json::from_value(Value::Object(raw))
            .map_err(|error| PlanError::invalid(name, "(any)", error.to_string()))?;
        configuration.check(name)?;
        Ok(configuration)
    }

    /// Adds the configurations of `earlier` that these plans do not have, as nnU-Net does when it plans again.
    pub fn keep_other_configurations(&mut self, earlier: &Self) {
        for (name, configuration) in &earlier.configurations {
            if !self.configurations.contains_key(name) {
                self.configurations.insert(name.clone(), configuration.clone());
            }
        }
    }

    fn inherited(&self, name: &str) -> Result<RawConfiguration, PlanError> {
        let mut chain = vec![name];
        while let Some(parent) = self.raw(chain[chain.len() - 1])?.get("inherits_from").and_then(Value::as_str) {
            if chain.contains(&parent) {
                return Err(PlanError::Cycle(name.to_owned()));
            }
            chain.push(parent);
        }
        let mut merged = RawConfiguration::new();
        for ancestor in chain.into_iter().rev() {
            merged.extend(self.raw(ancestor)?.clone());
        }
        Ok(merged)
    }

    fn raw(&self, name: &str) -> Result<&RawConfiguration, PlanError> {
        self.configurations.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.configurations.keys().map(String::as_str).collect();
            PlanError::NoConfiguration {
                name: name.to_owned(),
                plans: self.plans_name.clone(),
                available: names.join(", "),
            }
        })
    }
}
