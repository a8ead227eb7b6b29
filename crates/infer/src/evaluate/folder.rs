use std::path::Path;

use nnunet_fingerprint::LabelRules;
use nnunet_image::{CaseReader, ImageError};
use rayon::prelude::*;

use super::{CaseSummary, Confusion, Summary};
use crate::InferError;
use crate::folder::files;

/// Compares all segmentations in a folder with the references of the same names, several cases at a time.
///
/// Scored are the foreground labels, or the regions if the data set has any; voxels that the reference says
/// to ignore do not count. With `strict`, every reference must have a prediction. The files of the summary
/// are in the order of their names.
///
/// # Errors
/// No prediction, a prediction without reference (with `strict` also the other way round), a file that cannot
/// be read, or shapes that differ.
pub fn evaluate_folder(
    reference_dir: &Path,
    prediction_dir: &Path,
    rules: &LabelRules,
    reader: &dyn CaseReader,
    file_ending: &str,
    strict: bool,
) -> Result<Summary, InferError> {
    let predictions = files(prediction_dir, file_ending)?;
    if predictions.is_empty() {
        let (folder, ending) = (prediction_dir.to_owned(), file_ending.to_owned());
        return Err(InferError::NoPredictions { folder, ending });
    }
    let references = files(reference_dir, file_ending)?;
    let lacking = |name: &String, here: &Path, there: &Path| InferError::Counterpart {
        file: here.join(name),
        missing: there.join(name),
    };
    if let Some(name) = predictions.iter().find(|name| references.binary_search(name).is_err()) {
        return Err(lacking(name, prediction_dir, reference_dir));
    }
    if strict && let Some(name) = references.iter().find(|name| predictions.binary_search(name).is_err()) {
        return Err(lacking(name, reference_dir, prediction_dir));
    }
    let cases = predictions
        .par_iter()
        .map(|name| evaluate_case(&reference_dir.join(name), &prediction_dir.join(name), rules, reader))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Summary::new(rules.foreground_classes(), cases))
}

fn evaluate_case(
    reference_file: &Path,
    prediction_file: &Path,
    rules: &LabelRules,
    reader: &dyn CaseReader,
) -> Result<CaseSummary, InferError> {
    let prediction = read(reader, prediction_file)?;
    evaluate_pair(reference_file, prediction_file, prediction, rules, reader)
}

/// Scores a segmentation that is at hand against a file; `prediction_file` is the name it goes by.
pub(crate) fn evaluate_pair(
    reference_file: &Path,
    prediction_file: &Path,
    prediction: ndarray::Array3<i16>,
    rules: &LabelRules,
    reader: &dyn CaseReader,
) -> Result<CaseSummary, InferError> {
    let reference = read(reader, reference_file)?;
    if reference.dim() != prediction.dim() {
        return Err(InferError::ShapesDiffer {
            prediction: prediction_file.to_owned(),
            prediction_shape: prediction.dim().into(),
            reference: reference_file.to_owned(),
            reference_shape: reference.dim().into(),
        });
    }
    let confusion = Confusion::count(reference.view(), prediction.view())?;
    let mut classes: Vec<_> =
        rules.foreground_classes().iter().map(|class| (class.to_string(), class)).collect();
    classes.sort_by(|a, b| a.0.cmp(&b.0));
    let metrics = classes
        .into_iter()
        .map(|(key, class)| (key, confusion.metrics(class, rules.ignore_label())))
        .collect();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(CaseSummary { metrics, prediction_file: text(prediction_file), reference_file: text(reference_file) })
}

pub(super) fn read(reader: &dyn CaseReader, path: &Path) -> Result<ndarray::Array3<i16>, ImageError> {
    Ok(reader.read_labels(path)?.data)
}
