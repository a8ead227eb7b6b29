//! Series in folders, and choosing one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;

use super::{guard, open, text, uid};
use crate::ImageError;

/// Folders below folders beyond this are not looked into.
const DEEPEST: usize = 32;

/// The files of one series in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomSeries {
    /// Series Instance UID, (0020,000E).
    pub uid: String,
    /// Study Instance UID, (0020,000D).
    pub study: String,
    /// Series Number, (0020,0011).
    pub number: Option<i64>,
    /// Series Description, (0008,103E); may be empty.
    pub description: String,
    /// Modality, (0008,0060); may be empty.
    pub modality: String,
    /// Its files, by name.
    pub files: Vec<PathBuf>,
}

/// Lists the series whose images lie in a folder, not below it, by number and UID. Files that are not DICOM images are passed
/// over.
///
/// # Errors
/// The folder cannot be read, or a file in it that starts like a DICOM file is broken.
pub fn dicom_series(folder: &Path) -> Result<Vec<DicomSeries>, ImageError> {
    let mut files = Vec::new();
    gather(folder, 0, &mut files)?;
    sorted(files)
}

/// As [`dicom_series`], with the folders below; links to folders are not followed.
///
/// # Errors
/// As [`dicom_series`].
pub fn dicom_series_below(folder: &Path) -> Result<Vec<DicomSeries>, ImageError> {
    let mut files = Vec::new();
    gather(folder, DEEPEST, &mut files)?;
    sorted(files)
}

fn gather(folder: &Path, deep: usize, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let io = |e| ImageError::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if entry.file_type().map_err(io)?.is_dir() {
            if deep > 0 {
                gather(&path, deep - 1, files)?;
            }
        } else if path.is_file() && guard::is_dicom(&path)? {
            files.push(path);
        }
    }
    Ok(())
}

fn sorted(mut files: Vec<PathBuf>) -> Result<Vec<DicomSeries>, ImageError> {
    files.sort();
    let mut series = BTreeMap::<String, DicomSeries>::new();
    for path in files {
        let object = open(&path, Some(tags::PIXEL_DATA))?;
        if object.get(tags::ROWS).is_none() {
            continue;
        }
        let uid = text(&object, tags::SERIES_INSTANCE_UID);
        let found = series.entry(uid.clone()).or_insert_with(|| DicomSeries {
            uid,
            study: text(&object, tags::STUDY_INSTANCE_UID),
            number: text(&object, tags::SERIES_NUMBER).parse().ok(),
            description: text(&object, tags::SERIES_DESCRIPTION),
            modality: text(&object, tags::MODALITY),
            files: Vec::new(),
        });
        found.files.push(path);
    }
    let mut list: Vec<DicomSeries> = series.into_values().collect();
    list.sort_by(|a, b| (a.number, &a.uid).cmp(&(b.number, &b.uid)));
    Ok(list)
}

/// Which series is meant: one text that may be its UID, its number or its description, regardless of case; `*` in it stands for
/// any letters of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomSelector(pub String);

impl DicomSelector {
    /// Whether this is the series that is meant.
    pub fn matches(&self, series: &DicomSeries) -> bool {
        let wanted = self.0.trim();
        wanted == series.uid
            || (series.number.is_some() && wanted.parse().ok() == series.number)
            || like(&wanted.to_lowercase(), &series.description.to_lowercase())
    }
}

/// Whether a text is like a pattern with `*`.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, rest)) => text.strip_prefix(begin).is_some_and(|left| {
            left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| like(rest, &left[at..]))
        }),
    }
}

impl DicomSeries {
    /// The only one of `list` that is an image and that `wanted` means; without `wanted`, the only image.
    ///
    /// # Errors
    /// None or several; the message lists what there is by number, UID and number of files.
    pub fn choose<'a>(
        list: &'a [Self],
        wanted: Option<&DicomSelector>,
        folder: &Path,
    ) -> Result<&'a Self, ImageError> {
        let image = |s: &&Self| !matches!(s.modality.as_str(), "SEG" | "RTDOSE" | "PR");
        let found: Vec<&Self> =
            list.iter().filter(image).filter(|s| wanted.is_none_or(|wanted| wanted.matches(s))).collect();
        if let [one] = found.as_slice() {
            return Ok(one);
        }
        let (what, shown) = match (found.is_empty(), wanted) {
            (true, Some(DicomSelector(wanted))) => {
                (format!("no series is {wanted:?}"), list.iter().collect())
            }
            (true, None) => ("there is no DICOM image in this folder".to_owned(), Vec::new()),
            (false, _) => (format!("expected one series, found {}", found.len()), found),
        };
        let each = |s: &&Self| {
            let number = s.number.map_or_else(|| "without number".to_owned(), |n| format!("number {n}"));
            format!("{} ({number}, {} files)", uid(&s.uid), s.files.len())
        };
        let listed: Vec<String> = shown.iter().map(each).collect();
        let listed = if listed.is_empty() { String::new() } else { format!(": {}", listed.join(", ")) };
        Err(ImageError::format(folder, format!("(0020,000E) Series Instance UID: {what}{listed}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_chosen_by_number_uid_or_description() {
        let series = |uid: &str, number, description: &str, modality: &str| DicomSeries {
            uid: uid.to_owned(),
            study: String::new(),
            number,
            description: description.to_owned(),
            modality: modality.to_owned(),
            files: Vec::new(),
        };
        let list = [
            series("1.2", Some(3), "T1 post", "MR"),
            series("1.3", None, "T1 crop", "MR"),
            series("1.4", Some(9), "result", "SEG"),
        ];
        let choose = |wanted: &str| {
            let wanted = DicomSelector(wanted.to_owned());
            DicomSeries::choose(&list, Some(&wanted), Path::new("here")).map(|s| s.uid.as_str())
        };
        for (wanted, uid) in
            [("3", "1.2"), ("1.3", "1.3"), ("t1 CROP", "1.3"), ("*post", "1.2"), ("T*c*p", "1.3")]
        {
            assert_eq!(choose(wanted).unwrap(), uid, "{wanted}");
        }
        assert!(choose("T1*").unwrap_err().to_string().contains("found 2: 1.2 (number 3"));
        assert!(choose("9").unwrap_err().to_string().contains("no series is \"9\""));
        assert!(DicomSeries::choose(&list, None, Path::new("here")).is_err());
        assert!(DicomSeries::choose(&list[1..], None, Path::new("here")).is_ok());
    }
}
