//! The U-Nets of nnU-Net.

mod build;
mod composed;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device;
mod executor;
mod layers;
mod network;
mod parameters;
mod tape;
mod unet;

pub(crate) use build::state_order;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub use device::{DeviceNetwork, Output, StagedBatch, Step, StepReport};
pub use executor::Executor;
pub(crate) use layers::{average_pool, spatial};
pub use parameters::Parameters;
pub use unet::UNet;
