//! Trained models, ready to segment images.

mod batch;
mod blocks;
mod case;
#[cfg(feature = "dicom")]
mod dicom;
mod files;
mod model_bytes;
mod model_folder;
mod network;
mod output;
mod predicted;
// Beside probabilities alone.
#[cfg_attr(not(feature = "npz"), allow(dead_code))]
mod properties;
mod single;

pub use batch::BatchOptions;
pub use case::CaseInput;
#[cfg(feature = "dicom")]
pub use dicom::DicomPrediction;
pub use files::{SeeLogits, select_part};
pub use model_bytes::ModelBytes;
pub use output::{CaseSink, TakeProbabilities};
pub use single::Predictor;

#[cfg(feature = "npz")]
pub(crate) use properties::{Properties, with_ending};
