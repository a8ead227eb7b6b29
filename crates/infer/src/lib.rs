//! # Prediction and evaluation with nnU-Net models
//!
//! A trained network sees patches; images are larger, have another resolution, and come in any orientation.
//! This crate slides the network over the preprocessed image, averages what the overlapping tiles and their
//! mirrored versions say, and brings the result back to the grid of the image as it was read. Rules and
//! numbers are those of Isensee et al., *nnU-Net: a self-configuring method for deep learning-based
//! biomedical image segmentation*, Nature Methods 18 (2021), as nnU-Net v2.8.1 carries them out.
//!
//! - [`Predictor`] holds one model, of one fold or several, and predicts images, files or preprocessed cases.
//! - [`tile_positions`], [`gaussian_importance_map`], [`blend_tiles`]: where tiles lie, how their voxels are weighed and
//!   averaged.
//! - [`export_logits`]: from the network's grid to labels and probabilities on the image's.
//! - [`rank_methods`]: rankings of several methods from their summaries, as challenges make them.
//! - [`evaluate_folder`]: Dice and the like, as `summary.json` has them ([`Summary`]); [`evaluate_folder_extended`]: surface
//!   distances and lesions.
//! - [`label_statistics`]: volume, place and intensities of each label.
//! - [`determine_postprocessing`], [`Postprocessing`]: whether to keep only the largest components.
//! - [`Ensemble`]: segmentations from the mean of several models' probabilities.
//!
//! Beside the image, the logits and the results, memory holds no more than a few tiles and rows. In
//! [`Accumulator::F16`] mode, sums are rounded like those of the reference, for a comparison voxel by voxel.
//!
//! ```
//! use ndarray::array;
//! use nnunet_fingerprint::Class;
//! use nnunet_infer::Confusion;
//!
//! let reference = array![[[0, 0, 1, 1]]];
//! let prediction = array![[[0, 1, 1, 1]]];
//! let confusion = Confusion::count(reference.view(), prediction.view()).unwrap();
//! assert_eq!(confusion.metrics(&Class::Label(1), None).dice, 0.8);
//! ```
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `nifti` | yes | NIfTI files, and probabilities as NIfTI images |
//! | `npz` | yes | probabilities as NumPy archives; ensembles, which read them |
//! | `dicom` | no | DICOM series as cases: `Predictor::predict_dicom` |
//! | `cuda`, `cudnn` | no | prediction on CUDA devices; see `nnunet-nn` |
//! | `emulator` | no | a stand-in for a CUDA device, for tests; see `nnunet-nn` |

mod cancel;
#[cfg(feature = "npz")]
mod ensemble;
mod error;
mod evaluate;
mod export;
mod folder;
mod logits;
mod options;
mod postprocess;
mod predictor;
mod rank;
mod statistics;
mod window;

pub use cancel::CancelToken;
#[cfg(feature = "npz")]
pub use ensemble::{
    Ensemble, EnsembleCase, copy_descriptions, crossval_cases, ensemble_cases, labels_of_probabilities,
};
pub use error::InferError;
pub use evaluate::{
    CaseSummary, Confusion, ExtendedCase, ExtendedMetrics, ExtendedOptions, ExtendedSummary, MeanMetrics,
    Metrics, Summary, evaluate_folder, evaluate_folder_extended,
};
pub use export::{Prediction, TakeSlab, export_logits, export_logits_channels_last, export_logits_in_slabs};
pub use options::{Accumulator, PredictorOptions};
pub use postprocess::{KeepLargest, Postprocessing, PostprocessingReport, determine_postprocessing};
#[cfg(feature = "dicom")]
pub use predictor::DicomPrediction;
pub use predictor::{
    BatchOptions, CaseInput, CaseSink, ModelBytes, Predictor, SeeLogits, TakeProbabilities, select_part,
};
pub use rank::{
    MethodRanking, MissingCases, RankOptions, Ranking, ScoreKind, ScoreTable, Stability, holm, kendall_tau,
    rank_methods, ranks, wilcoxon_greater,
};
pub use statistics::{IntensityStatistics, LabelStatistics, VoxelBox, count_labels, label_statistics};
pub use window::{blend_tiles, gaussian_importance_map, tile_positions};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
