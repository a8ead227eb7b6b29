//! `dataset.json`.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{DatasetError, LabelRules, json};

/// What a label name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LabelValue {
    /// One label.
    Label(i64),
    /// A region: the union of several labels.
    Region(Vec<i64>),
}

impl LabelValue {
    /// The labels, one or several.
    pub fn labels(&self) -> &[i64] {
        match self {
            Self::Label(label) => std::slice::from_ref(label),
            Self::Region(labels) => labels,
        }
    }
}

/// A case that `dataset.json` lists by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetEntry {
    /// Image files in channel order; relative paths are relative to the data set's folder.
    pub images: Vec<String>,
    /// The segmentation.
    pub label: String,
}

/// The description of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetJson {
    /// Channel number as text → name; the order in the file counts, and the names decide the normalisation.
    #[serde(alias = "modality")]
    pub channel_names: IndexMap<String, String>,
    /// Label name → value or values.
    pub labels: IndexMap<String, LabelValue>,
    /// Number of training cases.
    #[serde(rename = "numTraining")]
    pub num_training: usize,
    /// Ending of image and label files, with its dot.
    pub file_ending: String,
    /// Label that is written for each region, in the order of the regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions_class_order: Option<Vec<i64>>,
    /// Name of the reader to use instead of the one that is found by trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite_image_reader_writer: Option<String>,
    /// Cases listed by hand instead of found in folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<IndexMap<String, DatasetEntry>>,
    /// All other keys, kept as they are.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl DatasetJson {
    /// Reads `dataset.json`.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, or lacks a key; the error names file and key.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        if !path.is_file() {
            return Err(DatasetError::Missing { what: "dataset.json", path: path.to_owned() });
        }
        Ok(json::read(path)?)
    }

    /// The rules that the labels follow.
    ///
    /// # Errors
    /// Declarations that contradict nnU-Net's rules; see [`LabelRules::new`].
    pub fn label_rules(&self) -> Result<LabelRules, DatasetError> {
        LabelRules::new(&self.labels, self.regions_class_order.as_deref())
    }
}
