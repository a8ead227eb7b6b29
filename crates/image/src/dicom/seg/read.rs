use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use crate::ImageError;
use crate::dicom::colour::from_lab;
use crate::dicom::elements::{code, items};
use crate::dicom::slices::{self, Slice};
use crate::dicom::{DicomSegment, geometry, open, pixels, text, uid};

/// More frames than this in one file are taken for a lie.
const MOST_FRAMES: u32 = 1 << 20;

/// How the frames say what belongs to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A frame per segment, a bit per voxel.
    Binary,
    /// A frame per segment, a fraction of this per voxel.
    Fractional(u16),
    /// Segment numbers.
    Labels,
}

/// A DICOM SEG file that has been read.
#[derive(Debug)]
pub struct DicomSeg {
    /// Its segments. Labels are the segment numbers; [`DicomSeg::to_labels`] uses what stands here.
    pub segments: Vec<DicomSegment>,
    /// Series Instance UID, (0020,000E), of the series that it is about, if it says so.
    pub series: Option<String>,
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Number of each segment.
    pub(super) numbers: Vec<u16>,
    /// Frames, and for each the place of its segment in `segments`; not for [`Kind::Labels`].
    pub(super) frames: Vec<(Slice, Option<usize>)>,
    /// Bits of [`Kind::Binary`], the lowest of each byte first.
    pub(super) bits: Vec<u8>,
    /// Values of the other kinds.
    pub(super) values: Option<pixels::Frames>,
}

/// Reads a DICOM SEG file: BINARY (uncompressed), FRACTIONAL or LABELMAP.
///
/// # Errors
/// A file that is broken or not a segmentation, a frame of a segment that is not there, frames without place, or frames of
/// different size, orientation or spacing. The message names file and tag.
pub fn read_dicom_seg(path: &Path) -> Result<DicomSeg, ImageError> {
    let wrong = |reason: String| ImageError::format(path, reason);
    let object = open(path, None)?;
    let class = text(&object, tags::SOP_CLASS_UID);
    if ![super::SEGMENTATION, super::LABEL_MAP].contains(&class.as_str()) {
        let reason = format!("(0008,0016) SOP Class UID: expected a segmentation, found {}", uid(&class));
        return Err(wrong(reason));
    }
    let slices = slices::of(path, &object, MOST_FRAMES)?;
    for slice in &slices {
        geometry::same_plane(&slices[0], slice)?;
    }
    let kind = kind(path, &object)?;
    let (numbers, segments) = segments(path, &object)?;
    let mut frames = Vec::with_capacity(slices.len());
    for slice in slices {
        let segment = match kind {
            Kind::Labels => None,
            _ => Some(segment_of(path, &object, slice.frame, &numbers)?),
        };
        frames.push((slice, segment));
    }
    let (bits, values) = match kind {
        Kind::Binary => (bits(path, &object, &frames)?, None),
        _ => (Vec::new(), Some(pixels::Frames::of(path, &object)?)),
    };
    let referenced = items(&object, tags::REFERENCED_SERIES_SEQUENCE).first();
    let series = referenced.map(|item| text(item, tags::SERIES_INSTANCE_UID)).filter(|uid| !uid.is_empty());
    Ok(DicomSeg { segments, series, path: path.to_owned(), kind, numbers, frames, bits, values })
}

fn number(object: &InMemDicomObject, tag: Tag) -> Option<u16> {
    object.get(tag)?.to_int::<u16>().ok()
}

fn kind(path: &Path, object: &DefaultDicomObject) -> Result<Kind, ImageError> {
    let found = text(object, tags::SEGMENTATION_TYPE);
    match found.as_str() {
        "BINARY" => Ok(Kind::Binary),
        "FRACTIONAL" => match number(object, tags::MAXIMUM_FRACTIONAL_VALUE) {
            Some(most) if most > 0 => Ok(Kind::Fractional(most)),
            other => {
                let reason =
                    format!("(0062,000E) Maximum Fractional Value: expected 1 to 255, found {other:?}");
                Err(ImageError::format(path, reason))
            }
        },
        "LABELMAP" => Ok(Kind::Labels),
        _ => {
            let reason = "(0062,0001) Segmentation Type: expected BINARY, FRACTIONAL or LABELMAP";
            Err(ImageError::format(path, reason))
        }
    }
}

fn segments(path: &Path, object: &DefaultDicomObject) -> Result<(Vec<u16>, Vec<DicomSegment>), ImageError> {
    let mut numbers = Vec::new();
    let mut segments = Vec::new();
    for item in items(object, tags::SEGMENT_SEQUENCE) {
        let found = number(item, tags::SEGMENT_NUMBER);
        let label = found.and_then(|number| i16::try_from(number).ok());
        let (Some(number), Some(label)) = (found, label) else {
            let reason = format!("(0062,0004) Segment Number: expected 0 to 32767, found {found:?}");
            return Err(ImageError::format(path, reason));
        };
        if numbers.contains(&number) {
            let reason = format!("(0062,0004) Segment Number: {number} is there twice");
            return Err(ImageError::format(path, reason));
        }
        numbers.push(number);
        segments.push(segment(label, item));
    }
    if segments.is_empty() {
        return Err(ImageError::format(path, "(0062,0002) Segment Sequence: expected a segment, found none"));
    }
    Ok((numbers, segments))
}

fn segment(label: i16, item: &InMemDicomObject) -> DicomSegment {
    let fallback = DicomSegment::new(label, &text(item, tags::SEGMENT_LABEL));
    let lab = item.get(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE).and_then(|e| e.to_multi_int::<u16>().ok());
    let kind = items(item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE).first();
    DicomSegment {
        description: text(item, tags::SEGMENT_DESCRIPTION),
        category: code(item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE).unwrap_or(fallback.category),
        kind: code(item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE).unwrap_or(fallback.kind),
        modifier: kind.and_then(|kind| code(kind, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE)),
        region: code(item, tags::ANATOMIC_REGION_SEQUENCE),
        colour: lab.and_then(|lab| lab.try_into().ok()).map_or(fallback.colour, from_lab),
        algorithm_type: text(item, tags::SEGMENT_ALGORITHM_TYPE),
        algorithm: text(item, tags::SEGMENT_ALGORITHM_NAME),
        interpreted_type: String::new(),
        ..fallback
    }
}

/// The place among the segments of that which a frame shows.
fn segment_of(
    path: &Path,
    object: &DefaultDicomObject,
    frame: u32,
    numbers: &[u16],
) -> Result<usize, ImageError> {
    let own = items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame as usize);
    let shared = items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let found = own.into_iter().chain(shared).find_map(|groups| {
        let item = items(groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE).first()?;
        number(item, tags::REFERENCED_SEGMENT_NUMBER)
    });
    let place = found.and_then(|found| numbers.iter().position(|&number| number == found));
    place.ok_or_else(|| {
        let frame = frame + 1;
        let reason = format!(
            "(0062,000B) Referenced Segment Number: frame {frame}: expected one of {numbers:?}, found {found:?}"
        );
        ImageError::format(path, reason)
    })
}

/// The bits of all frames.
fn bits(
    path: &Path,
    object: &DefaultDicomObject,
    frames: &[(Slice, Option<usize>)],
) -> Result<Vec<u8>, ImageError> {
    if let Some(allocated) = number(object, tags::BITS_ALLOCATED).filter(|&allocated| allocated != 1) {
        let reason =
            format!("(0028,0100) Bits Allocated: expected 1 in a BINARY segmentation, found {allocated}");
        return Err(ImageError::format(path, reason));
    }
    let element = object.get(tags::PIXEL_DATA);
    if element.is_some_and(|element| element.fragments().is_some()) {
        let reason = "(7FE0,0010) Pixel Data: a compressed BINARY segmentation is not supported";
        return Err(ImageError::format(path, reason));
    }
    let bytes = element.and_then(|element| element.to_bytes().ok()).unwrap_or_default().into_owned();
    let slice = &frames[0].0;
    let voxels = u64::from(slice.rows) * u64::from(slice.columns) * frames.len() as u64;
    let (expected, found) = (voxels.div_ceil(8), bytes.len() as u64);
    if found < expected {
        return Err(ImageError::Truncated { path: path.to_owned(), expected, found });
    }
    Ok(bytes)
}
