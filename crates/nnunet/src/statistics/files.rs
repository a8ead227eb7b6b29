//! Which files belong together, and whether they lie in the same place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnunet_fingerprint::list_cases;
use nnunet_image::{CaseReader, ImageError, channel_geometries, check_channel_places, reader_for};

use super::{CaseImages, StatisticsRequest};
use crate::Error;

/// A label file with its images.
pub(super) struct CaseFiles {
    pub(super) case: String,
    pub(super) labels: PathBuf,
    pub(super) images: Vec<PathBuf>,
}

/// Name of a file without and with its ending: the longest one that there is a reader for.
fn ending(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    if let Some(stem) = name.strip_suffix(".dcm").filter(|stem| cfg!(feature = "dicom") && !stem.is_empty()) {
        return Some((stem.to_owned(), ".dcm".to_owned()));
    }
    let dots = name.match_indices('.').map(|(at, _)| at);
    let at = dots.into_iter().find(|&at| at > 0 && reader_for(&name[at..], None).is_ok())?;
    Some((name[..at].to_owned(), name[at..].to_owned()))
}

/// The reader of a file by its ending.
///
/// # Errors
/// The file is missing, or there is no reader for it.
pub(crate) fn reader_of(path: &Path) -> Result<Arc<dyn CaseReader>, Error> {
    if !path.is_file() {
        return Err(Error::Missing {
            what: "label file",
            path: path.to_owned(),
            hint: "expected an image file with one label per voxel",
        });
    }
    let ending = ending(path).map_or_else(|| path.display().to_string(), |(_, ending)| ending);
    // Both kinds of TIFF, pictures and stacks, have the same ending.
    let example = ending.to_lowercase().starts_with(".tif").then_some(path);
    Ok(reader_for(&ending, example)?)
}

/// All label files of a request.
pub(super) fn find_cases(request: &StatisticsRequest) -> Result<Vec<CaseFiles>, Error> {
    let mut labels = Vec::new();
    for path in &request.labels {
        if path.is_dir() {
            labels.extend(label_files(path)?);
        } else {
            labels.push(path.clone());
        }
    }
    if let (CaseImages::Files(images), [_, _, ..]) = (&request.images, labels.as_slice()) {
        return Err(Error::Invalid(format!(
            "{} image files for {} label files, expected one label file: give the folder of the images instead",
            images.len(),
            labels.len()
        )));
    }
    labels.into_iter().map(|path| case(path, &request.images)).collect()
}

fn case(labels: PathBuf, images: &CaseImages) -> Result<CaseFiles, Error> {
    let (case, ending) = ending(&labels).unwrap_or_else(|| (labels.display().to_string(), String::new()));
    let images = match images {
        CaseImages::None => Vec::new(),
        CaseImages::Files(images) => images.clone(),
        // The series that a DICOM SEG file names is looked for when it is read.
        CaseImages::Folder(folder) if ending == ".dcm" => vec![folder.clone()],
        CaseImages::Folder(folder) => {
            let found = list_cases(folder, &ending)?.into_iter().find(|(id, _)| *id == case);
            found.map(|(_, files)| files).filter(|files| !files.is_empty()).ok_or_else(|| Error::Missing {
                what: "image of a label file",
                path: folder.join(format!("{case}_0000{ending}")),
                hint: "expected one image per channel, named after the label file and _0000, _0001, …",
            })?
        }
    };
    if let Some(missing) = images.iter().find(|path| !path.exists()) {
        let hint = "expected the image of the label file";
        return Err(Error::Missing { what: "image", path: missing.clone(), hint });
    }
    Ok(CaseFiles { case, labels, images })
}

/// The files of a folder that there is a reader for, by name.
fn label_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() && ending(&path).is_some_and(|(stem, _)| !stem.starts_with('.')) {
            files.push(path);
        }
    }
    // Predictions may be there as DICOM SEG files and as images, with probabilities beside them.
    let stems: Vec<Option<(String, String)>> = files.iter().map(|path| ending(path)).collect();
    let is_there = |stem: &str, seg: bool| {
        stems.iter().flatten().any(|(other, kind)| other == stem && (seg || kind != ".dcm"))
    };
    let again = |(stem, kind): &(String, String)| {
        let case = stem.split_once("_probabilities").map(|(case, _)| case);
        case.is_some_and(|case| is_there(case, true)) || (kind == ".dcm" && is_there(stem, false))
    };
    let mut kept = stems.iter().map(|found| !found.as_ref().is_some_and(again));
    files.retain(|_| kept.next().unwrap_or(true));
    if files.is_empty() {
        return Err(Error::Missing {
            what: "label file",
            path: folder.to_owned(),
            hint: "expected a folder of segmentations",
        });
    }
    files.sort();
    Ok(files)
}

/// Refuses images whose grid is not that of the labels: other shapes or spacings, or voxels that lie more than half a voxel's
/// smallest edge elsewhere.
pub(crate) fn check_grids(reader: &dyn CaseReader, labels: &Path, images: &[PathBuf]) -> Result<(), Error> {
    let all: Vec<PathBuf> = std::iter::once(labels.to_owned()).chain(images.iter().cloned()).collect();
    if all.len() < 2 {
        return Ok(());
    }
    let grids = channel_geometries(reader, &all)?;
    let (shape, geometry) = &grids[0];
    for (path, (found, other)) in all.iter().zip(&grids).skip(1) {
        let differs = |what, expected: String, found: String| ImageError::Mismatch {
            what,
            first: labels.to_owned(),
            other: path.clone(),
            expected,
            found,
        };
        if found[1..] != shape[1..] {
            let text = |shape: &[usize]| format!("{shape:?}");
            return Err(differs("shape (z, y, x)", text(&shape[1..]), text(&found[1..])).into());
        }
        if !other.same_spacing(geometry) {
            let text = |spacing: [f64; 3]| format!("{spacing:?}");
            return Err(
                differs("spacing (z, y, x) in mm", text(geometry.spacing), text(other.spacing)).into()
            );
        }
    }
    Ok(check_channel_places(reader, &all)?)
}
