//! Model folders and what is in them.

use std::path::{Path, PathBuf};

use nnunet_fingerprint::{DatasetJson, Fingerprint, json};
use nnunet_infer::Summary;
use nnunet_plan::Plans;

use super::curves::read_epochs;
use crate::plot::CurvePoint;
use crate::{Error, Folders};

/// How deep below the given folder models are looked for: results / data set / model.
const DEPTH: usize = 2;
const FINGERPRINT: &str = "dataset_fingerprint.json";

/// A trained model on disk.
pub(super) struct Model {
    /// `TRAINER__PLANS__CONFIGURATION`.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) dataset: DatasetJson,
    pub(super) plans: Plans,
    pub(super) folds: Vec<FoldFound>,
}

/// A fold of a model on disk.
pub(super) struct FoldFound {
    /// `fold_0`, ….
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) epochs: Vec<CurvePoint>,
    /// Scores of the validation cases.
    pub(super) summary: Option<Summary>,
}

/// All models in or below a folder, by path.
pub(super) fn find_models(results: &Path) -> Result<Vec<Model>, Error> {
    let mut folders = Vec::new();
    collect(results, DEPTH, &mut folders)?;
    folders.sort();
    if folders.is_empty() {
        return Err(Error::Missing {
            what: "model folder",
            path: results.to_owned(),
            hint: "expected TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_0, or a folder of such \
                   folders",
        });
    }
    folders.iter().map(|folder| open(folder)).collect()
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if folder.join("plans.json").is_file() && folder.join("dataset.json").is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        if path.is_dir() {
            collect(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Model, Error> {
    let absolute = folder.canonicalize().map_err(|source| Error::io(folder, source))?;
    let name = absolute.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut folds = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        let fold = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && fold.starts_with("fold_") {
            folds.push(open_fold(fold, path)?);
        }
    }
    folds.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Model {
        name,
        folder: folder.to_owned(),
        dataset: DatasetJson::read(&folder.join("dataset.json"))?,
        plans: Plans::read(&folder.join("plans.json"))?,
        folds,
    })
}

fn open_fold(name: String, folder: PathBuf) -> Result<FoldFound, Error> {
    let file = folder.join("validation").join("summary.json");
    let summary = if file.is_file() { Some(json::read(&file)?) } else { None };
    let epochs = read_epochs(&folder)?;
    Ok(FoldFound { name, folder, epochs, summary })
}

/// The fingerprint beside one of the models, or else in the folder of preprocessed data.
pub(super) fn fingerprint_of(models: &[Model], folders: &Folders) -> Result<Option<Fingerprint>, Error> {
    let preprocessed = folders.preprocessed.as_ref().zip(models.first());
    let places = models
        .iter()
        .map(|model| model.folder.join(FINGERPRINT))
        .chain(preprocessed.map(|(root, model)| root.join(&model.plans.dataset_name).join(FINGERPRINT)));
    for place in places {
        if place.is_file() {
            return Ok(Some(json::read(&place)?));
        }
    }
    Ok(None)
}
