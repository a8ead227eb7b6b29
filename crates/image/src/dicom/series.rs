//! Series in folders, and choosing one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

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
/// The folder cannot be read, or a file in it that starts like a DICOM file, or is named `.dcm`, is broken.
pub fn dicom_series(folder: &Path) -> Result<Vec<DicomSeries>, ImageError> {
    DicomFolder::read(folder, 0)?.whole()
}

/// As [`dicom_series`], with the folders below; links to folders are not followed.
///
/// # Errors
/// As [`dicom_series`].
pub fn dicom_series_below(folder: &Path) -> Result<Vec<DicomSeries>, ImageError> {
    DicomFolder::read_below(folder)?.whole()
}

/// What a folder holds, where single files may be broken.
#[derive(Debug, Default)]
pub struct DicomFolder {
    /// Its series, by number and UID, without the files that are broken.
    pub series: Vec<DicomSeries>,
    /// Files that start like DICOM files, or are named `.dcm`, and cannot be read; each with what is wrong with it.
    pub broken: Vec<(PathBuf, ImageError)>,
}

impl DicomFolder {
    /// Looks into a folder and those below; links to folders are not followed. Files that are not DICOM images are passed over.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn read_below(folder: &Path) -> Result<Self, ImageError> {
        Self::read(folder, DEEPEST)
    }

    /// Whether there is an image in the folder or below, or a file that may be one and cannot be read.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn any_below(folder: &Path) -> Result<bool, ImageError> {
        let mut files = Vec::new();
        gather(folder, DEEPEST, &mut files)?;
        Ok(files
            .iter()
            .any(|path| open(path, Some(tags::PIXEL_DATA)).map_or(true, |object| is_image(&object))))
    }

    fn read(folder: &Path, deep: usize) -> Result<Self, ImageError> {
        let mut files = Vec::new();
        gather(folder, deep, &mut files)?;
        files.sort();
        let mut found = Self::default();
        let mut series = BTreeMap::new();
        for path in files {
            match open(&path, Some(tags::PIXEL_DATA)) {
                Ok(object) => sort(path, &object, &mut series),
                Err(error) => found.broken.push((path, error)),
            }
        }
        found.series = series.into_values().collect();
        found.series.sort_by(|a, b| (a.number, &a.uid).cmp(&(b.number, &b.uid)));
        Ok(found)
    }

    /// The series, if no file is broken.
    fn whole(self) -> Result<Vec<DicomSeries>, ImageError> {
        self.broken.into_iter().next().map_or(Ok(self.series), |(_, error)| Err(error))
    }

    /// What is wrong with a file in one of the folders in which these files lie: it may belong to them.
    pub fn broken_beside(&self, files: &[PathBuf]) -> Option<ImageError> {
        let beside = |path: &Path| files.iter().any(|file| file.parent() == path.parent());
        let (path, error) = self.broken.iter().find(|(path, _)| beside(path))?;
        let text = error.to_string();
        let reason = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
        Some(ImageError::format(path, reason))
    }

    /// As [`DicomSeries::choose`]; a broken file in a folder of the series counts as a part of it.
    ///
    /// # Errors
    /// No such series or several, or a broken file beside it.
    pub fn choose(&self, wanted: Option<&DicomSelector>, folder: &Path) -> Result<&DicomSeries, ImageError> {
        let series = match DicomSeries::choose(&self.series, wanted, folder) {
            Ok(series) => series,
            Err(error) if self.series.is_empty() => {
                return Err(self.broken.first().map_or(error, |(path, _)| {
                    self.broken_beside(std::slice::from_ref(path))
                        .unwrap_or_else(|| ImageError::format(path, "broken"))
                }));
            }
            Err(error) => return Err(error),
        };
        self.broken_beside(&series.files).map_or(Ok(series), Err)
    }
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
        } else if path.is_file() && (is_named_so(&path) || guard::is_dicom(&path)?) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a file is named as a DICOM file; hidden files are what systems leave beside it.
fn is_named_so(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("dcm"))
}

/// Series by study and UID.
type Sorted = BTreeMap<(String, String), DicomSeries>;

/// Reports and the like have none of these tags; an image may lack one of them, which is told when it is read.
fn is_image(object: &InMemDicomObject) -> bool {
    [tags::ROWS, tags::COLUMNS, tags::BITS_ALLOCATED].iter().any(|&tag| object.get(tag).is_some())
}

/// Puts an image to its series.
fn sort(path: PathBuf, object: &InMemDicomObject, series: &mut Sorted) {
    if !is_image(object) {
        return;
    }
    let uid = text(object, tags::SERIES_INSTANCE_UID);
    let study = text(object, tags::STUDY_INSTANCE_UID);
    let found = series.entry((study.clone(), uid.clone())).or_insert_with(|| DicomSeries {
        uid,
        study,
        number: text(object, tags::SERIES_NUMBER).parse().ok(),
        description: text(object, tags::SERIES_DESCRIPTION),
        modality: text(object, tags::MODALITY),
        files: Vec::new(),
    });
    found.files.push(path);
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
pub(super) fn like(pattern: &str, text: &str) -> bool {
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
