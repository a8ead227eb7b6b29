//! The augmentation pipeline of nnU-Net over ndarray samples.
//!
//! A [`Sample`] is an image `[channel, z, y, x]` and a label map on the same grid; 2-D is 3-D with a z axis of
//! length 1. A [`Pipeline`] does what nnU-Net v2.8.1 does to every training sample, in its order and with its
//! probabilities: rotation, scaling and central crop; noise, blur, brightness, contrast, simulated low resolution,
//! two gammas; mirroring; masking; and −1 becomes background. [`deep_supervision_targets`] then makes the targets of
//! the lower resolutions.
//!
//! Everything random is drawn first, as plain [`Parameters`] that can be logged and replayed, and then applied. The
//! stream of random numbers is keyed by seed, epoch and sample ([`sample_rng`]), so results do not depend on threads.
//! Nothing here starts threads: samples are independent, and run in parallel wherever the caller runs them.
//!
//! ```
//! use ndarray::Array4;
//! use nnunet_augment::{Pipeline, PipelineConfig, Sample, sample_rng};
//!
//! # fn main() -> Result<(), nnunet_augment::AugmentError> {
//! let config = PipelineConfig::nnunet(&[8, 12, 10], &[false]);
//! let [z, y, x] = config.initial_patch_size(); // larger than the patch: rotations need the corners
//! let sample = Sample { image: Array4::ones((1, z, y, x)), labels: Array4::zeros((1, z, y, x)) };
//!
//! let pipeline = Pipeline::training(config);
//! let parameters = pipeline.draw(1, &mut sample_rng(42, 0, 0));
//! let augmented = pipeline.apply(sample.clone(), &parameters)?;
//! assert_eq!(augmented.image.shape(), [1, 8, 12, 10]);
//! assert_eq!(augmented, pipeline.run(sample, &mut sample_rng(42, 0, 0))?);
//! # Ok(())
//! # }
//! ```
//!
//! A loader that wants to read only the voxels a sample needs draws first, asks [`Pipeline::source_window`], reads
//! that part and calls [`Pipeline::apply_window`]; with a [`Workspace`] and a reused target nothing is allocated once
//! the buffers have grown.

mod cascade;
mod check;
mod config;
mod elsewhere;
mod error;
mod intensity;
mod left_right;
mod mirror;
mod nearest;
mod parameters;
mod pipeline;
mod rng;
mod sample;
mod simd;
mod spatial;
mod strong;
mod targets;
mod workspace;

pub use cascade::{Cascade, CascadeParameters, Operation, Operator, Removal};
pub use config::{Chance, ElasticChance, PipelineConfig};
pub use elsewhere::{AffineMap, Tap};
pub use error::AugmentError;
pub use left_right::LeftRight;
pub use parameters::{Noise, Parameters};
pub use pipeline::Pipeline;
pub use rng::sample_rng;
pub use sample::Sample;
pub use spatial::{Elastic, Window};
pub use strong::{Bump, Rectangle, Strong, StrongParameters};
pub use targets::deep_supervision_targets;
pub use workspace::Workspace;

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the page on the augmentation alone.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/augmenting.md")]
struct Augmenting;
