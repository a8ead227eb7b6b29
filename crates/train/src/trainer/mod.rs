//! The engine: from plans and preprocessed cases to a model folder.

#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device;
mod engine;
mod epoch;
mod folder;
mod setup;

pub use engine::{TrainSummary, Trainer};
pub use setup::TrainSetup;
