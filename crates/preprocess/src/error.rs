//! What can go wrong in preprocessing.

use std::path::{Path, PathBuf};

use nnunet_fingerprint::{DatasetError, JsonError};
use nnunet_image::ImageError;
use nnunet_plan::PlanError;

/// Why a case or data set could not be preprocessed, or a store not be read.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// A case failed.
    #[error("case {case}: {source}")]
    Case {
        /// Identifier of the case.
        case: String,
        /// Why.
        source: Box<PreprocessError>,
    },
    /// An image could not be read or resampled.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The plans are not as they should be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The data set is not as it should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A JSON file could not be read or written.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The image does not fit the plans or its segmentation.
    #[error("{0}")]
    Mismatch(String),
    /// A folder or file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the store is missing or not as it should be.
    #[error("{}: {reason}", path.display())]
    Store {
        /// The folder or file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
}

impl PreprocessError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn store(path: &Path, reason: impl Into<String>) -> Self {
        Self::Store { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn in_case(self, case: &str) -> Self {
        match self {
            Self::Case { .. } => self,
            source => Self::Case { case: case.to_owned(), source: Box::new(source) },
        }
    }
}
