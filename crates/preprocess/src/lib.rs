//! nnU-Net's preprocessing: crop to non-zero, normalise, resample; and the store that training reads from.
//!
//! [`preprocess_case`] turns one image (and its segmentation) into the arrays that a network sees. [`preprocess_dataset`] does
//! so for a whole data set and leaves a [`Store`], from which [`Store::read_patch`] reads no more than it needs.
//!
//! ```
//! use ndarray::Array3;
//! use nnunet_plan::Normalization;
//! use nnunet_preprocess::normalize;
//!
//! let mut channel = Array3::from_shape_vec((1, 1, 3), vec![10.0, 20.0, 30.0]).unwrap();
//! normalize(channel.view_mut(), Normalization::RescaleTo01, None, None).unwrap();
//! assert_eq!(channel.as_slice().unwrap(), [0.0, 0.5, 1.0]);
//! ```

mod case;
mod chunked;
mod dataset;
mod error;
mod frame;
mod locations;
mod normalize;
mod npy;
mod previous_stage;
mod store;

pub use case::{
    CaseProperties, PreprocessedCase, append_one_hot, preprocess_cascade_case, preprocess_case, resampling,
};
pub use dataset::{preprocess_dataset, preprocess_dataset_as};
pub use error::PreprocessError;
pub use frame::CaseFrame;
pub use locations::{ClassKey, ClassLocations, class_locations};
pub use normalize::normalize;
pub use previous_stage::PreviousStage;
pub use store::{Store, StoreFormat};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
