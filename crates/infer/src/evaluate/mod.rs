//! Comparing predictions with references.

mod confusion;
mod distance;
mod extended;
mod folder;
mod lesions;
mod summary;

pub use confusion::{Confusion, Metrics};
pub use extended::{
    ExtendedCase, ExtendedMetrics, ExtendedOptions, ExtendedSummary, evaluate_folder_extended,
};
pub use folder::evaluate_folder;
pub use summary::{CaseSummary, MeanMetrics, Summary};

pub(crate) use folder::evaluate_pair;
