//! Where data sets, preprocessed data and results live.

use std::path::{Path, PathBuf};

use crate::Error;

/// The three root folders of nnU-Net. Each is needed only by the steps that use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    /// Raw data sets (`DatasetNNN_Name/{dataset.json, imagesTr, labelsTr}`); environment variable `nnUNet_raw`.
    pub raw: Option<PathBuf>,
    /// Fingerprints, plans, splits and preprocessed cases; environment variable `nnUNet_preprocessed`.
    pub preprocessed: Option<PathBuf>,
    /// Trained models; environment variable `nnUNet_results`.
    pub results: Option<PathBuf>,
}

impl Folders {
    /// All three below one folder: `root/nnUNet_raw`, `root/nnUNet_preprocessed`, `root/nnUNet_results`.
    pub fn below(root: &Path) -> Self {
        let sub = |name: &str| Some(root.join(name));
        Self {
            raw: sub("nnUNet_raw"),
            preprocessed: sub("nnUNet_preprocessed"),
            results: sub("nnUNet_results"),
        }
    }

    /// Fills what is unset from the environment variables `nnUNet_raw`, `nnUNet_preprocessed` and `nnUNet_results`.
    #[must_use]
    pub fn or_environment(self) -> Self {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            raw: self.raw.or_else(|| env("nnUNet_raw")),
            preprocessed: self.preprocessed.or_else(|| env("nnUNet_preprocessed")),
            results: self.results.or_else(|| env("nnUNet_results")),
        }
    }

    /// The folders that are set and exist, in the order raw, preprocessed, results.
    pub(crate) fn existing(&self) -> Vec<&Path> {
        let all = [&self.raw, &self.preprocessed, &self.results];
        all.into_iter().flatten().map(PathBuf::as_path).filter(|path| path.is_dir()).collect()
    }

    pub(crate) fn need_raw(&self) -> Result<&Path, Error> {
        need(self.raw.as_deref(), "--raw", "nnUNet_raw", "raw data sets")
    }

    pub(crate) fn need_preprocessed(&self) -> Result<&Path, Error> {
        need(self.preprocessed.as_deref(), "--preprocessed", "nnUNet_preprocessed", "preprocessed data")
    }

    pub(crate) fn need_results(&self) -> Result<&Path, Error> {
        need(self.results.as_deref(), "--results", "nnUNet_results", "results")
    }
}

fn need<'a>(
    folder: Option<&'a Path>,
    option: &'static str,
    variable: &'static str,
    what: &'static str,
) -> Result<&'a Path, Error> {
    folder.ok_or(Error::FolderUnset { what, option, variable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_folder_is_an_error_that_says_how_to_set_it() {
        let error = Folders::default().need_results().unwrap_err().to_string();
        assert!(error.contains("--results") && error.contains("nnUNet_results"), "{error}");
        assert_eq!(Folders::below(Path::new("/a")).need_raw().unwrap(), Path::new("/a/nnUNet_raw"));
    }
}
