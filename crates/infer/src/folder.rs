//! Folders of files.

use std::path::{Path, PathBuf};

use crate::InferError;

/// Names of the files with this ending, sorted.
pub(crate) fn files(folder: &Path, ending: &str) -> Result<Vec<String>, InferError> {
    let failed = |source| InferError::Io { path: PathBuf::from(folder), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) && !name.starts_with('.') && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn create(folder: &Path) -> Result<(), InferError> {
    std::fs::create_dir_all(folder).map_err(|source| InferError::io(folder, source))
}

/// Copies a file, in one piece.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), InferError> {
    let mut source = std::fs::File::open(from).map_err(|source| InferError::io(from, source))?;
    nnunet_image::fs::write_atomic(to, |out| std::io::copy(&mut source, out).map(drop))
        .map_err(|source| InferError::io(to, source))
}
