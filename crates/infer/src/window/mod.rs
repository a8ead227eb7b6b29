//! Sliding a network over an image.

mod gaussian;
mod mirror;
mod positions;
mod slide;
mod sums;

pub use gaussian::gaussian_importance_map;
pub use positions::tile_positions;
pub use sums::blend_tiles;

pub(crate) use mirror::{Flip, flips};
pub(crate) use slide::{TileNetwork, Window, slide};
