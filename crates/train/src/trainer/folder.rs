use std::fs::create_dir_all;
use std::path::Path;

use nnunet_fingerprint::json;
use serde_json::json;

use super::TrainSetup;
use crate::TrainError;

/// Creates the fold's folder and writes what predicting needs beside it: `plans.json` and `dataset.json`; in it,
/// `debug.json` describes the training.
pub(super) fn write_model_files(setup: &TrainSetup, mirror_axes: Option<&[usize]>) -> Result<(), TrainError> {
    let folder = &setup.folder;
    create_dir_all(folder).map_err(|source| TrainError::Io { path: folder.clone(), source })?;
    remove_unfinished(folder)?;
    let model = folder.parent().unwrap_or(Path::new("."));
    setup.plans.write(&model.join("plans.json"))?;
    json::write(&model.join("dataset.json"), &setup.dataset)?;
    let configuration = setup.plans.configuration(&setup.configuration)?;
    let options = &setup.options;
    let debug = json!({
        "trainer_name": options.trainer,
        "configuration_name": setup.configuration,
        "fold": fold_name(folder),
        "device": format!("{:?}", setup.device.location()),
        "batch_size": options.batch_size.unwrap_or(configuration.batch_size),
        "patch_size": configuration.patch_size,
        "batch_dice": configuration.batch_dice,
        "inference_allowed_mirroring_axes": mirror_axes,
        "options": options,
        "train_cases": setup.split.train,
        "val_cases": setup.split.val,
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(json::write(&folder.join("debug.json"), &debug)?)
}

/// `0` of `fold_0`.
pub(super) fn fold_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_prefix("fold_").map(str::to_owned).unwrap_or(name)
}

/// Removes what a killed run was writing when it ended; it never got its name.
fn remove_unfinished(folder: &Path) -> Result<(), TrainError> {
    let failed = |path: &Path, source| TrainError::Io { path: path.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".part") {
            std::fs::remove_file(entry.path()).map_err(|e| failed(&entry.path(), e))?;
        }
    }
    Ok(())
}
