use std::path::{Path, PathBuf};

use nnunet_fingerprint::{DatasetJson, Fold};
use nnunet_plan::Plans;

use crate::InferError;

/// Name of the checkpoint that a finished training leaves.
const DEFAULT_CHECKPOINT: &str = "checkpoint_final";
/// Kinds of checkpoints, in the order in which they are looked for.
const ENDINGS: [&str; 2] = [".safetensors", ".pth"];

/// A trained model on disk, `<trainer>__<plans>__<configuration>` in nnU-Net's layout.
pub(super) struct ModelFolder {
    path: PathBuf,
    pub(super) plans: Plans,
    pub(super) dataset: DatasetJson,
}

impl ModelFolder {
    /// # Errors
    /// No such folder, or one without `dataset.json` and `plans.json`.
    pub(super) fn open(path: &Path) -> Result<Self, InferError> {
        for name in ["dataset.json", "plans.json"] {
            if !path.join(name).is_file() {
                return Err(missing(path, name));
            }
        }
        let dataset = DatasetJson::read(&path.join("dataset.json"))?;
        let plans = Plans::read(&path.join("plans.json"))?;
        Ok(Self { path: path.to_owned(), plans, dataset })
    }

    /// The checkpoint of each fold. Without `folds`, those of all `fold_*` but `fold_all` that have it.
    ///
    /// # Errors
    /// A fold or checkpoint that is not there; the error lists what is.
    pub(super) fn checkpoints(
        &self,
        folds: Option<&[Fold]>,
        name: Option<&str>,
    ) -> Result<Vec<PathBuf>, InferError> {
        let name = name.unwrap_or(DEFAULT_CHECKPOINT);
        if let Some(folds) = folds.filter(|folds| !folds.is_empty()) {
            return folds.iter().map(|fold| self.checkpoint(&fold.folder_name(), name)).collect();
        }
        let numbered = |folder: &String| {
            folder
                .strip_prefix("fold_")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let mut folders: Vec<String> = entries(&self.path).into_iter().filter(numbered).collect();
        folders.sort_by_key(|folder| (folder.len(), folder.clone()));
        let found: Vec<PathBuf> =
            folders.iter().filter_map(|folder| self.checkpoint(folder, name).ok()).collect();
        if found.is_empty() {
            let missing = format!("fold_*/{name} ({})", ENDINGS.join(" or "));
            return Err(InferError::ModelFolder {
                folder: self.path.clone(),
                missing,
                found: self.what_is_there(),
            });
        }
        Ok(found)
    }

    /// The checkpoints of all folds, or whatever else there is.
    fn what_is_there(&self) -> String {
        let all = entries(&self.path);
        let mut checkpoints = Vec::new();
        for folder in all.iter().filter(|entry| entry.starts_with("fold_")) {
            let files = entries(&self.path.join(folder)).into_iter().filter(|file| is_checkpoint(file));
            checkpoints.extend(files.map(|file| format!("{folder}/{file}")));
        }
        listed(if checkpoints.is_empty() { &all } else { &checkpoints })
    }

    fn checkpoint(&self, folder: &str, name: &str) -> Result<PathBuf, InferError> {
        let path = self.path.join(folder);
        if !path.is_dir() {
            return Err(missing(&self.path, folder));
        }
        let names = std::iter::once(name.to_owned()).chain(ENDINGS.map(|ending| format!("{name}{ending}")));
        names
            .map(|name| path.join(name))
            .find(|file| is_checkpoint_path(file) && file.is_file())
            .ok_or_else(|| missing(&path, &format!("checkpoint {name} ({})", ENDINGS.join(" or "))))
    }

    /// The configuration that a folder named `<trainer>__<plans>__<configuration>` holds, or the only one of
    /// the plans.
    pub(super) fn configuration_by_name(&self) -> Option<String> {
        let named =
            self.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once("__"));
        let mut all = self.plans.configurations.keys();
        match (named, all.next(), all.next()) {
            (Some((_, name)), ..) if self.plans.configurations.contains_key(name) => Some(name.to_owned()),
            (_, Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

fn is_checkpoint(file: &str) -> bool {
    ENDINGS.iter().any(|ending| file.ends_with(ending))
}

fn is_checkpoint_path(file: &Path) -> bool {
    file.to_str().is_some_and(is_checkpoint)
}

fn missing(folder: &Path, what: &str) -> InferError {
    let found = if folder.is_dir() { listed(&entries(folder)) } else { "no such folder".to_owned() };
    InferError::ModelFolder { folder: folder.to_owned(), missing: what.to_owned(), found }
}

/// Names in a folder, sorted; none if it cannot be read.
fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn listed(names: &[String]) -> String {
    /// So that an error about the wrong folder stays readable.
    const MOST: usize = 20;
    let shown = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "nothing".to_owned(),
        len if len > MOST => format!("{shown} and {} more", len - MOST),
        _ => shown,
    }
}
