//! DICOM series to images. The `dicom` crates parse files and decode pixels; here slices are put in order and checked.
//!
//! Messages name files and tags of image, series and equipment, nothing that says who the patient is.

mod build;
mod code;
mod colour;
mod elements;
mod embedded;
mod geometry;
mod grid;
mod guard;
mod pixels;
mod rle;
mod rtstruct;
mod seg;
mod segment;
mod series;
mod slices;
mod source;
mod when;

pub use code::DicomCode;
pub use grid::place_labels;
pub use guard::is_dicom;
pub use rtstruct::{
    DicomRoi, DicomStructures, RoiOverlap, is_dicom_rtstruct, read_dicom_rtstruct, write_dicom_rtstruct,
};
pub use seg::{
    DicomSeg, SegOptions, dicom_seg_step, read_dicom_seg, write_dicom_seg, write_dicom_seg_fractional,
    write_dicom_seg_steps,
};
pub use segment::{DicomSegment, segment_terms};
pub use series::{DicomFolder, DicomSelector, DicomSeries, dicom_series, dicom_series_below};
pub use source::{DicomSource, DicomVolume, read_dicom_channels, read_dicom_source, read_dicom_volume};
pub use when::DicomTime;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions, Tag};

use crate::{Geometry, Image, ImageError};

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
    let (slices, _) = slices_of(files)?;
    let (order, geometry) = geometry::arrange(&slices)?;
    image_of(&order, geometry)
}

/// Slices of the files of one series, each instance once, and what the first file says.
fn slices_of(files: &[PathBuf]) -> Result<(Vec<slices::Slice>, DefaultDicomObject), ImageError> {
    let Some(first) = files.first() else {
        return Err(ImageError::format(Path::new("DICOM series"), "no file given"));
    };
    let mut series = None;
    let mut begin = None;
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
        found.extend(slices::of(path, &object, slices::MOST_FRAMES)?);
        begin.get_or_insert(object);
    }
    let begin = begin.ok_or_else(|| ImageError::format(first, "no file given"))?;
    Ok((single(found)?, begin))
}

/// Leaves out what is there twice: the same instance with the same values in the same place.
fn single(slices: Vec<slices::Slice>) -> Result<Vec<slices::Slice>, ImageError> {
    let mut kept: Vec<slices::Slice> = Vec::with_capacity(slices.len());
    let mut seen = HashMap::<(Arc<str>, u32), usize>::new();
    for slice in slices {
        let key = (slice.instance.clone(), slice.frame);
        let earlier = seen.get(&key).map(|&number| &kept[number]);
        match earlier.filter(|earlier| geometry::is_copy(earlier, &slice)) {
            None => {
                seen.insert(key, kept.len());
                kept.push(slice);
            }
            Some(earlier) if pixels::one(earlier)? == pixels::one(&slice)? => {}
            Some(earlier) => {
                let reason = format!(
                    "(0008,0018) SOP Instance UID is that of {}, the values are others",
                    earlier.path.display()
                );
                return Err(ImageError::format(&slice.path, reason));
            }
        }
    }
    Ok(kept)
}

/// The values of slices in order, in their frame.
fn image_of(order: &[&slices::Slice], geometry: Geometry) -> Result<Image, ImageError> {
    pixels::read(order, geometry)
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
fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let value = object.get(tag).and_then(|element| element.to_str().ok());
    value.map(|value| value.trim_end_matches('\0').trim().to_owned()).unwrap_or_default()
}
