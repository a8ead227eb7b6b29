//! The validation cases of all folds in one folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nnunet_fingerprint::{Fold, json};
use nnunet_image::fs::write_atomic;
use nnunet_infer::{Summary, copy_descriptions, evaluate_folder};

use crate::ensembling::Description;
use crate::{Error, project::create_folder};

/// `0_1_2` for the folds 0, 1 and 2.
pub(super) fn folds_name(folds: &[Fold]) -> String {
    let names: Vec<String> =
        folds.iter().map(|fold| fold.folder_name().trim_start_matches("fold_").to_owned()).collect();
    names.join("_")
}

/// Copies the validation cases of all folds into `target` and scores them.
///
/// With `overwrite`, what is there goes first. Without, files that are there stay, and scores are computed again only if
/// something was added.
pub(super) fn accumulate(
    model: &Path,
    target: &Path,
    folds: &[Fold],
    references: &Path,
    overwrite: bool,
) -> Result<Summary, Error> {
    let Description { rules, reader, file_ending } = Description::read(model, None, None)?;
    let cases = validation_cases(model, folds, &file_ending)?;
    if overwrite && target.is_dir() {
        std::fs::remove_dir_all(target).map_err(|source| Error::io(target, source))?;
    }
    create_folder(target)?;
    copy_descriptions(model, target)?;
    let mut added = false;
    for (name, file) in &cases {
        let to = target.join(name);
        if to.is_file() {
            continue;
        }
        let mut source = std::fs::File::open(file).map_err(|source| Error::io(file, source))?;
        write_atomic(&to, |out| std::io::copy(&mut source, out).map(drop)).map_err(|e| Error::io(&to, e))?;
        added = true;
    }
    let summary_file = target.join("summary.json");
    if !added && summary_file.is_file() {
        return Ok(json::read(&summary_file)?);
    }
    let summary = evaluate_folder(references, target, &rules, reader.as_ref(), &file_ending, false)?;
    json::write(&summary_file, &summary)?;
    Ok(summary)
}

/// The segmentations of the validation cases by name; a case may be in one fold only.
fn validation_cases(
    model: &Path,
    folds: &[Fold],
    file_ending: &str,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut cases = BTreeMap::new();
    for fold in folds {
        let folder = model.join(fold.folder_name()).join("validation");
        if !folder.is_dir() {
            let hint = "train and validate all requested folds, or name those that are there with -f";
            return Err(Error::Missing { what: "validation of a fold", path: folder, hint });
        }
        for entry in std::fs::read_dir(&folder).map_err(|source| Error::io(&folder, source))? {
            let path = entry.map_err(|source| Error::io(&folder, source))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(file_ending) || name.starts_with('.') || !path.is_file() {
                continue;
            }
            if let Some(other) = cases.insert(name, path.clone()) {
                let text = format!("{} and {} are the same case", other.display(), path.display());
                return Err(Error::Invalid(text));
            }
        }
    }
    Ok(cases)
}
