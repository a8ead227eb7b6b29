//! Labels, regions and the ignore label.

use indexmap::IndexMap;

use crate::{DatasetError, LabelValue};

/// A class that a network predicts: one label, or a region made of several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Class {
    /// One label.
    Label(i16),
    /// The union of labels, in the order of `dataset.json`.
    Region(Vec<i16>),
}

impl Class {
    /// The labels that belong to the class.
    pub fn labels(&self) -> &[i16] {
        match self {
            Self::Label(label) => std::slice::from_ref(label),
            Self::Region(labels) => labels,
        }
    }
}

impl std::fmt::Display for Class {
    /// As the reference's `summary.json` names classes: `1`, `(1, 2)`, `(3,)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(f, "{label}"),
            Self::Region(labels) if labels.len() == 1 => write!(f, "({},)", labels[0]),
            Self::Region(labels) => {
                let list: Vec<String> = labels.iter().map(i16::to_string).collect();
                write!(f, "({})", list.join(", "))
            }
        }
    }
}

/// What the `labels` of a data set mean: which classes there are, whether they are regions, what is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRules {
    all: Vec<i16>,
    classes: Vec<Class>,
    has_regions: bool,
    regions_class_order: Option<Vec<i16>>,
    ignore: Option<i16>,
    names: IndexMap<String, LabelValue>,
}

impl LabelRules {
    /// The rules that these declarations give.
    ///
    /// # Errors
    /// No `background` of 0; a value outside 16 bits; regions without a `regions_class_order` of the same length; an
    /// `ignore` label that is not an integer one above the highest label.
    pub fn new(
        labels: &IndexMap<String, LabelValue>,
        regions_class_order: Option<&[i64]>,
    ) -> Result<Self, DatasetError> {
        if let Some(problem) = Self::problems(labels, regions_class_order).into_iter().next() {
            return Err(problem);
        }
        let others = || labels.iter().filter(|(name, _)| name.as_str() != "ignore");
        let mut all = Vec::new();
        for (name, value) in others() {
            for &label in value.labels() {
                all.push(narrow(name, label)?);
            }
        }
        all.sort_unstable();
        all.dedup();
        let has_regions = labels.values().any(|value| value.labels().len() > 1);
        let classes: Vec<Class> = if has_regions {
            others()
                .filter(|(_, value)| value.labels().iter().any(|&label| label != 0))
                .map(|(_, value)| class(value))
                .collect()
        } else {
            all.iter().filter(|&&label| label != 0).map(|&label| Class::Label(label)).collect()
        };
        let order = if has_regions { Some(class_order(regions_class_order, classes.len())?) } else { None };
        let ignore = ignore_label(labels, all.last().copied().unwrap_or(0))?;
        Ok(Self { all, classes, has_regions, regions_class_order: order, ignore, names: labels.clone() })
    }

    /// Everything in which these declarations contradict the rules of [`LabelRules::new`].
    pub fn problems(
        labels: &IndexMap<String, LabelValue>,
        regions_class_order: Option<&[i64]>,
    ) -> Vec<DatasetError> {
        let mut problems = Vec::new();
        if labels.get("background") != Some(&LabelValue::Label(0)) {
            let reason = "expected an entry \"background\" with the value 0";
            problems.push(DatasetError::declaration("labels", reason));
        }
        let others = || labels.iter().filter(|(name, _)| name.as_str() != "ignore");
        let mut highest = 0;
        for (name, value) in others() {
            for &label in value.labels() {
                match narrow(name, label) {
                    Ok(label) => highest = highest.max(label),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if labels.values().any(|value| value.labels().len() > 1) {
            let regions =
                others().filter(|(_, value)| value.labels().iter().any(|&label| label != 0)).count();
            problems.extend(class_order(regions_class_order, regions).err());
        }
        problems.extend(ignore_label(labels, highest).err());
        problems
    }

    /// All labels including background, ascending, without the ignore label.
    pub fn all_labels(&self) -> &[i16] {
        &self.all
    }

    /// All labels but 0, ascending, without the ignore label.
    pub fn foreground_labels(&self) -> &[i16] {
        let background = self.all.iter().filter(|&&label| label <= 0).count();
        &self.all[background..]
    }

    /// Whether the network predicts regions instead of exclusive labels.
    pub fn has_regions(&self) -> bool {
        self.has_regions
    }

    /// The classes that are scored: foreground labels ascending, or regions in the order of `dataset.json`.
    pub fn foreground_classes(&self) -> &[Class] {
        &self.classes
    }

    /// The label to write for each region; none without regions.
    pub fn regions_class_order(&self) -> Option<&[i16]> {
        self.regions_class_order.as_deref()
    }

    /// The label of voxels that do not count.
    pub fn ignore_label(&self) -> Option<i16> {
        self.ignore
    }

    /// Channels of the network's output: one per region, or one per label including background.
    pub fn num_heads(&self) -> usize {
        if self.has_regions { self.classes.len() } else { self.all.len() }
    }

    /// The declarations: name → value.
    pub fn names(&self) -> &IndexMap<String, LabelValue> {
        &self.names
    }
}

fn narrow(name: &str, label: i64) -> Result<i16, DatasetError> {
    i16::try_from(label).ok().filter(|label| *label >= 0).ok_or_else(|| {
        DatasetError::declaration(&format!("labels.{name}"), format!("{label} is not from 0 to 32767"))
    })
}

fn class(value: &LabelValue) -> Class {
    match value {
        LabelValue::Label(label) => Class::Label(*label as i16),
        LabelValue::Region(labels) => Class::Region(labels.iter().map(|&label| label as i16).collect()),
    }
}

fn class_order(order: Option<&[i64]>, regions: usize) -> Result<Vec<i16>, DatasetError> {
    let key = "regions_class_order";
    let order = order.ok_or_else(|| {
        DatasetError::declaration(key, "missing; it is needed because labels contain regions")
    })?;
    if order.len() != regions {
        let reason = format!("{} entries, expected one for each of the {regions} regions", order.len());
        return Err(DatasetError::declaration(key, reason));
    }
    order.iter().map(|&label| narrow(key, label)).collect()
}

fn ignore_label(labels: &IndexMap<String, LabelValue>, highest: i16) -> Result<Option<i16>, DatasetError> {
    match labels.get("ignore") {
        None => Ok(None),
        Some(LabelValue::Label(value)) if *value == i64::from(highest) + 1 => Ok(Some(highest + 1)),
        Some(other) => {
            let found = other.labels();
            let reason =
                format!("{found:?}, expected the integer {} (highest label + 1)", i64::from(highest) + 1);
            Err(DatasetError::declaration("labels.ignore", reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str, order: Option<&[i64]>) -> Result<LabelRules, DatasetError> {
        LabelRules::new(&serde_json::from_str(json).unwrap(), order)
    }

    #[test]
    fn regions_with_an_ignore_label() {
        let json = r#"{"background": 0, "wt": [1, 2, 3], "tc": [2, 3], "et": 3, "ignore": 4}"#;
        let rules = rules(json, Some(&[1, 2, 3])).unwrap();
        assert_eq!(rules.all_labels(), [0, 1, 2, 3]);
        assert_eq!(rules.num_heads(), 3);
        let expected = [Class::Region(vec![1, 2, 3]), Class::Region(vec![2, 3]), Class::Label(3)];
        assert_eq!(rules.foreground_classes(), expected);
        assert_eq!(rules.ignore_label(), Some(4));
        assert_eq!(rules.foreground_classes()[0].to_string(), "(1, 2, 3)");
    }

    #[test]
    fn a_list_of_one_label_is_not_a_region() {
        let rules = rules(r#"{"background": 0, "a": [1]}"#, None).unwrap();
        assert!(!rules.has_regions());
        assert_eq!(rules.num_heads(), 2);
        assert_eq!(rules.foreground_labels(), [1]);
    }

    #[test]
    fn contradictions_are_named() {
        let text = |r: Result<LabelRules, DatasetError>| r.unwrap_err().to_string();
        assert!(
            text(rules(r#"{"background": 0, "a": 1, "ignore": 3}"#, None)).contains("expected the integer 2")
        );
        assert!(text(rules(r#"{"a": 1}"#, None)).contains("background"));
        assert!(text(rules(r#"{"background": 0, "a": [1, 2]}"#, None)).contains("regions_class_order"));
        assert!(text(rules(r#"{"background": 0, "a": [1, 2]}"#, Some(&[1, 2]))).contains("2 entries"));
        let labels = serde_json::from_str(r#"{"a": [1, 2], "b": -1, "c": 99999, "ignore": 9}"#).unwrap();
        assert_eq!(LabelRules::problems(&labels, None).len(), 5);
    }
}
