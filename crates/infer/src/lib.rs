//! Sliding-window prediction, export to the original geometry and evaluation of nnU-Net models.

mod error;
mod evaluate;
mod export;
mod logits;
mod options;
mod window;

pub use error::InferError;
pub use evaluate::{CaseSummary, Confusion, MeanMetrics, Metrics, Summary, evaluate_folder};
pub use options::{Accumulator, PredictorOptions};
pub use window::{gaussian_importance_map, tile_positions};
