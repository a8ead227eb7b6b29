//! The U-Nets of nnU-Net.

mod build;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device;
mod executor;
mod layers;
mod network;
mod parameters;
mod tape;
mod unet;

pub(crate) use build::weight_names;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub use device::{DeviceNetwork, Output, StepReport};
pub use executor::Executor;
pub use parameters::Parameters;
pub use unet::UNet;
