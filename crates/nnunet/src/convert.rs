//! Other data set layouts, converted to nnU-Net's.

use std::path::{Path, PathBuf};

use nnunet_fingerprint::json;
use nnunet_image::{Progress, reader_for, write_image};
use serde_json::{Map, Value};

use crate::{Error, Folders, project::create_folder};

/// Converts a Medical Segmentation Decathlon task into `raw/DatasetNNN_Name` and returns that folder.
///
/// The folder must be called `TaskNN_Name` and hold `dataset.json`, `imagesTr`, `labelsTr` and (if there are test
/// images) `imagesTs`. 4-D images are split along their last axis into one file per channel. The folder appears
/// under its final name only when it is complete.
///
/// # Errors
/// Another layout, a number that is taken, or a file that cannot be read or written.
pub fn convert_msd(
    task: &Path,
    folders: &Folders,
    overwrite_id: Option<u32>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<PathBuf, Error> {
    let (id, name) = task_name(task)?;
    let id = overwrite_id.unwrap_or(id);
    let raw = folders.need_raw()?;
    refuse_taken(id, folders)?;
    let json = converted_json(&task.join("dataset.json"))?;
    let target = raw.join(format!("Dataset{id:03}_{name}"));
    let building = raw.join(format!(".Dataset{id:03}_{name}.part"));
    create_folder(raw)?;
    let result = fill(task, &building, &json, progress)
        .and_then(|()| std::fs::rename(&building, &target).map_err(|source| Error::io(&target, source)));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&building);
    }
    result.map(|()| target)
}

/// `TaskNN_Name` → number and name.
fn task_name(task: &Path) -> Result<(u32, String), Error> {
    let wrong = |reason: String| Error::Convert { path: task.to_owned(), reason };
    let real = task.canonicalize().map_err(|source| Error::io(task, source))?;
    let folder = real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let parsed = folder
        .strip_prefix("Task")
        .and_then(|rest| rest.split_once('_'))
        .and_then(|(number, name)| Some((number.parse::<u32>().ok()?, name.to_owned())));
    let (id, name) =
        parsed.ok_or_else(|| wrong(format!("the folder is called {folder:?}, expected TaskNN_Name")))?;
    for sub in ["imagesTr", "labelsTr"] {
        if !real.join(sub).is_dir() {
            return Err(wrong(format!("there is no folder {sub}")));
        }
    }
    Ok((id, name))
}

fn refuse_taken(id: u32, folders: &Folders) -> Result<(), Error> {
    let prefix = format!("Dataset{id:03}");
    for root in folders.existing() {
        let entries = std::fs::read_dir(root).map_err(|source| Error::io(root, source))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let reason = format!("data set number {id} is taken; choose another with --overwrite-id");
                return Err(Error::Convert { path: entry.path(), reason });
            }
        }
    }
    Ok(())
}

/// Decathlon's `dataset.json` in nnU-Net's form.
fn converted_json(path: &Path) -> Result<Map<String, Value>, Error> {
    let wrong = |reason: &str| Error::Convert { path: path.to_owned(), reason: reason.to_owned() };
    let mut json: Map<String, Value> = json::read(path)?;
    let labels =
        json.get("labels").and_then(Value::as_object).ok_or_else(|| wrong("key labels is missing"))?;
    let mut inverted = Map::new();
    for (value, name) in labels {
        let name = name.as_str().ok_or_else(|| wrong("key labels: expected value → name"))?;
        let value: i64 = value.parse().map_err(|_| wrong("key labels: expected integer values as keys"))?;
        inverted.insert(name.to_owned(), value.into());
    }
    let modality = json.get("modality").cloned().ok_or_else(|| wrong("key modality is missing"))?;
    for key in ["modality", "training", "test"] {
        json.shift_remove(key);
    }
    json.insert("labels".into(), inverted.into());
    json.insert("channel_names".into(), modality);
    json.insert("file_ending".into(), ".nii.gz".into());
    Ok(json)
}

fn fill(
    task: &Path,
    building: &Path,
    json: &Map<String, Value>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(), Error> {
    let mut files = Vec::new();
    for sub in ["imagesTr", "imagesTs", "labelsTr"] {
        create_folder(&building.join(sub))?;
        for name in nifti_files(&task.join(sub))? {
            files.push((sub, name));
        }
    }
    for (done, (sub, name)) in files.iter().enumerate() {
        progress(Progress { done, total: files.len(), item: name });
        let source = task.join(sub).join(name);
        if *sub == "labelsTr" {
            copy(&source, &building.join(sub).join(name))?;
        } else {
            convert_image(&source, &building.join(sub), name)?;
        }
    }
    progress(Progress { done: files.len(), total: files.len(), item: "" });
    Ok(json::write(&building.join("dataset.json"), json)?)
}

/// Sorted names of the NIfTI files of a folder, hidden files aside; an absent folder has none.
fn nifti_files(folder: &Path) -> Result<Vec<String>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".nii.gz") && !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

/// One file per channel; a file of one channel is copied as it is.
fn convert_image(source: &Path, folder: &Path, name: &str) -> Result<(), Error> {
    let case = name.trim_end_matches(".nii.gz");
    let image = reader_for(".nii.gz", None)?.read_images(&[source.to_owned()])?;
    let channels = image.data.dim().0;
    if channels == 1 {
        return copy(source, &folder.join(format!("{case}_0000.nii.gz")));
    }
    for channel in 0..channels {
        let data = image.data.slice(ndarray::s![channel..channel + 1, .., .., ..]).to_owned();
        let one = nnunet_image::Image { data, geometry: image.geometry.clone() };
        write_image(&folder.join(format!("{case}_{channel:04}.nii.gz")), &one)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::copy(from, to).map(drop).map_err(|source| Error::io(from, source))
}
