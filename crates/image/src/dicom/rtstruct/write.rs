use std::collections::BTreeMap;
use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use ndarray::{ArrayView2, Axis};

use super::outline::{Extent, outlines};
use crate::dicom::build::{Set, coded, decimal, equipment, new_uid, write_as};
use crate::dicom::source::{SourceSlice, references};
use crate::dicom::{DicomSegment, DicomSource, SegOptions, place_labels};
use crate::{ImageError, LabelMap};

/// How far a point may be from its place by the digits that are written, in pixels.
const DIGITS: f64 = 1e-4;

/// One contour: its slice, the number of its points, and their coordinates as text.
struct Contour {
    slice: usize,
    points: usize,
    data: String,
}

/// Writes a label map as an RT Structure Set file, a region of interest per entry of `options.segments`, whose number is the label,
/// with closed planar contours slice by slice. The label map must have the voxels of the source series, in any order of axes.
///
/// Contours follow the borders of voxels, a hundredth of a voxel inside of them, so that the voxels whose centres they hold are those
/// of the label; each goes around one group of voxels that share sides. Holes are joined to what is around them by a channel
/// without width, the keyhole technique of DICOM PS3.3, C.8.8.6.3.
///
/// # Errors
/// A label without a segment, a segment that is there twice or without a label above 0, voxels other than those of the series, or
/// a file that cannot be written.
pub fn write_dicom_rtstruct(
    path: &Path,
    labels: &LabelMap,
    source: &DicomSource,
    options: &SegOptions,
) -> Result<(), ImageError> {
    check(path, options)?;
    let labels = place_labels(labels, &source.geometry, source.shape)?;
    let mut contours = BTreeMap::<i16, Vec<Contour>>::new();
    for (z, slice) in labels.data.axis_iter(Axis(0)).enumerate() {
        for (label, extent) in extents(slice) {
            options.place_of(path, label, z)?;
            let list = contours.entry(label).or_default();
            list.extend(outlines(slice, label, extent).iter().map(|polygon| contour(source, z, polygon)));
        }
    }
    write_as(path, structure_set(source, options, &contours), uids::IMPLICIT_VR_LITTLE_ENDIAN)
}

fn check(path: &Path, options: &SegOptions) -> Result<(), ImageError> {
    if options.segments.is_empty() {
        return Err(ImageError::format(path, "expected at least one segment, found none"));
    }
    for (number, segment) in options.segments.iter().enumerate() {
        let label = segment.label;
        if label < 1 {
            let reason = format!("segment {number}: expected a label from 1 to 32767, found {label}");
            return Err(ImageError::format(path, reason));
        }
        if options.segments[..number].iter().any(|other| other.label == label) {
            return Err(ImageError::format(path, format!("label {label} is that of two segments")));
        }
    }
    Ok(())
}

/// Where each label of a slice is.
fn extents(slice: ArrayView2<'_, i16>) -> BTreeMap<i16, Extent> {
    let mut found = BTreeMap::<i16, Extent>::new();
    for ((row, column), &label) in slice.indexed_iter().filter(|(_, label)| **label != 0) {
        found.entry(label).or_insert_with(|| Extent::of(row, column)).add(row, column);
    }
    found
}

/// A polygon in pixels as points of the patient.
fn contour(source: &DicomSource, slice: usize, polygon: &[[f64; 2]]) -> Contour {
    let [_, rows, columns] = source.geometry.spacing;
    let direction = &source.geometry.direction;
    let position = source.slices[slice].position;
    let digits = -(DIGITS * rows.min(columns)).log10().floor();
    let digits = digits.clamp(0.0, 12.0) as usize;
    let mut data = String::with_capacity(polygon.len() * 30);
    for [x, y] in polygon {
        for (axis, start) in direction.iter().zip(position) {
            if !data.is_empty() {
                data.push('\\');
            }
            let value = start + axis[0] * columns * x + axis[1] * rows * y;
            data.push_str(&rounded(value, digits));
        }
    }
    Contour { slice, points: polygon.len(), data }
}

/// A number with so many digits behind the point, or as many as fit.
fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.len() > 16 {
        return decimal(value);
    }
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0" } else { text }.to_owned()
}

fn structure_set(source: &DicomSource, options: &SegOptions, contours: &BTreeMap<i16, Vec<Contour>>) -> Set {
    let SegOptions { time, description, segments, .. } = options;
    let drawn: Vec<&str> = contours.values().flatten().map(|contour| contour.data.as_str()).collect();
    let (drawn, names) = (drawn.join("\\"), segments.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    let names = names.join("\\");
    let uid =
        |kind: &str| new_uid(&[&kind, &source.series, &time.date, &time.time, description, &names, &drawn]);
    let each = |item: fn(&DicomSegment) -> Set| segments.iter().map(item).collect::<Vec<_>>();
    let frame_of_reference = source.frame_of_reference();
    let rois = segments.iter().map(|segment| roi(segment, &frame_of_reference)).collect();
    let outlined = segments.iter().map(|segment| {
        let list = contours.get(&segment.label).map_or(&[][..], Vec::as_slice);
        roi_contour(source, segment, list)
    });
    let set = source
        .begin()
        .text(tags::SOP_CLASS_UID, VR::UI, super::STRUCTURE_SET)
        .text(tags::SOP_INSTANCE_UID, VR::UI, &uid("structure set"))
        .text(tags::INSTANCE_CREATION_DATE, VR::DA, &time.date)
        .text(tags::INSTANCE_CREATION_TIME, VR::TM, &time.time)
        .text(tags::SERIES_DATE, VR::DA, &time.date)
        .text(tags::SERIES_TIME, VR::TM, &time.time)
        .text(tags::MODALITY, VR::CS, "RTSTRUCT")
        .text(tags::SERIES_DESCRIPTION, VR::LO, description)
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &uid("structure series"))
        .integers(tags::SERIES_NUMBER, &[options.number.into()])
        .integers(tags::INSTANCE_NUMBER, &[1])
        .empty(tags::OPERATORS_NAME, VR::PN)
        .text(tags::STRUCTURE_SET_LABEL, VR::SH, "SEGMENTATION")
        .text(tags::STRUCTURE_SET_NAME, VR::LO, description)
        .text(tags::STRUCTURE_SET_DATE, VR::DA, &time.date)
        .text(tags::STRUCTURE_SET_TIME, VR::TM, &time.time)
        .item(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, referenced(source, &frame_of_reference))
        .items(tags::STRUCTURE_SET_ROI_SEQUENCE, rois)
        .items(tags::ROI_CONTOUR_SEQUENCE, outlined.collect())
        .items(tags::RTROI_OBSERVATIONS_SEQUENCE, each(observation))
        .text(tags::APPROVAL_STATUS, VR::CS, "UNAPPROVED");
    equipment(set)
}

/// Study, series and instances that the contours are drawn on.
fn referenced(source: &DicomSource, frame_of_reference: &str) -> Set {
    let series = Set::new()
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &source.series)
        .items(tags::CONTOUR_IMAGE_SEQUENCE, references(&source.instances()));
    // Detached Study Management, retired, is what the standard keeps for this place.
    let study = references(&[("1.2.840.10008.3.1.2.3.1", &source.study())])
        .remove(0)
        .item(tags::RT_REFERENCED_SERIES_SEQUENCE, series);
    Set::new()
        .text(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference)
        .item(tags::RT_REFERENCED_STUDY_SEQUENCE, study)
}

fn roi(segment: &DicomSegment, frame_of_reference: &str) -> Set {
    let mut set = Set::new()
        .integers(tags::ROI_NUMBER, &[segment.label.into()])
        .text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference)
        .text(tags::ROI_NAME, VR::LO, &segment.name)
        .text(tags::ROI_GENERATION_ALGORITHM, VR::CS, &segment.algorithm_type);
    if segment.algorithm_type != "MANUAL" {
        set = set.text(tags::ROI_GENERATION_DESCRIPTION, VR::LO, &segment.algorithm);
    }
    if !segment.description.is_empty() {
        set = set.text(tags::ROI_DESCRIPTION, VR::ST, &segment.description);
    }
    set
}

fn roi_contour(source: &DicomSource, segment: &DicomSegment, contours: &[Contour]) -> Set {
    let set = Set::new()
        .integers(tags::REFERENCED_ROI_NUMBER, &[segment.label.into()])
        .integers(tags::ROI_DISPLAY_COLOR, &segment.colour.map(i64::from));
    if contours.is_empty() {
        return set;
    }
    let items = (1..).zip(contours).map(|(number, contour)| {
        Set::new()
            .integers(tags::CONTOUR_NUMBER, &[number])
            .item(tags::CONTOUR_IMAGE_SEQUENCE, image(&source.slices[contour.slice]))
            .text(tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "CLOSED_PLANAR")
            .integers(tags::NUMBER_OF_CONTOUR_POINTS, &[contour.points as i64])
            .text(tags::CONTOUR_DATA, VR::DS, &contour.data)
    });
    set.items(tags::CONTOUR_SEQUENCE, items.collect())
}

fn image(slice: &SourceSlice) -> Set {
    let image = references(&[(&slice.class, &slice.instance)]).remove(0);
    match slice.frame {
        Some(frame) => image.integers(tags::REFERENCED_FRAME_NUMBER, &[frame.into()]),
        None => image,
    }
}

fn observation(segment: &DicomSegment) -> Set {
    let mut kind = coded(&segment.kind);
    if let Some(modifier) = &segment.modifier {
        kind = kind.code(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, modifier);
    }
    Set::new()
        .integers(tags::OBSERVATION_NUMBER, &[segment.label.into()])
        .integers(tags::REFERENCED_ROI_NUMBER, &[segment.label.into()])
        .code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category)
        .item(tags::RTROI_IDENTIFICATION_CODE_SEQUENCE, kind)
        .text(tags::RTROI_INTERPRETED_TYPE, VR::CS, interpreted_type(segment))
        .empty(tags::ROI_INTERPRETER, VR::PN)
}

fn interpreted_type(segment: &DicomSegment) -> &str {
    let anatomy = ["123037004", "91723000"].contains(&segment.category.value.as_str());
    match segment.interpreted_type.as_str() {
        "" if anatomy && segment.category.scheme == "SCT" => "ORGAN",
        given => given,
    }
}
