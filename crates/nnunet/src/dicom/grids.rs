//! Labels and images of which some are DICOM, on one grid.

use std::path::{Path, PathBuf};

use nnunet_fingerprint::{DatasetJson, LabelValue};
use nnunet_image::{
    DicomFolder, DicomSeg, DicomSelector, Image, ImageError, LabelMap, is_dicom, place_labels,
    read_dicom_channels, read_dicom_seg,
};

use crate::Error;
use crate::statistics::reader_of;

/// Reads labels, an image file or a DICOM SEG file, and their image: a file per channel, or a DICOM series per channel, each a
/// folder with it or a file of several frames. Nothing where neither is DICOM.
///
/// # Errors
/// A file that cannot be read, or labels with other voxels than their image.
pub(crate) fn read_pair(
    labels: &Path,
    images: &[PathBuf],
    dataset: Option<&DatasetJson>,
) -> Result<Option<(LabelMap, Option<Image>)>, Error> {
    let is_seg = labels.is_file() && is_dicom(labels)?;
    let is_series = |path: &PathBuf| Ok::<_, Error>(path.is_dir() || (path.is_file() && is_dicom(path)?));
    let series = images.iter().map(is_series).collect::<Result<Vec<_>, _>>()?;
    if !is_seg && !series.contains(&true) {
        return Ok(None);
    }
    let mut seg = if is_seg { Some(read_dicom_seg(labels)?) } else { None };
    let image = if images.is_empty() {
        None
    } else if series.contains(&true) {
        let wanted = seg.as_ref().filter(|_| images.len() == 1).and_then(|seg| seg.series.clone());
        let files: Vec<_> =
            images.iter().map(|path| files(path, wanted.clone())).collect::<Result<_, _>>()?;
        Some(read_dicom_channels(&files)?.image)
    } else {
        Some(reader_of(&images[0])?.read_images(images)?)
    };
    let shape = |image: &Image| {
        let (_, z, y, x) = image.data.dim();
        [z, y, x]
    };
    let found = match (&mut seg, &image) {
        (Some(seg), image) => {
            if let Some(dataset) = dataset {
                let _ = number_by_name(seg, dataset);
            }
            match image {
                Some(image) => seg.to_labels_on(&image.geometry, shape(image))?,
                None => seg.to_labels()?,
            }
        }
        (None, Some(image)) => {
            place_labels(&reader_of(labels)?.read_labels(labels)?, &image.geometry, shape(image))
                .map_err(|error| ImageError::Format { path: labels.to_owned(), reason: error.to_string() })?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some((found, image)))
}

/// The files of the series `wanted`, if it is there, or else of the only one.
fn files(path: &Path, wanted: Option<String>) -> Result<Vec<PathBuf>, Error> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let found = DicomFolder::read_below(path)?;
    let wanted = wanted.filter(|uid| found.series.iter().any(|series| series.uid == *uid)).map(DicomSelector);
    Ok(found.choose(wanted.as_ref(), path)?.files.clone())
}

/// The label that a name of `dataset.json` stands for, if it is no region.
pub(super) fn single_label(value: &LabelValue) -> Option<i16> {
    match value.labels() {
        [label] => i16::try_from(*label).ok(),
        _ => None,
    }
}

/// Gives segments the labels that `dataset.json` gives their names. The error is the first name that it lacks; those that it
/// knows have their labels all the same.
pub(super) fn number_by_name(seg: &mut DicomSeg, dataset: &DatasetJson) -> Result<(), String> {
    let mut unknown = None;
    for segment in &mut seg.segments {
        match dataset.labels.get(&segment.name).and_then(single_label) {
            Some(label) => segment.label = label,
            None => unknown = unknown.or_else(|| Some(segment.name.clone())),
        }
    }
    unknown.map_or(Ok(()), Err)
}
