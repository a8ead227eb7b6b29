use thiserror::Error;

/// What can be wrong with a configuration, a sample or a set of drawn parameters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// The configuration cannot describe a pipeline.
    #[error("augmentation setting `{key}`: found {found}, expected {expected}")]
    Config {
        /// The field of [`PipelineConfig`](crate::PipelineConfig).
        key: &'static str,
        /// What the field holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// An array of the sample does not have the shape that is needed.
    #[error("{what} of the sample, axis {axis}: found {found} voxels, expected {expected}")]
    Shape {
        /// `image` or `labels`.
        what: &'static str,
        /// Array axis: 0 = z, 1 = y, 2 = x.
        axis: usize,
        /// Length that was found.
        found: usize,
        /// Which lengths are possible.
        expected: String,
    },
    /// The number of channels differs from what something else says.
    #[error("{what}: found {found} entries, expected {expected}")]
    Channels {
        /// The thing that has the wrong number of entries.
        what: &'static str,
        /// The number found.
        found: usize,
        /// The number expected.
        expected: String,
    },
    /// A drawn value is not usable (parameters that were edited by hand).
    #[error("parameter `{key}`: found {found}, expected {expected}")]
    Parameter {
        /// The field of [`Parameters`](crate::Parameters).
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
}
