//! nnU-Net inference for programs that are not Rust.
//!
//! The header `include/nnunet.h` describes the interface; `examples/segment.c` is a whole program. The same functions are
//! what the module for WebAssembly exports.
//!
//! - A model ([`nnunet_model_open`], [`nnunet_model_from_bytes`]) stays loaded and serves several threads at a time.
//! - [`nnunet_predict`] takes an array, [`nnunet_predict_files`] and [`nnunet_predict_nifti`] images with their geometry.
//! - What comes back is a result: labels, probabilities, or the bytes of a NIfTI file.
//! - Functions return a [`Status`]; [`nnunet_last_error`] says what went wrong on this thread in a sentence.
//!
//! Models, results and cancellations are handles: one that was freed, or is of another kind, is an error, not a crash. No
//! panic crosses the edge.
//!
//! ```
//! use std::ffi::CStr;
//! use nnunet_capi::{Status, nnunet_last_error, nnunet_model_open};
//!
//! let mut model = std::ptr::null_mut();
//! // SAFETY: the text ends with a zero, the options may be null, and `model` can be written.
//! let status = unsafe { nnunet_model_open(c"/no/such/model".as_ptr(), std::ptr::null(), &mut model) };
//! assert_eq!(status, Status::Model);
//! // SAFETY: the text stays until the next error of this thread.
//! let text = unsafe { CStr::from_ptr(nnunet_last_error()) }.to_str().unwrap();
//! assert!(text.contains("no such folder"), "{text}");
//! ```
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `nifti` | yes | NIfTI files, on disk and in memory |

mod cancel;
mod edge;
mod handles;
mod model;
mod options;
mod predict;
mod result;
#[cfg(target_arch = "wasm32")]
mod wasm;

pub use cancel::{Cancel, nnunet_cancel_free, nnunet_cancel_new, nnunet_cancel_request};
pub use edge::{Status, nnunet_last_error, nnunet_version};
pub use model::{
    Model, nnunet_model_channels, nnunet_model_describe, nnunet_model_free, nnunet_model_from_bytes,
    nnunet_model_open,
};
pub use options::{Options, PRECISION_AUTO, PRECISION_BF16, PRECISION_F32, nnunet_options_init};
#[cfg(feature = "nifti")]
pub use predict::nnunet_predict_nifti;
pub use predict::{Bytes, ImageArray, Progress, nnunet_predict, nnunet_predict_files};
#[cfg(feature = "nifti")]
pub use result::nnunet_result_nifti;
pub use result::{
    Outcome, nnunet_result_free, nnunet_result_labels, nnunet_result_probabilities, nnunet_result_write,
};
#[cfg(target_arch = "wasm32")]
pub use wasm::{nnunet_alloc, nnunet_dealloc, nnunet_host_progress};
