//! The heuristics of nnU-Net: from a data set's fingerprint to plans.
//!
//! - [`plan_experiment`] decides target spacing, patch size, network topology, batch size, normalisation and resampling for
//!   the configurations `2d`, `3d_fullres` and, where patches are small relative to the images, `3d_lowres` and
//!   `3d_cascade_fullres`.
//! - [`Plans`] is `plans.json`; [`Plans::configuration`] resolves inheritance; plans of older versions are read as well.
//! - [`Architecture::resolve`] gives the network as plain data ([`NetworkSpec`]); its memory estimate is arithmetic.
//!
//! No image and no network is needed:
//!
//! ```
//! use nnunet_plan::{DatasetJson, Fingerprint, PlannerOptions, plan_experiment};
//!
//! let dataset: DatasetJson = serde_json::from_str(
//!     r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "hippocampus": 1},
//!         "numTraining": 3, "file_ending": ".nii.gz"}"#,
//! ).unwrap();
//! let fingerprint: Fingerprint = serde_json::from_str(
//!     r#"{"foreground_intensity_properties_per_channel": {}, "median_relative_size_after_cropping": 1.0,
//!         "shapes_after_crop": [[36, 50, 35], [35, 52, 36], [38, 49, 34]],
//!         "spacings": [[1, 1, 1], [1, 1, 1], [1, 1, 1]]}"#,
//! ).unwrap();
//! let plans = plan_experiment(&fingerprint, &dataset, &PlannerOptions::default()).unwrap();
//! assert_eq!(plans.configuration("3d_fullres").unwrap().patch_size, [40, 56, 40]);
//! ```

mod architecture;
mod blocks;
mod composed;
mod configure;
mod cost;
mod error;
mod experiment;
mod explain;
mod legacy;
mod planner;
mod presets;
mod schema;
mod spacing;
mod topology;
mod variants;

pub use architecture::{Architecture, NetworkKind, NetworkSpec, NormSpec};
pub use blocks::{Activation, BlockKind, Blocks, DecoderKind, DownKind, DropoutKind, NormKind, UpKind};
pub use error::PlanError;
pub use experiment::{PlannerOptions, plan_experiment};
pub use explain::{Choice, explain_plans};
pub use planner::Planner;
pub use presets::{Preset, PresetShape};
pub use schema::{Configuration, Names, Normalization, Plans, ResamplingKwargs};

pub use nnunet_fingerprint::{Class, DatasetJson, Fingerprint, LabelRules};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the page on the heuristics alone.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/heuristics.md")]
struct Heuristics;
