//! Comparing predictions with references.

mod confusion;
mod folder;
mod summary;

pub use confusion::{Confusion, Metrics};
pub use folder::evaluate_folder;
pub use summary::{CaseSummary, MeanMetrics, Summary};
