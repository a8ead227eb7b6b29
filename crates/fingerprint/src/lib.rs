//! The raw data set of nnU-Net and its fingerprint.
//!
//! - [`Dataset`]: `dataset.json` and the cases of a folder; [`verify_layout`] and [`verify`] check
//!   all of it and report everything that they find.
//! - [`LabelRules`]: labels, regions and the ignore label.
//! - [`extract_fingerprint`]: shapes, spacings and foreground intensities, number by number those of nnU-Net v2.
//! - [`create_splits`]: nnU-Net's five folds.
//! - [`json`], [`rng`], [`numpy`]: the reference's text form, random numbers and statistics.
//!
//! Images are read through [`nnunet_image::CaseReader`], so this crate depends on no image format.
//!
//! ```
//! use nnunet_fingerprint::create_splits;
//!
//! let cases: Vec<String> = (0..12).map(|i| format!("case_{i:02}")).collect();
//! let splits = create_splits(&cases).unwrap();
//! assert_eq!(splits[0].val, ["case_00", "case_03", "case_08"]);
//! ```

mod dataset;
mod description;
mod error;
mod extract;
mod foreground;
pub mod json;
mod labels;
pub mod numpy;
pub mod pickle;
pub mod rng;
mod splits;
mod verify;

pub use dataset::{Case, Dataset, dataset_name, list_cases};
pub use description::{DatasetEntry, DatasetJson, LabelValue};
pub use error::DatasetError;
pub use extract::{Fingerprint, IntensityProperties, extract_fingerprint};
pub use json::JsonError;
pub use labels::{Class, LabelRules};
pub use splits::{Fold, Split, create_splits, split_for_fold};
pub use verify::{Finding, Severity, verify, verify_layout};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
