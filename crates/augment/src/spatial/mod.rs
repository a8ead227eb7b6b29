//! Rotation, scaling and cropping in one pass over the output patch.
//!
//! Patch voxel `p` takes its value at `A·(p − (P−1)/2) + (S−1)/2` of the loaded patch (S voxels); see
//! [`affine`] for `A`. Coordinates are 32.32 fixed-point numbers: along a row each step is one integer addition per
//! axis, and the part of a row whose neighbours all exist is known exactly before the row is sampled.

mod affine;
mod crop;
mod elastic;
mod general;
mod labels;
mod resample;
mod rows;
mod window;

pub(crate) use affine::Affine;
pub(crate) use crop::crop;
pub use elastic::Elastic;
pub(crate) use general::{Between, Grid};
pub(crate) use resample::resample;
pub(crate) use rows::RowTables;
pub use window::Window;
