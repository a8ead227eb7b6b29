//! The raw data set on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{DatasetError, DatasetJson};

/// One training case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Identifier: the file name without channel number and ending.
    pub id: String,
    /// Image files in channel order.
    pub images: Vec<PathBuf>,
    /// The segmentation; it may not exist.
    pub label: PathBuf,
}

/// A raw data set: its description and its training cases.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the folder, `DatasetNNN_Name`.
    pub name: String,
    /// The description.
    pub json: DatasetJson,
    /// The training cases, in ascending order of their identifiers (or as `dataset.json` lists them).
    pub cases: Vec<Case>,
}

impl Dataset {
    /// Opens a data set's folder and lists its cases; no image is read.
    ///
    /// # Errors
    /// `dataset.json` is missing or not as it should be; `imagesTr` or `labelsTr` is missing.
    pub fn open(folder: &Path) -> Result<Self, DatasetError> {
        if !folder.is_dir() {
            return Err(DatasetError::Missing { what: "folder of the data set", path: folder.to_owned() });
        }
        let json = DatasetJson::read(&folder.join("dataset.json"))?;
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let cases = match &json.dataset {
            Some(entries) => {
                let path = |text: &String| folder.join(expand(text));
                let case = |(id, entry): (&String, &crate::DatasetEntry)| Case {
                    id: id.clone(),
                    images: entry.images.iter().map(path).collect(),
                    label: path(&entry.label),
                };
                entries.iter().map(case).collect()
            }
            None => {
                let labels = folder.join("labelsTr");
                if !labels.is_dir() {
                    return Err(DatasetError::Missing { what: "folder of segmentations", path: labels });
                }
                let ending = &json.file_ending;
                let listed = list_cases(&folder.join("imagesTr"), ending)?.into_iter();
                listed
                    .map(|(id, images)| Case { label: labels.join(format!("{id}{ending}")), id, images })
                    .collect()
            }
        };
        Ok(Self { folder: folder.to_owned(), name, json, cases })
    }
}

/// Replaces `$NAME` and `${NAME}` by environment variables that are set.
fn expand(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, used) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match std::env::var(name) {
            Ok(value) if !name.is_empty() => out.push_str(&value),
            _ => out.push_str(&rest[at..at + 1 + used]),
        }
        rest = &after[used..];
    }
    out + rest
}

/// The cases of a folder of images: identifier and channel files, both ascending.
///
/// Files are named `CASE_0000.nii.gz`: identifier, underscore, four digits, ending.
///
/// # Errors
/// The folder is missing or cannot be listed.
pub fn list_cases(folder: &Path, file_ending: &str) -> Result<Vec<(String, Vec<PathBuf>)>, DatasetError> {
    if !folder.is_dir() {
        return Err(DatasetError::Missing { what: "folder of images", path: folder.to_owned() });
    }
    let mut cases = BTreeMap::<String, BTreeSet<PathBuf>>::new();
    for entry in std::fs::read_dir(folder).map_err(|e| DatasetError::io(folder, e))? {
        let entry = entry.map_err(|e| DatasetError::io(folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(file_ending).filter(|_| entry.path().is_file()) else { continue };
        // Everything before the last five characters names the case, even if these are not a channel number: a case
        // without channels is a finding of the integrity check.
        let chars = stem.chars().count().saturating_sub(5);
        let id: String = stem.chars().take(chars).collect();
        let channel = &stem[id.len()..];
        let files = cases.entry(id).or_default();
        if channel.strip_prefix('_').is_some_and(|d| d.len() == 4 && d.bytes().all(|b| b.is_ascii_digit())) {
            files.insert(entry.path());
        }
    }
    Ok(cases.into_iter().map(|(id, files)| (id, files.into_iter().collect())).collect())
}

/// The full name of a data set that is given as a number (`4`), a name, or the path of its folder.
///
/// A number is looked up in all `roots`; exactly one name must start with `Dataset` and the number in three digits.
///
/// # Errors
/// No data set or more than one has this number, or the text is neither number nor name.
pub fn dataset_name(spec: &str, roots: &[&Path]) -> Result<String, DatasetError> {
    let wrong = |reason: String| DatasetError::Name { spec: spec.to_owned(), reason };
    let last = Path::new(spec).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if last.starts_with("Dataset") {
        return Ok(last);
    }
    let id: u32 = spec.parse().map_err(|_| {
        wrong("expected a number, a name DatasetNNN_Name, or the path of a data set's folder".to_owned())
    })?;
    let prefix = format!("Dataset{id:03}");
    let mut names = BTreeSet::new();
    for root in roots {
        for entry in std::fs::read_dir(root).map_err(|e| DatasetError::io(root, e))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && entry.path().is_dir() {
                names.insert(name);
            }
        }
    }
    let searched = || roots.iter().map(|r| r.display().to_string()).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => Ok(names.into_iter().next().unwrap_or_default()),
        0 if roots.is_empty() => Err(wrong("no folder to look in exists; give --raw DIR".to_owned())),
        0 => Err(wrong(format!("no folder {prefix}… in {}", searched()))),
        _ => Err(wrong(format!("more than one data set has this number: {names:?} in {}", searched()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_listed_by_name_and_channel() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b_0000.nii.gz", "a_0001.nii.gz", "a_0000.nii.gz", "readme.txt", "stray.nii.gz"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let cases = list_cases(folder.path(), ".nii.gz").unwrap();
        let seen: Vec<_> = cases.iter().map(|(id, files)| (id.as_str(), files.len())).collect();
        assert_eq!(seen, [("", 0), ("a", 2), ("b", 1)]);
        assert!(cases[1].1[0].ends_with("a_0000.nii.gz"));
    }

    #[test]
    fn numbers_are_looked_up_and_ambiguity_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("Dataset004_Hippocampus")).unwrap();
        let roots = [root.path()];
        assert_eq!(dataset_name("4", &roots).unwrap(), "Dataset004_Hippocampus");
        assert_eq!(dataset_name("Dataset009_X", &roots).unwrap(), "Dataset009_X");
        assert!(dataset_name("5", &roots).unwrap_err().to_string().contains("Dataset005"));
        assert!(dataset_name("spleen", &roots).is_err());
        std::fs::create_dir(root.path().join("Dataset004_Other")).unwrap();
        assert!(dataset_name("4", &roots).unwrap_err().to_string().contains("more than one"));
    }

    #[test]
    fn unset_variables_stay_as_they_are() {
        assert_eq!(expand("a/$NNUNET_SURELY_UNSET/b"), "a/$NNUNET_SURELY_UNSET/b");
        assert_eq!(expand("${NNUNET_SURELY_UNSET}x$"), "${NNUNET_SURELY_UNSET}x$");
    }
}
