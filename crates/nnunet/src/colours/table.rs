//! What each label of a data set is called, how it is coloured and coded.

use std::collections::BTreeSet;
use std::path::Path;

use nnunet_fingerprint::{DatasetJson, LabelRules, LabelValue};
use serde::{Deserialize, Serialize};

use super::{Code, LabelCodes, LabelMapping, label_colour};
use crate::Error;

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
    /// What it is.
    #[serde(flatten)]
    pub terms: LabelTerms,
}

/// Coded terms of a label or region, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelTerms {
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
    /// Which one of them, such as Left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Code>,
    /// Where it is, if `kind` does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Code>,
}

impl From<&LabelCodes> for LabelTerms {
    fn from(codes: &LabelCodes) -> Self {
        let LabelCodes { category, kind, modifier, region, .. } = codes.clone();
        Self { category, kind, modifier, region }
    }
}

/// A region: several labels under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEntry {
    /// The name in `dataset.json`.
    pub name: String,
    /// Its labels.
    pub labels: Vec<i16>,
    /// What it is.
    #[serde(flatten)]
    pub terms: LabelTerms,
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
    /// A file that cannot be read, labels against nnU-Net's rules, or something in the mapping that the data set lacks.
    pub fn read(dataset_json: &Path, codes: Option<&Path>) -> Result<Self, Error> {
        let rules = DatasetJson::read(dataset_json)?.label_rules()?;
        let read = codes.map(LabelMapping::read).transpose()?.unwrap_or_default();
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

    /// The table of these labels; codes of others are left aside.
    pub fn new(rules: &LabelRules, codes: &LabelMapping) -> Self {
        let of =
            |name: &str, label| codes.of(name, label).map(|(_, codes)| codes.clone()).unwrap_or_default();
        let written: BTreeSet<i16> = rules.foreground_labels().iter().copied().collect();
        let labels = written.into_iter().filter_map(|value| {
            let name = label_name(rules, value);
            let codes = of(&name, Some(value));
            let colour = codes.colour.or(label_colour(value))?;
            Some(LabelEntry { value, name, colour, terms: LabelTerms::from(&codes) })
        });
        let regions = rules.names().iter().filter(|(_, value)| value.labels().len() > 1);
        let region = |(name, value): (&String, &LabelValue)| {
            let labels = value.labels().iter().filter_map(|&label| i16::try_from(label).ok()).collect();
            RegionEntry { name: name.clone(), labels, terms: LabelTerms::from(&of(name, None)) }
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

    /// The first coded name that is none of the table's, nor its number; mappings may say something about the background.
    fn unknown<'a>(&self, codes: &'a LabelMapping) -> Option<&'a String> {
        let known = |(name, codes): &&(String, LabelCodes)| match codes.label {
            Some(label) => self.labels.iter().any(|entry| entry.value == label),
            None => *name == "background" || self.names().any(|own| own == name),
        };
        codes.entries.iter().find(|entry| !known(entry)).map(|(name, _)| name)
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
        let codes: indexmap::IndexMap<String, LabelCodes> = serde_json::from_str(
            r#"{"liver": {"category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
                          "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}, "colour": [221, 130, 101]}}"#,
        )
        .unwrap();
        let mapping = LabelMapping { entries: codes.into_iter().collect() };
        let table = LabelTable::new(&rules, &mapping);
        let names: Vec<&str> = table.names().collect();
        assert_eq!(names, ["liver", "tumour"]);
        assert_eq!(table.labels[0].terms.kind.as_ref().unwrap().meaning, "Liver");
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
        let table = LabelTable::new(&rules, &LabelMapping::default());
        let names: Vec<&str> = table.names().collect();
        assert_eq!(names, ["whole (label 1)", "core (label 2)", "active", "whole", "core"]);
        assert_eq!(table.regions[1].labels, [2, 3]);
    }
}
