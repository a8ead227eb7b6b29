use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use super::structures::{Contour, DicomRoi, DicomStructures};
use crate::ImageError;
use crate::dicom::elements::{code, items};
use crate::dicom::{DicomSegment, open, text, uid};

/// Whether a file is an RT Structure Set file, by its SOP Class UID, (0008,0016).
///
/// # Errors
/// A file that cannot be read or is not a DICOM file.
pub fn is_dicom_rtstruct(path: &Path) -> Result<bool, ImageError> {
    let object = open(path, Some(tags::STUDY_DATE))?;
    Ok(text(&object, tags::SOP_CLASS_UID) == super::STRUCTURE_SET)
}

/// Reads an RT Structure Set file. Contours are looked at when [`DicomStructures::to_labels`] draws them, so that what is wrong with
/// one region of interest does not stop others.
///
/// # Errors
/// A file that is broken or not a structure set, missing sequences, regions without number or with that of another, contours of
/// a region that is not there. The message names file and tag.
pub fn read_dicom_rtstruct(path: &Path) -> Result<DicomStructures, ImageError> {
    let object = open(path, None)?;
    let class = text(&object, tags::SOP_CLASS_UID);
    if class != super::STRUCTURE_SET {
        let class = uid(&class);
        let reason = format!("(0008,0016) SOP Class UID: expected an RT Structure Set, found {class}");
        return Err(ImageError::format(path, reason));
    }
    let mut rois = Vec::<DicomRoi>::new();
    for item in sequence(path, &object, tags::STRUCTURE_SET_ROI_SEQUENCE, "Structure Set ROI Sequence")? {
        let number = number(path, item, tags::ROI_NUMBER, "ROI Number")?;
        if rois.iter().any(|roi| roi.number == number) {
            let reason = format!("(3006,0022) ROI Number: {number} is there twice");
            return Err(ImageError::format(path, reason));
        }
        rois.push(roi(number, item));
    }
    let own = |rois: &[DicomRoi], item: &InMemDicomObject| -> Result<usize, ImageError> {
        let number = number(path, item, tags::REFERENCED_ROI_NUMBER, "Referenced ROI Number")?;
        rois.iter().position(|roi| roi.number == number).ok_or_else(|| {
            let known: Vec<i32> = rois.iter().map(|roi| roi.number).collect();
            let reason =
                format!("(3006,0084) Referenced ROI Number: expected one of {known:?}, found {number}");
            ImageError::format(path, reason)
        })
    };
    for item in sequence(path, &object, tags::ROI_CONTOUR_SEQUENCE, "ROI Contour Sequence")? {
        let place = own(&rois, item)?;
        let roi = &mut rois[place];
        roi.contours.extend(items(item, tags::CONTOUR_SEQUENCE).iter().map(contour));
        let colour = item.get(tags::ROI_DISPLAY_COLOR).and_then(|element| element.to_multi_int::<u8>().ok());
        if let Some(colour) = colour.and_then(|colour| <[u8; 3]>::try_from(colour).ok()) {
            roi.segment.colour = colour;
        }
    }
    for item in items(&object, tags::RTROI_OBSERVATIONS_SEQUENCE) {
        let place = own(&rois, item)?;
        observed(&mut rois[place].segment, item);
    }
    Ok(DicomStructures { rois, path: path.to_owned() })
}

/// The items of a sequence that must be there.
fn sequence<'a>(
    path: &Path,
    object: &'a DefaultDicomObject,
    tag: Tag,
    name: &str,
) -> Result<&'a [InMemDicomObject], ImageError> {
    let found = object.get(tag).and_then(|element| element.items());
    found.ok_or_else(|| ImageError::format(path, format!("{tag} {name}: it is missing")))
}

fn number(path: &Path, item: &InMemDicomObject, tag: Tag, name: &str) -> Result<i32, ImageError> {
    let found = item.get(tag).and_then(|element| element.to_int::<i32>().ok());
    found
        .ok_or_else(|| ImageError::format(path, format!("{tag} {name}: expected a whole number, found none")))
}

fn roi(number: i32, item: &InMemDicomObject) -> DicomRoi {
    let label = i16::try_from(number).ok().filter(|&label| label > 0).unwrap_or(0);
    let fallback = DicomSegment::new(label, &text(item, tags::ROI_NAME));
    let given =
        |tag: Tag, fallback: String| Some(text(item, tag)).filter(|t| !t.is_empty()).unwrap_or(fallback);
    let segment = DicomSegment {
        description: text(item, tags::ROI_DESCRIPTION),
        algorithm_type: given(tags::ROI_GENERATION_ALGORITHM, fallback.algorithm_type),
        algorithm: given(tags::ROI_GENERATION_DESCRIPTION, fallback.algorithm),
        ..fallback
    };
    DicomRoi {
        number,
        segment,
        chosen: true,
        frame_of_reference: text(item, tags::REFERENCED_FRAME_OF_REFERENCE_UID),
        contours: Vec::new(),
    }
}

/// What the observations say of a region.
fn observed(segment: &mut DicomSegment, item: &InMemDicomObject) {
    segment.interpreted_type = text(item, tags::RTROI_INTERPRETED_TYPE);
    if let Some(category) = code(item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE) {
        segment.category = category;
    }
    if let Some(kind) = code(item, tags::RTROI_IDENTIFICATION_CODE_SEQUENCE) {
        segment.kind = kind;
    }
    let kind = items(item, tags::RTROI_IDENTIFICATION_CODE_SEQUENCE).first();
    segment.modifier = kind.and_then(|kind| code(kind, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE));
}

fn contour(item: &InMemDicomObject) -> Contour {
    let images = items(item, tags::CONTOUR_IMAGE_SEQUENCE).iter();
    Contour {
        kind: text(item, tags::CONTOUR_GEOMETRIC_TYPE),
        points: points(item),
        images: images.map(|image| text(image, tags::REFERENCED_SOP_INSTANCE_UID)).collect(),
    }
}

/// The points of a contour, or what is wrong with them.
fn points(item: &InMemDicomObject) -> Result<Vec<[f64; 3]>, String> {
    let Some(element) = item.get(tags::CONTOUR_DATA) else { return Err("it is missing".to_owned()) };
    // Lists too long for an explicit DS are kept as UN.
    let parsed = element.to_multi_float64().ok().or_else(|| {
        let bytes = element.to_bytes().ok()?;
        let text = std::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
        text.split('\\').map(|part| part.trim().parse::<f64>().ok()).collect()
    });
    let numbers = parsed.filter(|numbers| numbers.iter().all(|v| v.is_finite()));
    let numbers = numbers.ok_or("expected finite numbers")?;
    let (points, []) = numbers.as_chunks::<3>() else {
        return Err(format!("expected three numbers per point, found {} numbers", numbers.len()));
    };
    let said = item.get(tags::NUMBER_OF_CONTOUR_POINTS).and_then(|element| element.to_int::<u64>().ok());
    match said {
        Some(said) if said != points.len() as u64 => {
            let found = points.len();
            Err(format!("(3006,0046) Number of Contour Points is {said}, there are {found} points"))
        }
        _ => Ok(points.to_vec()),
    }
}
