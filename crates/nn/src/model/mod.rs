//! The U-Nets of nnU-Net.

mod build;
mod executor;
mod layers;
mod network;
mod parameters;
mod tape;
mod unet;

pub(crate) use build::weight_names;
pub use executor::Executor;
pub use parameters::Parameters;
pub use unet::UNet;
