//! What can be wrong with a raw data set.

use std::path::{Path, PathBuf};

use nnunet_image::ImageError;

use crate::json::JsonError;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder or file that must exist does not.
    #[error("{what} not found: {}", path.display())]
    Missing {
        /// What the file or folder is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A folder could not be listed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `dataset.json` could not be read.
    #[error("cannot read the description of the data set: {0}")]
    Json(#[from] JsonError),
    /// The declarations in `dataset.json` contradict the rules.
    #[error("dataset.json, key {key}: {reason}")]
    Declaration {
        /// The key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// No data set, or more than one, answers to a name.
    #[error("{spec:?}: {reason}")]
    Name {
        /// What was asked for.
        spec: String,
        /// What was found.
        reason: String,
    },
    /// A case could not be read or does not fit.
    #[error("case {case}: {reason}")]
    Case {
        /// Identifier of the case.
        case: String,
        /// What was found and what was expected, with the file.
        reason: String,
    },
    /// An image of a case could not be read.
    #[error("case {case}: {source}")]
    Image {
        /// Identifier of the case.
        case: String,
        /// Why, with the file.
        source: ImageError,
    },
    /// The data set as a whole gives nothing to work with.
    #[error("{0}")]
    Empty(String),
    /// Too few cases, or a fold that cannot be made.
    #[error("cannot split the cases: {0}")]
    Split(String),
}

impl DatasetError {
    pub(crate) fn declaration(key: &str, reason: impl Into<String>) -> Self {
        Self::Declaration { key: key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
