//! Sliding a network over an image.

#[cfg(any(feature = "cuda", feature = "emulator"))]
mod device;
mod gaussian;
mod mirror;
mod positions;
mod slide;
mod sums;

pub use gaussian::gaussian_importance_map;
pub use positions::tile_positions;
pub use sums::blend_tiles;

#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) use device::slide_on_device;
pub(crate) use mirror::{Flip, flips};
pub(crate) use slide::{TileNetwork, Window, slide};
