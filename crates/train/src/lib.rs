//! # Training the networks of nnU-Net
//!
//! From plans and preprocessed cases to a model folder: patches are drawn and augmented by threads, the network is
//! trained with soft Dice plus cross-entropy under deep supervision by stochastic gradient descent, scored on
//! validation patches, and kept in checkpoints. The rules and numbers are those of Isensee et al., *nnU-Net: a
//! self-configuring method for deep learning-based biomedical image segmentation*, Nature Methods 18 (2021), as
//! nnU-Net v2.8.1 carries them out.
//!
//! - [`Trainer`] runs the whole; [`TrainOptions`] holds the numbers, [`TrainCallback`] listens.
//!   [`TrainOptions::named`] gives those of nnU-Net's trainer variants.
//! - [`segmentation_loss`] is the loss of one output, value and gradient in one operation, with the terms of
//!   [`LossTerms`]; [`DeepLoss`] weighs the outputs.
//! - [`Cluster`]: several processes or threads that share each batch.
//! - [`Sgd`] and [`Adam`] are the optimisers, [`LrSchedule`] the learning rate.
//! - [`CropRange`], [`is_foreground_forced`] and [`Sampler`] decide what is in a patch; [`Loader`] makes batches ahead.
//!
//! Every random number has the key (seed, epoch, sample), so batches depend neither on the number of threads nor on
//! whether a training was resumed.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use nnunet_train::{LossRules, Targets, segmentation_loss};
//!
//! # fn main() -> Result<(), nnunet_train::TrainError> {
//! // Two voxels in a row, two channels: the first voxel is background, the second is label 1.
//! let logits = Var::new(&[[2.0_f32, -2.0], [-2.0, 2.0]], &Device::Cpu)?;
//! let targets = Targets::new([1, 1, 1, 2], vec![0, 1])?;
//! let rules = LossRules::labels(2, None, false);
//! let (loss, value) = segmentation_loss(&logits.reshape((1, 1, 1, 2, 2))?, &targets, &rules, 1.0)?;
//! assert!(value < -0.9);
//! assert_eq!(loss.backward()?.get(&logits).unwrap().dims(), [2, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `mpi` | no | [`Cluster::from_environment`] over MPI; needs an MPI library with its compiler wrapper, and libclang |
//! | `cuda`, `cudnn` | no | training on CUDA devices; see `nnunet-nn` |
//! | `nccl` | no | training on several of them with NCCL 2; without it they exchange gradients through the host |

mod augmentation;
mod callback;
mod checkpoint;
mod error;
mod events;
mod history;
mod host;
mod loader;
mod loss;
mod metrics;
mod optim;
mod options;
mod preset;
mod ranks;
mod record_files;
mod sampling;
mod schedule;
mod time;
mod trainer;

pub use augmentation::{AugmentOptions, AugmentSet, Mirroring};
pub use callback::{Control, EpochRecord, IterationInfo, StopToken, Timing, TrainCallback};
pub use error::TrainError;
pub use loader::{Batch, BatchMaker, BatchPlan, Job, Loader, Phase, Schedule, Unfinished};
pub use loss::{
    DeepLoss, EntropyTerm, LossRules, LossTerms, Targets, deep_supervision_weights, segmentation_loss,
    segmentation_loss_value,
};
pub use metrics::{Confusion, ema, nan_mean};
pub use optim::{Adam, AdamConfig, OptimiserKind, Sgd, SgdConfig};
pub use options::{DEFAULT_TRAINER, TrainOptions};
pub use ranks::{Cluster, Launch, Ranks, local_cluster};
pub use sampling::{
    CaseSource, CropRange, Drawn, Locations, Oversampling, Sampler, StoreSource, is_foreground_forced,
};
pub use schedule::{LrSchedule, poly_lr};
pub use trainer::{TrainSetup, TrainSummary, Trainer};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
