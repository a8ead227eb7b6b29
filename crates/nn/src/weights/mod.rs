//! Checkpoints: ours (`.safetensors`) and nnU-Net's (`.pth`).

mod host;
mod names;
pub use nnunet_fingerprint::pickle;
mod pth;
mod safetensors;
mod training;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

pub(crate) use host::host_values;
pub(crate) use names::{COUNT, canonical_name};
pub use safetensors::{TensorsAndMetadata, read_safetensors, write_safetensors};
pub use training::TrainingCheckpoint;

use crate::NnError;

/// What prediction needs of a checkpoint.
#[derive(Debug, Clone)]
pub struct ModelCheckpoint {
    /// The file it was read from.
    pub path: PathBuf,
    /// The network's weights under nnU-Net's names.
    pub weights: HashMap<String, Tensor>,
    /// Name of the trainer; empty if the file does not tell.
    pub trainer_name: String,
    /// Name of the configuration; empty if the file does not tell.
    pub configuration: String,
    /// Axes of the patch along which training mirrored and prediction may; none if it may not.
    pub mirror_axes: Option<Vec<usize>>,
}

/// Reads the weights of a checkpoint, `.safetensors` or `.pth`.
///
/// A `.pth` file is read as data: nothing in it is executed, and no more memory is taken than the file has bytes, besides
/// a bounded amount for its description.
///
/// # Errors
/// The file cannot be read or is not a checkpoint of a network; the error names the file, and the weight where there is one.
pub fn read_checkpoint(path: &Path) -> Result<ModelCheckpoint, NnError> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => safetensors::read_model(path),
        Some("pth") => pth::read_model(path),
        _ => Err(NnError::checkpoint(path, "expected a name that ends in .safetensors or .pth")),
    }
}

/// As [`read_checkpoint`], from the bytes of a file, whichever of both it is; `name` is for errors.
///
/// # Errors
/// The bytes are not a checkpoint of a network.
pub fn checkpoint_from_bytes(name: &Path, bytes: Vec<u8>) -> Result<ModelCheckpoint, NnError> {
    if bytes.starts_with(b"PK") {
        pth::model_of_bytes(name, bytes)
    } else {
        safetensors::model_of(name, &bytes)
    }
}
