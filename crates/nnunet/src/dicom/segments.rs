//! What is said of labels in DICOM files.

use std::path::Path;

use nnunet_fingerprint::{Class, DatasetJson, LabelRules};
use nnunet_image::{DicomCode, DicomSegment};

use crate::{Code, Error, LabelCodes, LabelMapping, label_colour};

/// Names and codes of labels, from `dataset.json` and a mapping file.
pub(crate) struct Terms {
    rules: Option<LabelRules>,
    mapping: LabelMapping,
}

impl Terms {
    /// # Errors
    /// A file that cannot be read, or a mapping that names what `dataset` lacks.
    pub(crate) fn read(dataset: Option<&DatasetJson>, codes: Option<&Path>) -> Result<Self, Error> {
        let rules = dataset.map(DatasetJson::label_rules).transpose()?;
        let mapping = codes.map(LabelMapping::read).transpose()?.unwrap_or_default();
        let nameless = || mapping.entries.iter().find(|(_, codes)| codes.label.is_none());
        if let (None, Some((name, _)), Some(path)) = (&rules, nameless(), codes) {
            let file = path.display();
            return Err(Error::Invalid(format!(
                "{file}: {name:?} has no key label; without dataset.json labels have numbers alone"
            )));
        }
        Ok(Self { rules, mapping })
    }

    /// What the mapping file says; nothing without one.
    pub(crate) fn mapping(&self) -> &LabelMapping {
        &self.mapping
    }

    /// The segment of a label.
    pub(crate) fn of(&self, label: i16) -> DicomSegment {
        let class = Class::Label(label);
        let name = self.name(&class).unwrap_or_else(|| format!("label {label}"));
        self.segment(&name, label, Some(label))
    }

    /// The segment of a label or region that is number `number` of its file.
    pub(crate) fn of_class(&self, class: &Class, number: i16) -> DicomSegment {
        match class {
            Class::Label(label) => self.of(*label),
            Class::Region(_) => {
                let name = self.name(class).unwrap_or_else(|| format!("region {number}"));
                self.segment(&name, number, None)
            }
        }
    }

    /// The labels that are known, whether they occur or not: those of `dataset.json`, and those that the mapping numbers.
    pub(crate) fn known(&self) -> Vec<i16> {
        let named = self.rules.iter().flat_map(|rules| rules.foreground_labels().iter().copied());
        named.chain(self.mapping.entries.iter().filter_map(|(_, codes)| codes.label)).collect()
    }

    fn name(&self, class: &Class) -> Option<String> {
        let labels: Vec<i64> = match class {
            Class::Label(label) => vec![i64::from(*label)],
            Class::Region(labels) => labels.iter().map(|&label| label.into()).collect(),
        };
        let names = self.rules.as_ref()?.names();
        names.iter().find(|(_, value)| value.labels() == labels.as_slice()).map(|(name, _)| name.clone())
    }

    fn segment(&self, name: &str, number: i16, label: Option<i16>) -> DicomSegment {
        let found = self.mapping.of(name, label);
        let mut segment = DicomSegment::new(number, &short(found.map_or(name, |(name, _)| name)));
        segment.colour = label_colour(number).unwrap_or(segment.colour);
        let Some((_, codes)) = found else { return segment };
        let LabelCodes {
            category,
            kind,
            modifier,
            region,
            colour,
            description,
            algorithm_type,
            algorithm,
            ..
        } = codes.clone();
        let code = |code: Code| DicomCode::new(&code.value, &code.scheme, &code.meaning);
        DicomSegment {
            description: description.unwrap_or_default(),
            category: category.map_or(segment.category, code),
            kind: kind.map_or(segment.kind, code),
            modifier: modifier.map(code),
            region: region.map(code),
            colour: colour.unwrap_or(segment.colour),
            algorithm_type: algorithm_type.unwrap_or(segment.algorithm_type),
            algorithm: algorithm.unwrap_or(segment.algorithm),
            ..segment
        }
    }
}

/// As much of a name as DICOM has room for.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
