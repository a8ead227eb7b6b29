use std::path::PathBuf;

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Training would overwrite an earlier one.
    #[error("{} is there already: resume that training, or choose another folder", .path.display())]
    CheckpointExists {
        /// The checkpoint that was found.
        path: PathBuf,
    },
    /// A file could not be written or read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint that does not belong to this training.
    #[error("{}: {message}", .path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A case could not be made into a training sample.
    #[error("case {case}: {message}")]
    Case {
        /// Identifier of the case.
        case: String,
        /// What went wrong.
        message: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The loss is NaN or infinite.
    #[error(
        "epoch {epoch}, iteration {iteration}: {what} is {value} for the cases {}; the last checkpoint was kept",
        cases.join(", ")
    )]
    NotFinite {
        /// Counted from 0.
        epoch: usize,
        /// Counted from 0 within the epoch.
        iteration: usize,
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Cases of the batch.
        cases: Vec<String>,
    },
    /// A label that is neither a channel of the network nor the ignore label.
    #[error("label {label} is neither below the number of channels ({channels}) nor the ignore label")]
    Label {
        /// The label.
        label: i16,
        /// Number of channels of the logits.
        channels: usize,
    },
    /// Two things that do not fit.
    #[error("{what}: found {found}, expected {expected}")]
    Shape {
        /// What has a wrong shape.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// An option out of its range.
    #[error("option {option}: found {found}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The range.
        expected: &'static str,
    },
    /// A trainer that is not there.
    #[error("trainer {found}: there is no such trainer; there are {known}")]
    Trainer {
        /// Its name.
        found: String,
        /// Names of those that are there.
        known: String,
    },
    /// A tensor lies on a device where it cannot be read.
    #[error("a tensor that was copied to the host is not in host memory")]
    Device,
    /// The ranks of a training cannot go on together.
    #[error("{0}")]
    Ranks(String),
    /// A loader thread ended without delivering.
    #[error("the loader has ended: {0}")]
    Loader(String),
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The network or its weights.
    #[error(transparent)]
    Network(#[from] nnunet_nn::NnError),
    /// The plans.
    #[error(transparent)]
    Plan(#[from] nnunet_plan::PlanError),
    /// The data set.
    #[error(transparent)]
    Dataset(#[from] nnunet_fingerprint::DatasetError),
    /// A JSON file.
    #[error(transparent)]
    Json(#[from] nnunet_fingerprint::json::JsonError),
}

impl TrainError {
    /// An error of a case, with its cause.
    pub(crate) fn case(case: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Case { case: case.to_owned(), message: source.to_string(), source: Some(Box::new(source)) }
    }
}
