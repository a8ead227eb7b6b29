//! DICOM series to images. The `dicom` crates parse files and decode pixels; here slices are put in order and checked.
//!
//! Messages name files and tags of image, series and equipment, nothing that says who the patient is.

mod embedded;
mod geometry;
mod guard;
mod pixels;
mod rle;
mod slices;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, OpenFileOptions, Tag};

use crate::{Image, ImageError};

/// The files of one series in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomSeries {
    /// Series Instance UID, (0020,000E).
    pub uid: String,
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
    let io = |e| ImageError::io(folder, e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_file() && guard::is_dicom(&path)? {
            files.push(path);
        }
    }
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

/// Reads the only series of a folder, or a single file with several frames.
///
/// Slices are sorted by their position along the normal of the image plane, and every slice gets its own rescale slope and
/// intercept, whatever its modality. Array and geometry are those that ITK gives: `(1, z, y, x)`, z along the normal.
///
/// Uncompressed data in either byte order, RLE and JPEG (baseline, extended, lossless) can be read; JPEG 2000 with the feature
/// `dicom-jpeg2000`. JPEG-LS, deflated and video files are refused.
///
/// # Errors
/// No or more than one series, a broken file, a transfer syntax that cannot be decoded, colour, missing positions, slices of
/// different size, orientation or pixel spacing, two slices in one place, missing slices, uneven spacing, or a tilted gantry.
/// The message names file and tag.
pub fn read_dicom_series(path: &Path) -> Result<Image, ImageError> {
    if !path.is_dir() {
        return read_dicom_files(&[path.to_owned()]);
    }
    let series = dicom_series(path)?;
    match series.as_slice() {
        [one] => read_dicom_files(&one.files),
        [] => Err(ImageError::format(path, "there is no DICOM image in this folder")),
        several => {
            let list: Vec<String> =
                several.iter().map(|s| format!("{} ({} files)", uid(&s.uid), s.files.len())).collect();
            let reason = format!(
                "(0020,000E) Series Instance UID: expected one series, found {}: {}",
                list.len(),
                list.join(", ")
            );
            Err(ImageError::format(path, reason))
        }
    }
}

/// Reads the files of one series, in any order; see [`read_dicom_series`].
///
/// # Errors
/// As [`read_dicom_series`], or files of different series.
pub fn read_dicom_files(files: &[PathBuf]) -> Result<Image, ImageError> {
    let Some(first) = files.first() else {
        return Err(ImageError::format(Path::new("DICOM series"), "no file given"));
    };
    let mut series = None;
    let mut found = Vec::new();
    for path in files {
        let object = open(path, Some(tags::PIXEL_DATA))?;
        let own = text(&object, tags::SERIES_INSTANCE_UID);
        let expected = series.get_or_insert_with(|| own.clone());
        if *expected != own {
            let reason = format!(
                "(0020,000E) Series Instance UID is {}, that of {} is {}: expected one series",
                uid(&own),
                first.display(),
                uid(expected)
            );
            return Err(ImageError::format(path, reason));
        }
        found.extend(slices::of(path, &object)?);
    }
    let (order, geometry) = geometry::arrange(&found)?;
    pixels::read(&order, geometry)
}

/// Reads a file up to a tag, or whole.
fn open(path: &Path, until: Option<Tag>) -> Result<DefaultDicomObject, ImageError> {
    let bytes = guard::read(path)?;
    let mut options = OpenFileOptions::new();
    if let Some(tag) = until {
        options = options.read_until(tag);
    }
    caught(|| options.from_reader(&bytes[guard::PREAMBLE..]))
        .ok_or_else(|| ImageError::format(path, "broken DICOM file: it cannot be parsed"))
}

/// What a library makes of data from a file; its panics become errors too.
fn caught<T, E>(work: impl FnOnce() -> Result<T, E>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?.ok()
}

/// A UID for a message. In a broken file it may run on into what comes next, which may be the patient's name.
fn uid(text: &str) -> &str {
    let sound = text.len() <= 64 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if sound { text } else { "(no UID)" }
}

/// The text of an element, trimmed; empty if there is none.
fn text(object: &DefaultDicomObject, tag: Tag) -> String {
    let value = object.get(tag).and_then(|element| element.to_str().ok());
    value.map(|value| value.trim_end_matches('\0').trim().to_owned()).unwrap_or_default()
}
