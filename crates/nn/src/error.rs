//! What can be wrong with networks and checkpoints.

use std::path::{Path, PathBuf};

/// Why a network could not be built, run or loaded.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint is not what its name says.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A weight is missing, unexpected, or has another shape than the network.
    #[error("weight {key}: {reason}")]
    Weight {
        /// Its name.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The plans describe no network that can be built.
    #[error(transparent)]
    Plan(#[from] nnunet_plan::PlanError),
    /// The network is not supported.
    #[error("network: {0}")]
    Unsupported(String),
    /// The network runs on no device but the CPU.
    #[error("{0} runs on the CPU alone; use --device cpu")]
    HostOnly(String),
    /// The device is not known or not there.
    #[error("device {device:?}: {reason}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The memory of a device is used up.
    #[error(
        "{device} has no room for {:.1} MB more ({:.1} MB are free): lower --batch-size, or plan for less memory with \
         --vram-gb",
        *asked as f64 / 1e6,
        *free as f64 / 1e6
    )]
    DeviceMemory {
        /// The device.
        device: String,
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that were free.
        free: usize,
    },
}

impl NnError {
    /// The same error with the file it is about, if it does not name one.
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Weight { .. } | Self::Tensor(_) => Self::checkpoint(path, self.to_string()),
            other => other,
        }
    }

    pub(crate) fn checkpoint(path: &Path, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn weight(key: &str, reason: impl Into<String>) -> Self {
        Self::Weight { key: key.to_owned(), reason: reason.into() }
    }
}
