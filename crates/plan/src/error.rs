//! What can be wrong with plans.

use std::path::PathBuf;

use nnunet_fingerprint::{DatasetError, JsonError};

/// Why plans could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The plans file could not be read or written.
    #[error("plans: {0}")]
    Json(#[from] JsonError),
    /// The labels of the data set contradict the rules.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A file that must exist does not.
    #[error("plans not found: {}", .0.display())]
    Missing(PathBuf),
    /// The plans have no such configuration.
    #[error("the plans have no configuration {name:?}; they have {available:?}")]
    Configuration {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        available: Vec<String>,
    },
    /// A configuration inherits from itself.
    #[error("configuration {0:?} inherits from itself")]
    Cycle(String),
    /// A key of the plans is missing or not as it should be.
    #[error("plans, key {key}: {reason}")]
    Key {
        /// The key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Nothing can be planned from this fingerprint.
    #[error("fingerprint: {0}")]
    Fingerprint(String),
    /// An option of the planner is not as it should be.
    #[error("{0}")]
    Option(String),
    /// Not even the smallest patch fits.
    #[error("{configuration}: no patch is small enough for a memory target of {gb} GB")]
    Memory {
        /// The configuration.
        configuration: String,
        /// The memory target in GB.
        gb: f64,
    },
    /// No planner has this name.
    #[error("unknown planner {name:?}; there are {available}")]
    Planner {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        available: String,
    },
}

impl PlanError {
    pub(crate) fn key(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Key { key: key.into(), reason: reason.into() }
    }
}
