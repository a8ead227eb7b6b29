//! The U-Nets of nnU-Net.

mod build;
mod layers;
mod network;
mod parameters;
mod unet;

pub(crate) use build::weight_names;
pub use parameters::Parameters;
pub use unet::UNet;
