//! # nnU-Net in Rust
//!
//! Give it any biomedical segmentation data set and it extracts the data set's fingerprint, configures itself,
//! trains, and segments new images, in one process and without Python. The method is that of Isensee et al.,
//! *nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation*, Nature Methods 18
//! (2021); the numbers are those of nnU-Net v2.
//!
//! This crate puts the parts together. Each part is a crate of its own and can be used alone:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`image`] | images with geometry, readers and writers, resampling |
//! | [`fingerprint`] | `dataset.json`, cases, integrity check, fingerprint, splits |
//! | [`plan`] | the heuristics: from a fingerprint to plans |
//! | [`preprocess`] | crop, normalise, resample; the store of preprocessed cases |
//! | [`augment`] | augmentation of patches |
//! | [`nn`] | convolution kernels and U-Nets on candle |
//! | [`train`] | losses, sampling, the training engine |
//! | [`infer`] | sliding window, export, evaluation |
//!
//! ```no_run
//! use nnunet::{Folders, Project, TrainRequest, fingerprint::Fold, plan::PlannerOptions};
//!
//! # fn main() -> Result<(), nnunet::Error> {
//! let project = Project::find("Dataset004_Hippocampus", Folders::default().or_environment())?;
//! project.fingerprint(&|_| {})?;
//! let plans = project.plan(&PlannerOptions::default())?;
//! project.preprocess(&plans, "3d_fullres", &|_| {})?;
//! let report = project.train(&TrainRequest::new("3d_fullres", Fold::Index(0)), &mut (), &|_| {})?;
//! println!("model in {}", report.model_folder.display());
//! # Ok(())
//! # }
//! ```
//!
//! ## Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `plot` | yes | training curves and overlays as PNG (`plot`), and `report` |
//! | `dicom` | no | DICOM series as input, DICOM SEG and RTSTRUCT (`predict_dicom`) |
//! | `mpi` | no | data-parallel training over MPI |
//! | `cuda` | no | training and prediction on CUDA devices; needs no CUDA toolkit to build |
//! | `cudnn` | no | `cuda`, with the convolutions of cuDNN 9 |
//! | `nccl` | no | `cuda`, and training on several devices with NCCL 2 |
//! | `emulator` | no | a stand-in for a CUDA device, for tests; see `nnunet-nn` |

mod checkpoints;
mod colours;
mod convert;
#[cfg(feature = "dicom")]
mod dicom;
mod ensembling;
mod error;
mod folders;
#[cfg(feature = "plot")]
pub mod plot;
mod predicting;
#[cfg(feature = "plot")]
mod preview;
#[cfg(feature = "plot")]
mod progress_picture;
mod project;
mod ranking;
#[cfg(feature = "plot")]
mod report;
mod selection;
mod self_test;
mod sharing;
mod stages;
mod statistics;
mod training;

pub use checkpoints::convert_checkpoint;
pub use colours::{
    Code, LabelCodes, LabelEntry, LabelMapping, LabelSidecars, LabelTable, LabelTerms, RegionEntry,
    embed_label_table, embedded_label_table, label_colour, write_label_sidecars,
};
pub use convert::convert_msd;
#[cfg(feature = "dicom")]
pub use dicom::{
    DicomOutput, DicomPredictRequest, RoiChoice, dicom_to_image, holds_dicom, labels_to_seg,
    labels_to_structures, predict_dicom, seg_to_labels, structures_to_labels,
};
pub use ensembling::{apply_postprocessing, determine_postprocessing, ensemble};
pub use error::Error;
pub use folders::Folders;
pub use predicting::{
    PredictReport, PredictRequest, evaluate, evaluate_extended, explain_from_files, plan_from_files, predict,
    preprocess_case_to_npz,
};
#[cfg(feature = "plot")]
pub use preview::preview;
pub use project::{Project, TRAINER};
pub use ranking::{RankRequest, rank};
#[cfg(feature = "plot")]
pub use report::{ReportContent, ReportRequest, report};
pub use selection::{Selection, SelectionRequest};
pub use self_test::{Rate, SelfCheck, SelfTestEvent, self_test};
pub use sharing::{ExportRequest, export_model, import_model};
pub use statistics::{CaseImages, CaseStatistics, StatisticsReport, StatisticsRequest, statistics};
pub use training::{TrainReport, TrainRequest};

pub use nnunet_augment as augment;
pub use nnunet_fingerprint as fingerprint;
pub use nnunet_image as image;
pub use nnunet_infer as infer;
pub use nnunet_nn as nn;
pub use nnunet_plan as plan;
pub use nnunet_preprocess as preprocess;
pub use nnunet_train as train;

/// Limits the number of threads of everything that follows; the default is one per core.
///
/// # Errors
/// The threads have already been started.
pub fn set_threads(threads: usize) -> Result<(), Error> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| Error::Invalid(format!("cannot set the number of threads to {threads}: {error}")))
}

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the project's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;
