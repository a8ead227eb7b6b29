//! Trained models, ready to segment images.

mod batch;
mod blocks;
mod case;
mod files;
mod model_folder;
mod network;
mod output;
mod predicted;
mod properties;
mod single;

pub use batch::BatchOptions;
pub use case::CaseInput;
pub use files::{SeeLogits, select_part};
pub use single::Predictor;

pub(crate) use properties::{Properties, with_ending};
