//! DICOM series through a model, and to and from other files.

mod grids;
mod predict;
mod segments;
mod structures;

use std::path::{Path, PathBuf};

use nnunet_fingerprint::DatasetJson;
use nnunet_image::{
    DicomFolder, DicomSelector, DicomSource, LabelMap, SegOptions, read_dicom_seg, read_dicom_source,
    read_dicom_volume, reader_by_name, write_dicom_seg, write_image,
};

pub(crate) use grids::read_pair;
pub use predict::{holds_dicom, predict_dicom};
use segments::Terms;
pub use structures::{RoiChoice, labels_to_structures, structures_to_labels};

use crate::{Error, PredictRequest};

/// What is written about a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DicomOutput {
    /// `<case>.nii.gz`.
    Nifti,
    /// `<case>.dcm`, a DICOM SEG file.
    Seg,
    /// `<case>_rtstruct.dcm`, an RT Structure Set file.
    Structures,
}

/// Which series to segment and what to write about them.
#[derive(Debug, Clone)]
pub struct DicomPredictRequest {
    /// Model and options; its input is one folder with DICOM series, itself or below.
    pub predict: PredictRequest,
    /// The series of each study, one per channel of the model in order; none if every study has one image series alone.
    pub series: Vec<DicomSelector>,
    /// What is written.
    pub outputs: Vec<DicomOutput>,
    /// With [`DicomOutput::Seg`]: the probabilities of labels or regions as `<case>_probabilities.dcm`, DICOM SEG of type FRACTIONAL.
    pub fractional: bool,
    /// Mapping file with coded terms per label for DICOM SEG, kept in NIfTI files too; see
    /// [`LabelMapping`](crate::LabelMapping).
    pub codes: Option<PathBuf>,
}

fn chosen(folder: &Path, series: Option<&DicomSelector>) -> Result<Vec<PathBuf>, Error> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    Ok(DicomFolder::read_below(folder)?.choose(series, folder)?.files.clone())
}

/// Writes a DICOM series as an image file.
///
/// # Errors
/// No or several such series in the folder or below, or one that cannot be read; an output that cannot be written.
pub fn dicom_to_image(folder: &Path, series: Option<&DicomSelector>, output: &Path) -> Result<(), Error> {
    let volume = read_dicom_volume(&chosen(folder, series)?)?;
    Ok(write_image(output, &volume.image)?)
}

/// Writes a segmentation as a DICOM SEG file about a series. `codes` is a mapping file; see [`LabelMapping`](crate::LabelMapping).
/// Labels without a term get a plain one. Names are those of the mapping, or else of `dataset`, a `dataset.json`, all of whose labels
/// get a segment, so that segments are numbered as after a prediction.
///
/// # Errors
/// As [`dicom_to_image`], or labels with other voxels than the series.
pub fn labels_to_seg(
    labels: &Path,
    folder: &Path,
    series: Option<&DicomSelector>,
    dataset: Option<&Path>,
    codes: Option<&Path>,
    output: &Path,
) -> Result<(), Error> {
    let (labels, source, options) = described(labels, (folder, series), dataset, codes)?;
    Ok(write_dicom_seg(output, &labels, &source, &options)?)
}

/// A segmentation, the series that it is about, and what is said of its labels.
fn described(
    labels: &Path,
    (folder, series): (&Path, Option<&DicomSelector>),
    dataset: Option<&Path>,
    codes: Option<&Path>,
) -> Result<(LabelMap, DicomSource, SegOptions), Error> {
    let source = read_dicom_source(&chosen(folder, series)?)?;
    let dataset = dataset.map(DatasetJson::read).transpose()?;
    let terms = Terms::read(dataset.as_ref(), codes)?;
    let labels = reader_by_name("SimpleITKIO")?.read_labels(labels)?;
    let mut numbers: std::collections::BTreeSet<i16> =
        labels.data.iter().copied().filter(|&label| label > 0).collect();
    numbers.extend(terms.known());
    if numbers.is_empty() {
        numbers.insert(1);
    }
    let segments = numbers.into_iter().map(|label| terms.of(label)).collect();
    Ok((labels, source, SegOptions::new(segments)))
}

/// Writes a DICOM SEG file as a segmentation on the grid of a series, or on the smallest that holds it. With `dataset`, segments
/// have the labels that `dataset.json` gives their names; otherwise labels are segment numbers.
///
/// # Errors
/// Files that cannot be read, segments of other voxels or, with `dataset`, of another name.
pub fn seg_to_labels(
    seg: &Path,
    series: Option<(&Path, Option<&DicomSelector>)>,
    dataset: Option<&Path>,
    output: &Path,
) -> Result<(), Error> {
    let mut read = read_dicom_seg(seg)?;
    if let Some(dataset) = dataset {
        let dataset = DatasetJson::read(dataset)?;
        grids::number_by_name(&mut read, &dataset).map_err(|name| {
            let known: Vec<&str> = dataset.labels.keys().map(String::as_str).collect();
            let place = "(0062,0005) Segment Label";
            Error::Invalid(format!("{}: {place}: {name:?} is none of {known:?}", seg.display()))
        })?;
    }
    let labels = match series {
        Some((folder, series)) => {
            let source = read_dicom_source(&chosen(folder, series)?)?;
            read.to_labels_on(source.geometry(), source.shape())?
        }
        None => read.to_labels()?,
    };
    Ok(reader_by_name("SimpleITKIO")?.write_labels(output, &labels)?)
}
