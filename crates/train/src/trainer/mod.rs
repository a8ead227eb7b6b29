//! The engine: from plans and preprocessed cases to a model folder.

#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device_augment;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device_share;
mod engine;
mod epoch;
mod folder;
mod setup;

pub use engine::{TrainSummary, Trainer};
pub use setup::TrainSetup;
