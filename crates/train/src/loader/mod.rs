//! Batches prepared by threads while the network computes.

mod batch;
mod queue;
mod schedule;

pub use batch::{Batch, BatchMaker, BatchPlan, Unfinished};
pub use queue::Loader;
pub use schedule::{Job, Phase, Schedule};
