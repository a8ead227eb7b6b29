//! A series with what is needed to write results that refer to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use ndarray::{Axis, concatenate};

use super::build::{Set, new_uid};
use super::slices::Slice;
use super::{geometry, image_of, slices_of, text};
use crate::{Geometry, Image, ImageError};

/// What goes over from the images into results: patient, study and frame of reference. Those with a kind must be there, with or
/// without a value.
const COPIED: [(Tag, Option<VR>); 32] = [
    (tags::STUDY_DATE, Some(VR::DA)),
    (tags::STUDY_TIME, Some(VR::TM)),
    (tags::ACCESSION_NUMBER, Some(VR::SH)),
    (tags::REFERRING_PHYSICIAN_NAME, Some(VR::PN)),
    (tags::STUDY_DESCRIPTION, None),
    (tags::PATIENT_NAME, Some(VR::PN)),
    (tags::PATIENT_ID, Some(VR::LO)),
    (tags::ISSUER_OF_PATIENT_ID, None),
    (tags::TYPE_OF_PATIENT_ID, None),
    (tags::PATIENT_BIRTH_DATE, Some(VR::DA)),
    (tags::PATIENT_BIRTH_TIME, None),
    (tags::PATIENT_SEX, Some(VR::CS)),
    (tags::OTHER_PATIENT_NAMES, None),
    (tags::PATIENT_AGE, None),
    (tags::PATIENT_SIZE, None),
    (tags::PATIENT_WEIGHT, None),
    (tags::PATIENT_COMMENTS, None),
    (tags::PATIENT_IDENTITY_REMOVED, None),
    (tags::DEIDENTIFICATION_METHOD, None),
    (tags::CLINICAL_TRIAL_SPONSOR_NAME, None),
    (tags::CLINICAL_TRIAL_PROTOCOL_ID, None),
    (tags::CLINICAL_TRIAL_PROTOCOL_NAME, None),
    (tags::CLINICAL_TRIAL_SITE_ID, None),
    (tags::CLINICAL_TRIAL_SITE_NAME, None),
    (tags::CLINICAL_TRIAL_SUBJECT_ID, None),
    (tags::CLINICAL_TRIAL_SUBJECT_READING_ID, None),
    (tags::CLINICAL_TRIAL_TIME_POINT_ID, None),
    (tags::CLINICAL_TRIAL_TIME_POINT_DESCRIPTION, None),
    (tags::STUDY_INSTANCE_UID, None),
    (tags::STUDY_ID, Some(VR::SH)),
    (tags::FRAME_OF_REFERENCE_UID, None),
    (tags::POSITION_REFERENCE_INDICATOR, Some(VR::LO)),
];

/// A slice of a series, as results refer to it.
#[derive(Debug, Clone)]
pub(super) struct SourceSlice {
    pub(super) class: Arc<str>,
    pub(super) instance: Arc<str>,
    /// Number of its frame, from 1, in a file of several.
    pub(super) frame: Option<u32>,
    pub(super) position: [f64; 3],
}

/// A DICOM series as an image and as what results are written beside.
#[derive(Debug, Clone)]
pub struct DicomVolume {
    /// The image, `(1, z, y, x)`, z along the normal of the slices.
    pub image: Image,
    /// What segmentations of the image refer to.
    pub source: DicomSource,
}

/// The series that a segmentation refers to: its frame, its instances, and patient and study, which are copied into results and
/// shown nowhere else.
#[derive(Clone)]
pub struct DicomSource {
    header: InMemDicomObject,
    pub(super) series: String,
    pub(super) geometry: Geometry,
    pub(super) shape: [usize; 3],
    pub(super) slices: Vec<SourceSlice>,
    /// Of a series with losses by compression: ratio and method, as far as they are given.
    lossy: Option<InMemDicomObject>,
}

impl std::fmt::Debug for DicomSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DicomSource")
            .field("series", &super::uid(&self.series))
            .field("shape", &self.shape)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

/// Reads the files of one series, in any order, with what is needed to write DICOM SEG and RTSTRUCT files about it; see
/// [`super::read_dicom_series`].
///
/// # Errors
/// As [`super::read_dicom_files`].
pub fn read_dicom_volume(files: &[PathBuf]) -> Result<DicomVolume, ImageError> {
    let (slices, first) = slices_of(files)?;
    let (order, geometry) = geometry::arrange(&slices)?;
    let source = DicomSource::of(&first, &order, &geometry);
    Ok(DicomVolume { image: image_of(&order, geometry)?, source })
}

/// Reads several series with the same voxels as the channels of one image: the files of each, in any order. What results refer to
/// is the first.
///
/// # Errors
/// As [`read_dicom_volume`], or series of another shape or whose voxels lie more than a tenth of a voxel elsewhere.
pub fn read_dicom_channels(channels: &[Vec<PathBuf>]) -> Result<DicomVolume, ImageError> {
    let mut volumes = channels.iter().map(|files| read_dicom_volume(files));
    let mut all = volumes.next().unwrap_or_else(|| read_dicom_volume(&[]))?;
    let least = all.image.geometry.spacing.into_iter().fold(f64::MAX, f64::min);
    for (files, volume) in channels.iter().skip(1).zip(volumes) {
        let DicomVolume { image, source } = volume?;
        let apart = all.image.geometry.largest_distance(&image.geometry, all.source.shape);
        if source.shape != all.source.shape || apart > 0.1 * least {
            let expected = channels[0].first().map(|file| file.display().to_string()).unwrap_or_default();
            let reason = format!(
                "(0020,0032) Image Position (Patient): the series has other voxels than that of {expected}"
            );
            return Err(ImageError::format(files.first().map_or(Path::new(""), PathBuf::as_path), reason));
        }
        let joined = concatenate(Axis(0), &[all.image.data.view(), image.data.view()]);
        all.image.data = joined.map_err(|e| ImageError::Orientation(e.to_string()))?;
    }
    Ok(all)
}

/// As [`read_dicom_volume`], without reading the values of the images.
///
/// # Errors
/// As [`read_dicom_volume`], but for what is wrong with values.
pub fn read_dicom_source(files: &[PathBuf]) -> Result<DicomSource, ImageError> {
    let (slices, first) = slices_of(files)?;
    let (order, geometry) = geometry::arrange(&slices)?;
    Ok(DicomSource::of(&first, &order, &geometry))
}

impl DicomSource {
    fn of(first: &DefaultDicomObject, order: &[&Slice], geometry: &Geometry) -> Self {
        let mut header = InMemDicomObject::new_empty();
        for (tag, kind) in COPIED {
            match (first.get(tag), kind) {
                (Some(element), _) if element.value().primitive().is_some() => {
                    header.put(element.clone());
                }
                (_, Some(vr)) => header = Set(header).empty(tag, vr).0,
                _ => {}
            }
        }
        let series = text(first, tags::SERIES_INSTANCE_UID);
        let own = |tag: Tag, kind: &str| {
            let found = text(first, tag);
            if found.is_empty() { new_uid(&[&kind, &series]) } else { found }
        };
        let study = own(tags::STUDY_INSTANCE_UID, "study");
        let frame_of_reference = own(tags::FRAME_OF_REFERENCE_UID, "frame of reference");
        let header = Set(header)
            .text(tags::STUDY_INSTANCE_UID, VR::UI, &study)
            .text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference)
            .0;
        let slices = order.iter().map(|slice| SourceSlice {
            class: slice.class.clone(),
            instance: slice.instance.clone(),
            frame: (slice.frames > 1).then_some(slice.frame + 1),
            position: slice.position,
        });
        let shape = [order.len(), order[0].rows as usize, order[0].columns as usize];
        let lossy = (text(first, tags::LOSSY_IMAGE_COMPRESSION) == "01").then(|| lossy(first));
        let slices = slices.collect();
        Self { header, series, geometry: geometry.clone(), shape, slices, lossy }
    }

    /// Where the voxels of the series lie.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Slices, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Series Instance UID, (0020,000E).
    pub fn series(&self) -> &str {
        &self.series
    }

    /// Study Instance UID, (0020,000D).
    pub(super) fn study(&self) -> String {
        super::text(&self.header, tags::STUDY_INSTANCE_UID)
    }

    /// Frame of Reference UID, (0020,0052).
    pub(super) fn frame_of_reference(&self) -> String {
        super::text(&self.header, tags::FRAME_OF_REFERENCE_UID)
    }

    /// A data set that begins with patient, study and frame of reference.
    pub(super) fn begin(&self) -> Set {
        Set(self.header.clone())
    }

    /// Says what losses the images have had.
    pub(super) fn losses(&self, mut set: Set) -> Set {
        let Some(lossy) = &self.lossy else {
            return set.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
        };
        lossy.iter().for_each(|element| {
            set.0.put(element.clone());
        });
        set
    }

    /// References to the instances, one per file.
    pub(super) fn instances(&self) -> Vec<(&str, &str)> {
        let mut list: Vec<(&str, &str)> = self.slices.iter().map(|s| (&*s.class, &*s.instance)).collect();
        let mut seen = std::collections::HashSet::new();
        list.retain(|pair| seen.insert(*pair));
        list
    }
}

fn lossy(first: &DefaultDicomObject) -> InMemDicomObject {
    let kept = [
        tags::LOSSY_IMAGE_COMPRESSION,
        tags::LOSSY_IMAGE_COMPRESSION_RATIO,
        tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    ];
    InMemDicomObject::from_element_iter(kept.iter().filter_map(|&tag| first.get(tag).cloned()))
}

/// References to instances: class and UID of each.
pub(super) fn references(list: &[(&str, &str)]) -> Vec<Set> {
    let one = |&(class, instance): &(&str, &str)| {
        Set::new().text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class).text(
            tags::REFERENCED_SOP_INSTANCE_UID,
            VR::UI,
            instance,
        )
    };
    list.iter().map(one).collect()
}
