//! Transforms of one image channel, in place.

mod blur;
mod brightness;
mod gamma;
mod low_resolution;
mod noise;
mod power;
mod statistics;

pub(crate) use blur::{BlurBuffers, blur, gaussian_weights};
pub(crate) use brightness::{brighten, contrast};
pub(crate) use gamma::gamma;
pub(crate) use low_resolution::{LowResolutionBuffers, interpolation_taps, low_resolution};
pub(crate) use noise::add_noise;
pub(crate) use power::power;
