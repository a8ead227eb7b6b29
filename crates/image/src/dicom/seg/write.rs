use std::collections::BTreeSet;
use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use ndarray::{ArrayView2, ArrayView4, Axis};

use crate::dicom::build::{Set, equipment, new_uid, write};
use crate::dicom::colour::to_lab;
use crate::dicom::grid::place;
use crate::dicom::source::references;
use crate::dicom::{DicomCode, DicomSegment, DicomSource, DicomTime, place_labels};
use crate::{Geometry, ImageError, LabelMap};

/// The largest fraction.
const MOST: u8 = 255;

/// What a SEG or RTSTRUCT file says beside its voxels.
#[derive(Debug, Clone)]
pub struct SegOptions {
    /// The segments; in a SEG file they are numbered from 1 in this order, in an RTSTRUCT file their numbers are their labels.
    pub segments: Vec<DicomSegment>,
    /// Series Description, (0008,103E).
    pub description: String,
    /// Series Number, (0020,0011).
    pub number: u32,
    /// Date and time of making.
    pub time: DicomTime,
}

impl SegOptions {
    /// These segments, made now.
    pub fn new(segments: Vec<DicomSegment>) -> Self {
        Self { segments, description: "Segmentation".to_owned(), number: 300, time: DicomTime::now() }
    }

    /// Which segment is that of a label in a slice.
    pub(in crate::dicom) fn place_of(
        &self,
        path: &Path,
        label: i16,
        slice: usize,
    ) -> Result<usize, ImageError> {
        self.segments.iter().position(|segment| segment.label == label).ok_or_else(|| {
            ImageError::format(path, format!("label {label} of slice {slice} is not among the segments"))
        })
    }
}

/// One frame: its segment, its slice, and its pixels as they are kept.
type Frame = (usize, usize);

/// Writes a label map as a DICOM SEG file of type BINARY, a segment per entry of `options.segments`, a frame for each segment and
/// slice where the segment is. The label map must have the voxels of the source series, in any order of axes.
///
/// # Errors
/// A label without a segment, voxels other than those of the series, or a file that cannot be written.
pub fn write_dicom_seg(
    path: &Path,
    labels: &LabelMap,
    source: &DicomSource,
    options: &SegOptions,
) -> Result<(), ImageError> {
    check(path, options)?;
    let labels = place_labels(labels, &source.geometry, source.shape)?;
    let mut frames: Vec<Frame> = Vec::new();
    for (z, slice) in labels.data.axis_iter(Axis(0)).enumerate() {
        let present: BTreeSet<i16> = slice.iter().copied().filter(|&label| label != 0).collect();
        for label in present {
            frames.push((options.place_of(path, label, z)?, z));
        }
    }
    let frames = in_order(frames, source);
    let slice = source.shape[1] * source.shape[2];
    let mut bits = vec![0u8; (frames.len() * slice).div_ceil(8)];
    for (number, &(segment, z)) in frames.iter().enumerate() {
        let label = options.segments[segment].label;
        pack(labels.data.index_axis(Axis(0), z), label, number * slice, &mut bits);
    }
    let set = common(source, options, &frames, &bits)
        .text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY")
        .text(tags::SEGMENTS_OVERLAP, VR::CS, "NO")
        .shorts(tags::BITS_ALLOCATED, &[1])
        .shorts(tags::BITS_STORED, &[1])
        .shorts(tags::HIGH_BIT, &[0])
        .bytes(tags::PIXEL_DATA, bits);
    write(path, set)
}

/// Writes probabilities `(segment, z, y, x)` from 0 to 1 on the grid of the series as a DICOM SEG file of type FRACTIONAL, in 255
/// steps, one channel per entry of `options.segments`.
///
/// # Errors
/// Another shape, or a file that cannot be written.
pub fn write_dicom_seg_fractional(
    path: &Path,
    probabilities: ArrayView4<'_, f32>,
    source: &DicomSource,
    options: &SegOptions,
) -> Result<(), ImageError> {
    let steps = probabilities.mapv(dicom_seg_step);
    write_dicom_seg_steps(path, steps.view(), &source.geometry, source, options)
}

/// A probability in the steps of [`write_dicom_seg_steps`]: 0 to 255 for 0 to 1.
pub fn dicom_seg_step(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * f32::from(MOST)).round() as u8
}

/// As [`write_dicom_seg_fractional`], for probabilities that are already in steps from 0 to 255, on any grid (`geometry`) that has
/// the voxels of the series in another order of axes.
///
/// # Errors
/// Another shape, voxels other than those of the series, or a file that cannot be written.
pub fn write_dicom_seg_steps(
    path: &Path,
    steps: ArrayView4<'_, u8>,
    geometry: &Geometry,
    source: &DicomSource,
    options: &SegOptions,
) -> Result<(), ImageError> {
    check(path, options)?;
    let [depth, rows, columns] = source.shape;
    let mut expected = [depth, rows, columns];
    let mut found: [usize; 3] = std::array::from_fn(|axis| steps.shape()[axis + 1]);
    let shapes = (steps.shape()[0], found);
    expected.sort_unstable();
    found.sort_unstable();
    if (shapes.0, found) != (options.segments.len(), expected) {
        let reason = format!(
            "probabilities of {} segments and {:?} voxels, expected {} and {:?}",
            shapes.0,
            shapes.1,
            options.segments.len(),
            source.shape
        );
        return Err(ImageError::format(path, reason));
    }
    let mut frames: Vec<Frame> = Vec::new();
    let mut bytes = Vec::new();
    for (segment, volume) in steps.outer_iter().enumerate() {
        let volume = place(volume, geometry, &source.geometry, source.shape)?;
        for (z, slice) in volume.outer_iter().enumerate().filter(|(_, slice)| slice.iter().any(|&v| v > 0)) {
            frames.push((segment, z));
            bytes.extend(slice.iter().copied());
        }
    }
    if frames.is_empty() {
        frames = in_order(frames, source);
        bytes.resize(frames.len() * rows * columns, 0);
    }
    let set = common(source, options, &frames, &bytes)
        .text(tags::SEGMENTATION_TYPE, VR::CS, "FRACTIONAL")
        .text(tags::SEGMENTATION_FRACTIONAL_TYPE, VR::CS, "PROBABILITY")
        .shorts(tags::MAXIMUM_FRACTIONAL_VALUE, &[MOST.into()])
        .text(tags::SEGMENTS_OVERLAP, VR::CS, "YES")
        .shorts(tags::BITS_ALLOCATED, &[8])
        .shorts(tags::BITS_STORED, &[8])
        .shorts(tags::HIGH_BIT, &[7])
        .bytes(tags::PIXEL_DATA, bytes);
    write(path, set)
}

fn check(path: &Path, options: &SegOptions) -> Result<(), ImageError> {
    let count = options.segments.len();
    if (1..=usize::from(u16::MAX)).contains(&count) {
        return Ok(());
    }
    Err(ImageError::format(path, format!("expected 1 to {} segments, found {count}", u16::MAX)))
}

/// Frames by segment and slice; where there is nothing, those of the first segment, as a file without frames is not sound.
fn in_order(mut frames: Vec<Frame>, source: &DicomSource) -> Vec<Frame> {
    if frames.is_empty() {
        frames.extend((0..source.shape[0]).map(|z| (0, z)));
    }
    frames.sort_unstable();
    frames
}

/// Sets the bits of a label, the lowest bit of each byte first.
fn pack(slice: ArrayView2<'_, i16>, label: i16, start: usize, bits: &mut [u8]) {
    for (number, _) in slice.iter().enumerate().filter(|(_, value)| **value == label) {
        let at = start + number;
        bits[at / 8] |= 1 << (at % 8);
    }
}

/// Everything but what depends on the type.
fn common(source: &DicomSource, options: &SegOptions, frames: &[Frame], pixels: &[u8]) -> Set {
    let SegOptions { time, description, .. } = options;
    let uid = |kind: &str| new_uid(&[&kind, &source.series, &time.date, &time.time, description, &pixels]);
    let [_, rows, columns] = source.shape.map(|n| n as u16);
    let (series, instance, dimensions) = (uid("series"), uid("instance"), uid("dimensions"));
    let set = source
        .begin()
        .text(tags::SOP_CLASS_UID, VR::UI, super::SEGMENTATION)
        .text(tags::SOP_INSTANCE_UID, VR::UI, &instance)
        .text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY")
        .text(tags::CONTENT_DATE, VR::DA, &time.date)
        .text(tags::CONTENT_TIME, VR::TM, &time.time)
        .text(tags::SERIES_DATE, VR::DA, &time.date)
        .text(tags::SERIES_TIME, VR::TM, &time.time)
        .text(tags::MODALITY, VR::CS, "SEG")
        .text(tags::SERIES_DESCRIPTION, VR::LO, description)
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &series)
        .integers(tags::SERIES_NUMBER, &[options.number.into()])
        .integers(tags::INSTANCE_NUMBER, &[1])
        .text(tags::CONTENT_LABEL, VR::CS, "SEGMENTATION")
        .empty(tags::CONTENT_DESCRIPTION, VR::LO)
        .empty(tags::CONTENT_CREATOR_NAME, VR::PN)
        .shorts(tags::SAMPLES_PER_PIXEL, &[1])
        .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2")
        .shorts(tags::PIXEL_REPRESENTATION, &[0])
        .shorts(tags::ROWS, &[rows])
        .shorts(tags::COLUMNS, &[columns])
        .integers(tags::NUMBER_OF_FRAMES, &[frames.len() as i64])
        .items(tags::SEGMENT_SEQUENCE, (1..).zip(&options.segments).map(|(n, s)| segment(n, s)).collect())
        .item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, shared(source))
        .items(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            frames.iter().map(|frame| functional_groups(source, *frame)).collect(),
        )
        .items(tags::REFERENCED_SERIES_SEQUENCE, vec![referenced_series(source)]);
    source.losses(dimension(equipment(set), &dimensions))
}

/// Frames are told apart by segment and place.
fn dimension(set: Set, uid: &str) -> Set {
    let index = |pointer: dicom_core::Tag, group: dicom_core::Tag, name: &str| {
        let mut index = Set::new().text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, uid).text(
            tags::DIMENSION_DESCRIPTION_LABEL,
            VR::LO,
            name,
        );
        for (tag, value) in
            [(tags::DIMENSION_INDEX_POINTER, pointer), (tags::FUNCTIONAL_GROUP_POINTER, group)]
        {
            index.0.put(dicom_core::DataElement::new(tag, VR::AT, dicom_core::PrimitiveValue::from(value)));
        }
        index
    };
    let organization = Set::new().text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, uid);
    let segment = index(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment");
    let place = index(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Position");
    set.item(tags::DIMENSION_ORGANIZATION_SEQUENCE, organization)
        .items(tags::DIMENSION_INDEX_SEQUENCE, vec![segment, place])
}

fn segment(number: u16, segment: &DicomSegment) -> Set {
    let intelligence = DicomCode::new("123110", "DCM", "Artificial Intelligence");
    let algorithm = Set::new()
        .code(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &intelligence)
        .text(tags::ALGORITHM_NAME, VR::LO, &segment.algorithm)
        .text(tags::ALGORITHM_VERSION, VR::LO, env!("CARGO_PKG_VERSION"));
    let mut set = Set::new()
        .shorts(tags::SEGMENT_NUMBER, &[number])
        .text(tags::SEGMENT_LABEL, VR::LO, &segment.name)
        .text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, &segment.algorithm_type)
        .code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category)
        .shorts(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &to_lab(segment.colour));
    let mut kind = crate::dicom::build::coded(&segment.kind);
    if let Some(modifier) = &segment.modifier {
        kind = kind.code(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, modifier);
    }
    set = set.item(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, kind);
    if segment.algorithm_type != "MANUAL" {
        set = set
            .text(tags::SEGMENT_ALGORITHM_NAME, VR::LO, &segment.algorithm)
            .item(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, algorithm);
    }
    if !segment.description.is_empty() {
        set = set.text(tags::SEGMENT_DESCRIPTION, VR::ST, &segment.description);
    }
    if let Some(region) = &segment.region {
        set = set.code(tags::ANATOMIC_REGION_SEQUENCE, region);
    }
    set
}

/// What all frames share: orientation and spacing.
fn shared(source: &DicomSource) -> Set {
    let direction = &source.geometry.direction;
    let [step, rows, columns] = source.geometry.spacing;
    let axes: Vec<f64> = (0..2).flat_map(|k| direction.map(|row| row[k])).collect();
    let measures = Set::new()
        .decimals(tags::SLICE_THICKNESS, &[step])
        .decimals(tags::SPACING_BETWEEN_SLICES, &[step])
        .decimals(tags::PIXEL_SPACING, &[rows, columns]);
    Set::new()
        .item(tags::PLANE_ORIENTATION_SEQUENCE, Set::new().decimals(tags::IMAGE_ORIENTATION_PATIENT, &axes))
        .item(tags::PIXEL_MEASURES_SEQUENCE, measures)
}

fn functional_groups(source: &DicomSource, (segment, z): Frame) -> Set {
    let slice = &source.slices[z];
    let content = Set::new().longs(tags::DIMENSION_INDEX_VALUES, &[segment as u32 + 1, z as u32 + 1]);
    let number = Set::new().shorts(tags::REFERENCED_SEGMENT_NUMBER, &[segment as u16 + 1]);
    let mut image = references(&[(&slice.class, &slice.instance)]).remove(0).code(
        tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
        &DicomCode::new("121322", "DCM", "Source image for image processing operation"),
    );
    image = image.text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
    if let Some(frame) = slice.frame {
        image = image.integers(tags::REFERENCED_FRAME_NUMBER, &[frame.into()]);
    }
    let derivation = Set::new()
        .code(tags::DERIVATION_CODE_SEQUENCE, &DicomCode::new("113076", "DCM", "Segmentation"))
        .item(tags::SOURCE_IMAGE_SEQUENCE, image);
    let place = Set::new().decimals(tags::IMAGE_POSITION_PATIENT, &slice.position);
    Set::new()
        .item(tags::FRAME_CONTENT_SEQUENCE, content)
        .item(tags::PLANE_POSITION_SEQUENCE, place)
        .item(tags::SEGMENT_IDENTIFICATION_SEQUENCE, number)
        .item(tags::DERIVATION_IMAGE_SEQUENCE, derivation)
}

fn referenced_series(source: &DicomSource) -> Set {
    Set::new()
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &source.series)
        .items(tags::REFERENCED_INSTANCE_SEQUENCE, references(&source.instances()))
}
