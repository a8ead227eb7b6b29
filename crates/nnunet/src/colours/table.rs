//! What each label of a data set is called, how it is coloured and coded.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use nnunet_fingerprint::{DatasetJson, LabelRules, LabelValue, json};
use serde::{Deserialize, Serialize};

use super::label_colour;
use crate::Error;

/// A term of a coding scheme, such as 10200004 of `SCT` (SNOMED CT): Liver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The code.
    pub value: String,
    /// The scheme it belongs to; SNOMED CT is `SCT`.
    pub scheme: String,
    /// What it says, in words.
    pub meaning: String,
}

/// What a mapping file says about one label: a JSON object from label names to `category`, `type` and `colour`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelCodes {
    /// What kind of thing it is, such as Anatomical Structure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
    /// Colour as RGB instead of [`label_colour`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<[u8; 3]>,
}

impl LabelCodes {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// A file that cannot be read or has another form; the error names file, line and column.
    pub fn read(path: &Path) -> Result<IndexMap<String, Self>, Error> {
        Ok(json::read(path)?)
    }
}

/// One label that segmentations of a data set hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEntry {
    /// The number in the files.
    pub value: i16,
    /// The name in `dataset.json`. Where a data set has regions and none of its names stands for the label alone: the name of the
    /// smallest region that contains it, and the number.
    pub name: String,
    /// Colour as RGB.
    pub colour: [u8; 3],
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
}

/// A region: several labels under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEntry {
    /// The name in `dataset.json`.
    pub name: String,
    /// Its labels.
    pub labels: Vec<i16>,
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
}

/// Names, colours and codes of a data set's labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelTable {
    /// The labels but 0 and the one to ignore, ascending.
    pub labels: Vec<LabelEntry>,
    /// The regions, in the order of `dataset.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionEntry>,
}

impl LabelTable {
    /// The table of a data set, with the codes of a mapping file if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, labels against nnU-Net's rules, or a name in the mapping that the data set lacks.
    pub fn read(dataset_json: &Path, codes: Option<&Path>) -> Result<Self, Error> {
        let rules = DatasetJson::read(dataset_json)?.label_rules()?;
        let read = codes.map(LabelCodes::read).transpose()?.unwrap_or_default();
        let table = Self::new(&rules, &read);
        if let (Some(name), Some(codes)) = (table.unknown(&read), codes) {
            let known: Vec<String> = table.names().map(|name| format!("{name:?}")).collect();
            return Err(Error::Invalid(format!(
                "{}: {name:?} is no label of {}, expected {}",
                codes.display(),
                dataset_json.display(),
                known.join(", ")
            )));
        }
        Ok(table)
    }

    /// The table of these labels; codes of other names are left aside.
    pub fn new(rules: &LabelRules, codes: &IndexMap<String, LabelCodes>) -> Self {
        let of = |name: &str| codes.get(name).cloned().unwrap_or_default();
        let written: BTreeSet<i16> = rules.foreground_labels().iter().copied().collect();
        let labels = written.into_iter().filter_map(|value| {
            let name = label_name(rules, value);
            let LabelCodes { category, kind, colour } = of(&name);
            Some(LabelEntry { value, colour: colour.or(label_colour(value))?, name, category, kind })
        });
        let regions = rules.names().iter().filter(|(_, value)| value.labels().len() > 1);
        let region = |(name, value): (&String, &LabelValue)| {
            let LabelCodes { category, kind, .. } = of(name);
            let labels = value.labels().iter().filter_map(|&label| i16::try_from(label).ok()).collect();
            RegionEntry { name: name.clone(), labels, category, kind }
        };
        Self { labels: labels.collect(), regions: regions.map(region).collect() }
    }

    /// Colour of a label: that of the table, or else its default.
    pub fn colour(&self, label: i16) -> Option<[u8; 3]> {
        let entry = self.labels.iter().find(|entry| entry.value == label);
        entry.map_or_else(|| label_colour(label), |entry| Some(entry.colour))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter().map(|entry| entry.name.as_str());
        labels.chain(self.regions.iter().map(|region| region.name.as_str()))
    }

    /// The first coded name that is none of the table's; mappings may say something about the background.
    fn unknown<'a>(&self, codes: &'a IndexMap<String, LabelCodes>) -> Option<&'a String> {
        codes.keys().find(|coded| *coded != "background" && self.names().all(|name| name != *coded))
    }
}

fn label_name(rules: &LabelRules, label: i16) -> String {
    let holding = rules.names().iter().filter(|(_, value)| value.labels().contains(&label.into()));
    match holding.min_by_key(|(_, value)| value.labels().len()) {
        Some((name, value)) if value.labels().len() == 1 => name.clone(),
        Some((name, _)) => format!("{name} (label {label})"),
        None => format!("label {label}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(labels: &str, order: Option<&[i64]>) -> LabelRules {
        LabelRules::new(&serde_json::from_str(labels).unwrap(), order).unwrap()
    }

    #[test]
    fn codes_and_colours_of_a_mapping_are_taken() {
        let rules = rules(r#"{"background": 0, "liver": 1, "tumour": 2, "ignore": 3}"#, None);
        let codes: IndexMap<String, LabelCodes> = serde_json::from_str(
            r#"{"liver": {"category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
                          "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}, "colour": [221, 130, 101]}}"#,
        )
        .unwrap();
        let table = LabelTable::new(&rules, &codes);
        let names: Vec<&str> = table.names().collect();
        assert_eq!(names, ["liver", "tumour"]);
        assert_eq!(table.labels[0].kind.as_ref().unwrap().meaning, "Liver");
        assert_eq!((table.colour(1), table.colour(2)), (Some([221, 130, 101]), label_colour(2)));
        assert_eq!((table.colour(9), table.colour(0)), (label_colour(9), None));
        let text = serde_json::to_string(&table).unwrap();
        assert!(text.contains(r#""type":{"value":"10200004""#), "{text}");
        assert_eq!(serde_json::from_str::<LabelTable>(&text).unwrap(), table);
    }

    #[test]
    fn labels_of_regions_are_named_after_the_smallest() {
        let rules =
            rules(r#"{"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}"#, Some(&[1, 2, 3]));
        let table = LabelTable::new(&rules, &IndexMap::new());
        let names: Vec<&str> = table.names().collect();
        assert_eq!(names, ["whole (label 1)", "core (label 2)", "active", "whole", "core"]);
        assert_eq!(table.regions[1].labels, [2, 3]);
    }
}
