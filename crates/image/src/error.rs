//! What can be wrong with an image.

use std::path::{Path, PathBuf};

/// Why an image could not be read, written or resampled.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name says, or its header contradicts itself.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// The file ends before its data do.
    #[error("{}: truncated: the header promises {expected} bytes of data, found {found}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Two channels of one case do not fit together.
    #[error("{what} of {} is {found}, that of {} is {expected}", other.display(), first.display())]
    Mismatch {
        /// What differs: shape or spacing.
        what: &'static str,
        /// The file of the first channel.
        first: PathBuf,
        /// The file that differs.
        other: PathBuf,
        /// The value of the first channel.
        expected: String,
        /// The value of the other.
        found: String,
    },
    /// A segmentation holds a value that is not a label.
    #[error("{}: value {value} at voxel (z, y, x) = {voxel:?} is not an integer label from -32768 to 32767", path.display())]
    NotALabel {
        /// The file.
        path: PathBuf,
        /// The value.
        value: f32,
        /// Where it was found first.
        voxel: [usize; 3],
    },
    /// No reader for this kind of file is compiled in.
    #[error("no reader for {what:?}; available: {available}")]
    NoReader {
        /// The file ending or reader name that was asked for.
        what: String,
        /// What there is.
        available: String,
    },
    /// An image cannot be turned as asked.
    #[error("cannot turn the image: {0}")]
    Orientation(String),
    /// An array cannot be resampled as asked.
    #[error("cannot resample: {0}")]
    Resample(String),
}

#[cfg_attr(not(feature = "files"), allow(dead_code))]
impl ImageError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }
}
