//! What is done to folders of predictions.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnunet_fingerprint::{DatasetJson, LabelRules};
use nnunet_image::{
    CaseReader, NiftiExtension, Progress, nifti_extensions, reader_by_name, reader_for, set_nifti_extensions,
};
use nnunet_infer::{
    Ensemble, InferError, Postprocessing, PostprocessingReport, copy_descriptions, ensemble_cases,
};
use nnunet_plan::Plans;

use crate::Error;

/// The files that describe predictions: labels and file format.
pub(crate) struct Description {
    pub(crate) rules: LabelRules,
    pub(crate) reader: Arc<dyn CaseReader>,
    pub(crate) file_ending: String,
}

impl Description {
    /// From `dataset.json` and, for the reader, `plans.json`; where they are not given, those of `folder`. Without plans the
    /// file ending decides about the reader.
    pub(crate) fn read(folder: &Path, plans: Option<&Path>, dataset: Option<&Path>) -> Result<Self, Error> {
        let dataset_file = dataset.map_or_else(|| folder.join("dataset.json"), Path::to_owned);
        if !dataset_file.is_file() {
            return Err(Error::Missing {
                what: "dataset.json",
                path: dataset_file,
                hint: "prediction leaves it beside the segmentations; otherwise give --dataset-json FILE",
            });
        }
        let dataset = DatasetJson::read(&dataset_file)?;
        let plans_file = plans.map_or_else(|| folder.join("plans.json"), Path::to_owned);
        let reader = if plans.is_some() || plans_file.is_file() {
            reader_by_name(&Plans::read(&plans_file)?.image_reader_writer)?
        } else {
            reader_for(&dataset.file_ending, None)?
        };
        Ok(Self { rules: dataset.label_rules()?, reader, file_ending: dataset.file_ending })
    }
}

pub(crate) fn all_done(failed: Vec<(String, InferError)>, total: usize) -> Result<(), Error> {
    if failed.is_empty() {
        return Ok(());
    }
    let failed = failed.into_iter().map(|(case, error)| (case, error.to_string())).collect();
    Err(Error::Cases { failed, total })
}

/// Averages the probabilities that folders of predictions hold and writes the segmentations; labels, file format and
/// geometry are those of the first folder. Returns the number of cases.
///
/// # Errors
/// Folders with different cases, no `dataset.json`, or cases that failed; the others are written.
pub fn ensemble(
    folders: &[PathBuf],
    output: &Path,
    save_probabilities: bool,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<usize, Error> {
    let Some(first) = folders.first() else {
        return Err(Error::Invalid("no folder to ensemble".to_owned()));
    };
    let Description { rules, reader, file_ending } = Description::read(first, None, None)?;
    let cases = ensemble_cases(folders)?;
    let ensemble =
        Ensemble { rules: &rules, reader: reader.as_ref(), file_ending: &file_ending, save_probabilities };
    let failed = ensemble.run(&cases, output, progress)?;
    copy_descriptions(first, output)?;
    all_done(failed, cases.len())?;
    Ok(cases.len())
}

/// Decides whether keeping only the largest component improves predictions of the training cases; see
/// [`nnunet_infer::determine_postprocessing`]. `plans` and `dataset_json` default to those in the folder.
///
/// # Errors
/// A file that is missing or cannot be read or written, or shapes that differ.
pub fn determine_postprocessing(
    predictions: &Path,
    references: &Path,
    plans: Option<&Path>,
    dataset_json: Option<&Path>,
) -> Result<PostprocessingReport, Error> {
    let Description { rules, reader, file_ending } = Description::read(predictions, plans, dataset_json)?;
    Ok(nnunet_infer::determine_postprocessing(
        predictions,
        references,
        &rules,
        reader.as_ref(),
        &file_ending,
    )?)
}

/// Applies `postprocessing.json` or `postprocessing.pkl` to a folder of segmentations. `plans` and `dataset_json` default to
/// those in the folder.
///
/// # Errors
/// A file that is missing or cannot be read, or segmentations that failed; the others are written.
pub fn apply_postprocessing(
    input: &Path,
    output: &Path,
    postprocessing: &Path,
    plans: Option<&Path>,
    dataset_json: Option<&Path>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(), Error> {
    let postprocessing = Postprocessing::read(postprocessing)?;
    let Description { reader, file_ending, .. } = Description::read(input, plans, dataset_json)?;
    let total = std::sync::atomic::AtomicUsize::new(0);
    let counted = |p: Progress<'_>| {
        total.store(p.total, std::sync::atomic::Ordering::Relaxed);
        progress(p);
    };
    let kept = extensions(input, &file_ending);
    let failed = postprocessing.apply_to_folder(input, output, reader.as_ref(), &file_ending, &counted)?;
    for (name, extensions) in kept {
        let written = output.join(name);
        if written.is_file() {
            set_nifti_extensions(&written, &extensions)?;
        }
    }
    all_done(failed, total.into_inner())
}

/// The header extensions of the NIfTI files of a folder, of those that have any.
fn extensions(folder: &Path, ending: &str) -> Vec<(OsString, Vec<NiftiExtension>)> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let nifti = files.filter(|name| ending.starts_with(".nii") && name.to_string_lossy().ends_with(ending));
    // What is wrong with a file is told where its voxels are read.
    let with = |name: OsString| Some((nifti_extensions(&folder.join(&name)).ok()?, name));
    let found = nifti.filter_map(with).filter(|(extensions, _)| !extensions.is_empty());
    found.map(|(extensions, name)| (name, extensions)).collect()
}
