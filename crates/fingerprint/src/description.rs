//! `dataset.json`.

use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
///
/// Reading it finds everything that is missing or of the wrong type at once. `modality`, the old name of `channel_names`, is
/// understood where that is missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetJson {
    /// Channel number as text → name; the order in the file counts, and the names decide the normalisation.
    pub channel_names: IndexMap<String, String>,
    /// Label name → value or values.
    pub labels: IndexMap<String, LabelValue>,
    /// Number of training cases.
    #[serde(rename = "numTraining")]
    pub num_training: usize,
    /// Ending of image and label files, with its dot.
    pub file_ending: String,
    /// Label that is written for each region, in the order of the regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions_class_order: Option<Vec<i64>>,
    /// Name of the reader to use instead of the one that is found by trying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite_image_reader_writer: Option<String>,
    /// Cases listed by hand instead of found in folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<IndexMap<String, DatasetEntry>>,
    /// All other keys, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for DatasetJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(Map::deserialize(deserializer)?)
            .map_err(|problems| serde::de::Error::custom(problems.join("; ")))
    }
}

/// Keys that every description has.
const REQUIRED: [&str; 4] = ["labels", "channel_names", "numTraining", "file_ending"];

/// Takes the keys out of `map`; gives all problems if there is one.
fn parse(mut map: Map<String, Value>) -> Result<DatasetJson, Vec<String>> {
    if !map.contains_key("channel_names")
        && let Some(names) = map.shift_remove("modality")
    {
        map.insert("channel_names".to_owned(), names);
    }
    let missing = REQUIRED.iter().filter(|key| !map.contains_key(**key));
    let mut problems: Vec<String> = missing.map(|key| format!("key {key} is missing")).collect();
    let labels = labels(map.shift_remove("labels"), &mut problems);
    let json = DatasetJson {
        channel_names: take(&mut map, "channel_names", &mut problems).unwrap_or_default(),
        labels,
        num_training: take(&mut map, "numTraining", &mut problems).unwrap_or_default(),
        file_ending: take(&mut map, "file_ending", &mut problems).unwrap_or_default(),
        regions_class_order: take(&mut map, "regions_class_order", &mut problems),
        overwrite_image_reader_writer: take(&mut map, "overwrite_image_reader_writer", &mut problems),
        dataset: take(&mut map, "dataset", &mut problems),
        other: map,
    };
    if problems.is_empty() { Ok(json) } else { Err(problems) }
}

/// The value of a key, if it is there and not null.
fn take<T: DeserializeOwned>(
    map: &mut Map<String, Value>,
    key: &str,
    problems: &mut Vec<String>,
) -> Option<T> {
    let value = map.shift_remove(key).filter(|value| !value.is_null())?;
    serde_json::from_value(value).map_err(|e| problems.push(format!("key {key}: {e}"))).ok()
}

/// Labels are whole numbers or lists of them; 1.0 is 1.
fn labels(value: Option<Value>, problems: &mut Vec<String>) -> IndexMap<String, LabelValue> {
    let whole = |value: &Value| {
        let float = || value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 1e15).map(|v| v as i64);
        value.as_i64().or_else(float)
    };
    let mut labels = IndexMap::new();
    match value {
        None => {}
        Some(Value::Object(map)) => {
            for (name, value) in map {
                let parsed = match &value {
                    Value::Array(list) => {
                        list.iter().map(whole).collect::<Option<_>>().map(LabelValue::Region)
                    }
                    one => whole(one).map(LabelValue::Label),
                };
                match parsed {
                    Some(parsed) => drop(labels.insert(name, parsed)),
                    None => problems.push(format!(
                        "key labels.{name}: {value}, expected a whole number or a list of them"
                    )),
                }
            }
        }
        Some(other) => problems.push(format!("key labels: {other}, expected names and their values")),
    }
    labels
}

impl DatasetJson {
    /// Reads `dataset.json`.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, or lacks keys; the error names the file and all keys.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        if !path.is_file() {
            return Err(DatasetError::Missing { what: "dataset.json", path: path.to_owned() });
        }
        Ok(json::read(path)?)
    }

    /// As [`DatasetJson::read`], from the bytes of the file.
    ///
    /// # Errors
    /// The bytes are not JSON, or lack keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DatasetError> {
        Ok(json::parse(Path::new("dataset.json"), bytes)?)
    }

    /// The rules that the labels follow.
    ///
    /// # Errors
    /// Declarations that contradict nnU-Net's rules; see [`LabelRules::new`].
    pub fn label_rules(&self) -> Result<LabelRules, DatasetError> {
        LabelRules::new(&self.labels, self.regions_class_order.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DatasetJson, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let error = read(r#"{"labels": {"background": 0, "a": "one", "b": 1.5}, "numTraining": "many"}"#)
            .unwrap_err();
        for word in
            ["channel_names is missing", "file_ending is missing", "labels.a", "labels.b", "numTraining"]
        {
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn the_old_name_of_the_channels_is_understood() {
        let rest = r#""labels": {"background": 0, "a": 1.0}, "numTraining": 3, "file_ending": ".nii.gz""#;
        let old = read(&format!(r#"{{"modality": {{"0": "CT"}}, {rest}}}"#)).unwrap();
        assert_eq!(old.channel_names["0"], "CT");
        assert_eq!(old.labels["a"], LabelValue::Label(1));
        let both = read(&format!(r#"{{"modality": {{"0": "x"}}, "channel_names": {{"0": "MR"}}, {rest}}}"#))
            .unwrap();
        assert_eq!(both.channel_names["0"], "MR");
        assert!(both.other.contains_key("modality"));
        let again: DatasetJson = serde_json::from_str(&serde_json::to_string(&both).unwrap()).unwrap();
        assert_eq!(again, both);
    }
}
