//! Mapping files: what labels are, for all that is written about them.

use std::path::Path;

use indexmap::IndexMap;
use nnunet_fingerprint::json;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A term of a coding scheme, such as 10200004 of `SCT` (SNOMED CT): Liver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The code, of at most 16 characters.
    pub value: String,
    /// The scheme it belongs to, of at most 16 characters; SNOMED CT is `SCT`.
    pub scheme: String,
    /// What it says, in at most 64 characters.
    pub meaning: String,
}

/// What a mapping file says about one label; all of it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelCodes {
    /// The number of the label. Without it, the name is looked up in `dataset.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<i16>,
    /// What kind of thing it is, such as Anatomical Structure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
    /// Which one of them, such as Left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Code>,
    /// Where it is, if `kind` does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Code>,
    /// Colour as RGB instead of [`label_colour`](crate::label_colour).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<[u8; 3]>,
    /// A description in words, of at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `AUTOMATIC`, `SEMIAUTOMATIC` or `MANUAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm_type: Option<String>,
    /// What drew it, in at most 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// A mapping file: a JSON object from names of labels to [`LabelCodes`], or dcmqi's `segmentAttributes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelMapping {
    /// Names and what is said about them, in the order of the file.
    pub entries: Vec<(String, LabelCodes)>,
}

impl LabelMapping {
    /// Reads a mapping file of either form.
    ///
    /// # Errors
    /// A file that cannot be read or has another form, the same label twice, or a text that is too long; the error names file
    /// and key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let value: serde_json::Value = json::read(path)?;
        let entries = if value.get("segmentAttributes").is_some() {
            let Dcmqi { lists } = json::read(path)?;
            lists.into_iter().flatten().map(Segment::entry).collect()
        } else {
            json::read::<IndexMap<String, LabelCodes>>(path)?.into_iter().collect()
        };
        let mapping = Self { entries };
        mapping.check().map_err(|reason| Error::Invalid(format!("{}: {reason}", path.display())))?;
        Ok(mapping)
    }

    /// Name and codes of a label: what the file says about its number, or else about its name.
    pub fn of(&self, name: &str, label: Option<i16>) -> Option<(&str, &LabelCodes)> {
        let by_number = || self.entries.iter().find(|(_, codes)| label.is_some() && codes.label == label);
        let by_name = || self.entries.iter().find(|(own, codes)| own == name && codes.label.is_none());
        by_number().or_else(by_name).map(|(name, codes)| (name.as_str(), codes))
    }

    fn check(&self) -> Result<(), String> {
        for (number, (name, codes)) in self.entries.iter().enumerate() {
            let twice = self.entries[..number].iter().find(|(other, said)| match (said.label, codes.label) {
                (Some(a), Some(b)) => a == b,
                (None, None) => other == name,
                _ => false,
            });
            if let Some((other, _)) = twice {
                return Err(format!("{name:?} and {other:?} are the same label"));
            }
            codes.check().map_err(|reason| format!("{name:?}: {reason}"))?;
        }
        Ok(())
    }
}

impl LabelCodes {
    fn check(&self) -> Result<(), String> {
        if let Some(label) = self.label.filter(|&label| label <= 0) {
            return Err(format!("label is {label}, expected a number from 1 to 32767"));
        }
        let codes = [
            ("category", &self.category),
            ("type", &self.kind),
            ("modifier", &self.modifier),
            ("region", &self.region),
        ];
        for (key, code) in codes {
            let Some(Code { value, scheme, meaning }) = code else { continue };
            for (part, text, most) in [("value", value, 16), ("scheme", scheme, 16), ("meaning", meaning, 64)]
            {
                if !(1..=most).contains(&text.chars().count()) {
                    return Err(format!("{key}: {part} is {text:?}, expected 1 to {most} characters"));
                }
            }
        }
        let texts = [("description", &self.description, 1024), ("algorithm", &self.algorithm, 64)];
        for (key, text, most) in texts {
            if text.as_ref().is_some_and(|text| text.chars().count() > most) {
                return Err(format!("{key}: expected at most {most} characters"));
            }
        }
        let kinds = ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"];
        match &self.algorithm_type {
            Some(found) if !kinds.contains(&found.as_str()) => {
                Err(format!("algorithm_type is {found:?}, expected one of {kinds:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// dcmqi's form.
#[derive(Deserialize)]
struct Dcmqi {
    #[serde(rename = "segmentAttributes")]
    lists: Vec<Vec<Segment>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Segment {
    #[serde(rename = "labelID")]
    label: i16,
    segment_label: Option<String>,
    segment_description: Option<String>,
    segmented_property_category_code_sequence: Term,
    segmented_property_type_code_sequence: Term,
    segmented_property_type_modifier_code_sequence: Option<Term>,
    anatomic_region_sequence: Option<Term>,
    segment_algorithm_type: Option<String>,
    segment_algorithm_name: Option<String>,
    #[serde(rename = "recommendedDisplayRGBValue")]
    colour: Option<[u8; 3]>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Term {
    code_value: String,
    coding_scheme_designator: String,
    code_meaning: String,
}

impl Term {
    fn code(self) -> Code {
        Code { value: self.code_value, scheme: self.coding_scheme_designator, meaning: self.code_meaning }
    }
}

impl Segment {
    fn entry(self) -> (String, LabelCodes) {
        let codes = LabelCodes {
            label: Some(self.label),
            category: Some(self.segmented_property_category_code_sequence.code()),
            kind: Some(self.segmented_property_type_code_sequence.code()),
            modifier: self.segmented_property_type_modifier_code_sequence.map(Term::code),
            region: self.anatomic_region_sequence.map(Term::code),
            colour: self.colour,
            description: self.segment_description,
            algorithm_type: self.segment_algorithm_type,
            algorithm: self.segment_algorithm_name,
        };
        (self.segment_label.unwrap_or_else(|| format!("label {}", self.label)), codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LabelMapping, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.json");
        std::fs::write(&path, text).unwrap();
        LabelMapping::read(&path).map_err(|error| {
            let text = error.to_string();
            assert!(text.contains("codes.json"), "{text}");
            text
        })
    }

    #[test]
    fn both_forms_say_the_same() {
        let ours = read(
            r#"{"Liver": {"label": 1, "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
                "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
                "modifier": {"value": "24028007", "scheme": "SCT", "meaning": "Right"}, "colour": [221, 130, 101]}}"#,
        );
        let theirs = read(
            r#"{"ContentCreatorName": "someone", "segmentAttributes": [[{"labelID": 1, "SegmentLabel": "Liver",
                "SegmentedPropertyCategoryCodeSequence":
                    {"CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"},
                "SegmentedPropertyTypeCodeSequence":
                    {"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"},
                "SegmentedPropertyTypeModifierCodeSequence":
                    {"CodeValue": "24028007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Right"},
                "recommendedDisplayRGBValue": [221, 130, 101]}]]}"#,
        );
        assert_eq!(ours.unwrap(), theirs.unwrap());
    }

    #[test]
    fn labels_are_found_by_number_and_by_name() {
        let mapping =
            read(r#"{"a": {"label": 2, "colour": [1, 2, 3]}, "b": {"colour": [4, 5, 6]}}"#).unwrap();
        let colour = |name, label| mapping.of(name, label).and_then(|(_, codes)| codes.colour);
        assert_eq!(colour("other", Some(2)), Some([1, 2, 3]));
        assert_eq!(colour("b", Some(3)), Some([4, 5, 6]));
        assert_eq!((colour("a", Some(7)), colour("c", None)), (None, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("[1]", "map"),
            (r#"{"a": {"label": 0}}"#, "label is 0"),
            (r#"{"a": {"label": 1}, "b": {"label": 1}}"#, "same label"),
            (r#"{"a": {"type": {"value": "", "scheme": "SCT", "meaning": "x"}}}"#, "type: value"),
            (
                r#"{"a": {"type": {"value": "12345678901234567", "scheme": "SCT", "meaning": "x"}}}"#,
                "16 characters",
            ),
            (r#"{"a": {"type": {"value": "1", "scheme": "SCT"}}}"#, "meaning"),
            (r#"{"a": {"algorithm_type": "GUESSED"}}"#, "GUESSED"),
            (r#"{"segmentAttributes": [[{"labelID": 1}]]}"#, "SegmentedPropertyCategoryCodeSequence"),
            (r#"{"segmentAttributes": 3}"#, "sequence"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
