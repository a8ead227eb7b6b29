//! What can go wrong when the steps are put together.

use std::path::{Path, PathBuf};

/// An error of a step, or of putting steps together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A root folder is needed and not set.
    #[error("the folder of {what} is not set: give {option} DIR or set the environment variable {variable}")]
    FolderUnset {
        /// What the folder holds.
        what: &'static str,
        /// The command line option.
        option: &'static str,
        /// The environment variable.
        variable: &'static str,
    },
    /// A file of an earlier step is missing.
    #[error("{what} not found at {}: {hint}", path.display())]
    Missing {
        /// What the file is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What to do about it.
        hint: &'static str,
    },
    /// The raw folder's splits contradict those in use.
    #[error("fold {fold} of {} is not fold {fold} of {}: remove one of the two files", given.display(), target.display())]
    SplitsDiffer {
        /// The first fold that differs.
        fold: usize,
        /// The splits in the raw folder.
        given: PathBuf,
        /// The splits in use.
        target: PathBuf,
    },
    /// A folder or file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder is not what a converter expects.
    #[error("{}: {reason}", path.display())]
    Convert {
        /// The folder or file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// Files of a folder failed; the others were done.
    #[error("{} of {total} failed; the first: {}: {}", failed.len(), failed[0].0, failed[0].1)]
    Cases {
        /// What failed, with the errors.
        failed: Vec<(String, String)>,
        /// How many there were.
        total: usize,
    },
    /// An archive of models cannot be written or is not to be trusted.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Cases of a final validation failed.
    #[error("{} of {total} validation cases failed; the first: case {}: {}", failed.len(), failed[0].0, failed[0].1)]
    Validation {
        /// The cases that failed, with their errors.
        failed: Vec<(String, String)>,
        /// How many cases were to be validated.
        total: usize,
    },
    /// A name, number or option that is not known.
    #[error("{0}")]
    Invalid(String),
    /// An image could not be read, written or resampled.
    #[error(transparent)]
    Image(#[from] nnunet_image::ImageError),
    /// The raw data set is not as it should be.
    #[error(transparent)]
    Dataset(#[from] nnunet_fingerprint::DatasetError),
    /// A JSON file could not be read or written.
    #[error(transparent)]
    Json(#[from] nnunet_fingerprint::JsonError),
    /// Plans could not be made or used.
    #[error(transparent)]
    Plan(#[from] nnunet_plan::PlanError),
    /// A case could not be preprocessed, or the store not be read.
    #[error(transparent)]
    Preprocess(#[from] nnunet_preprocess::PreprocessError),
    /// A network or checkpoint is not as it should be.
    #[error(transparent)]
    Network(#[from] nnunet_nn::NnError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] nnunet_train::TrainError),
    /// Prediction or evaluation failed.
    #[error(transparent)]
    Infer(#[from] nnunet_infer::InferError),
    /// A picture could not be drawn.
    #[cfg(feature = "plot")]
    #[error(transparent)]
    Plot(#[from] crate::plot::PlotError),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
