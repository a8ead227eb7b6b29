//! Segmentations as RT Structure Set files, and back.

use std::path::Path;
use std::str::FromStr;

use nnunet_fingerprint::DatasetJson;
use nnunet_image::{
    DicomSelector, DicomStructures, ImageError, RoiOverlap, read_dicom_rtstruct, read_dicom_source,
    reader_by_name, write_dicom_rtstruct,
};

use super::grids::single_label;
use super::{chosen, described};
use crate::Error;

/// Regions of interest by name or number, and their label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoiChoice {
    /// Number or name, regardless of case; `*` stands for any letters.
    pub roi: String,
    /// The label; none for the number of the region.
    pub label: Option<i16>,
}

impl FromStr for RoiChoice {
    type Err = Error;

    /// `NAME` or `NAME=LABEL`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((roi, label)) = text.rsplit_once('=') else {
            return Ok(Self { roi: text.to_owned(), label: None });
        };
        match label.trim().parse() {
            Ok(label) if label > 0 => Ok(Self { roi: roi.to_owned(), label: Some(label) }),
            _ => Err(Error::Invalid(format!(
                "{text:?}: expected NAME=LABEL with a label from 1 to 32767, found {label:?}"
            ))),
        }
    }
}

/// Writes a segmentation as an RT Structure Set file about a series: contours per label and slice. Names and codes are found as for
/// [`labels_to_seg`](crate::labels_to_seg).
///
/// # Errors
/// As there.
pub fn labels_to_structures(
    labels: &Path,
    folder: &Path,
    series: Option<&DicomSelector>,
    dataset: Option<&Path>,
    codes: Option<&Path>,
    output: &Path,
) -> Result<(), Error> {
    let (labels, source, options) = described(labels, (folder, series), dataset, codes)?;
    Ok(write_dicom_rtstruct(output, &labels, &source, &options)?)
}

/// Writes an RT Structure Set file as a segmentation on the grid of a series; the names of the regions that were left out.
///
/// With `rois`, those regions are drawn; else, with `dataset`, those with the names of labels in `dataset.json`, with these labels; else
/// all, with their numbers.
///
/// # Errors
/// Files that cannot be read, no such regions, or contours that cannot be drawn; see
/// [`DicomStructures::to_labels`](nnunet_image::DicomStructures::to_labels).
pub fn structures_to_labels(
    file: &Path,
    (folder, series): (&Path, Option<&DicomSelector>),
    rois: &[RoiChoice],
    dataset: Option<&Path>,
    overlap: RoiOverlap,
    output: &Path,
) -> Result<Vec<String>, Error> {
    let mut read = read_dicom_rtstruct(file)?;
    if !rois.is_empty() {
        let wanted: Vec<_> = rois.iter().map(|choice| (choice.roi.clone(), choice.label)).collect();
        read.choose(&wanted)?;
    } else if let Some(dataset) = dataset {
        choose_named(&mut read, file, &DatasetJson::read(dataset)?)?;
    }
    let source = read_dicom_source(&chosen(folder, series)?)?;
    let labels = read.to_labels(&source, overlap)?;
    reader_by_name("SimpleITKIO")?.write_labels(output, &labels)?;
    Ok(read.rois.iter().filter(|roi| !roi.chosen).map(|roi| roi.segment.name.clone()).collect())
}

/// Chooses the regions whose names are those of labels.
fn choose_named(read: &mut DicomStructures, file: &Path, dataset: &DatasetJson) -> Result<(), Error> {
    for roi in &mut read.rois {
        let name = roi.segment.name.trim().to_lowercase();
        let found = dataset.labels.iter().find(|(known, _)| known.to_lowercase() == name);
        let label = found.and_then(|(_, value)| single_label(value)).filter(|&label| label > 0);
        roi.chosen = label.is_some();
        roi.segment.label = label.unwrap_or(roi.segment.label);
    }
    if read.rois.iter().any(|roi| roi.chosen) {
        return Ok(());
    }
    let there: Vec<&str> = read.rois.iter().map(|roi| roi.segment.name.as_str()).collect();
    let known: Vec<&str> = dataset.labels.keys().map(String::as_str).collect();
    let reason = format!("(3006,0026) ROI Name: none of {there:?} is one of the labels {known:?}");
    Err(ImageError::Format { path: file.to_owned(), reason }.into())
}
