//! Our checkpoints: tensors `network.<name>` and `momentum.<name>`, everything else as metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nnunet_image::fs::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::ModelCheckpoint;
use crate::NnError;

/// Format that the metadata names.
const FORMAT: &str = "nnunet-1";

/// Writes tensors as 32-bit floats with metadata, in one piece.
///
/// # Errors
/// A tensor that cannot be copied to the host, or a file that cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &HashMap<String, String>,
) -> Result<(), NnError> {
    let mut buffers = BTreeMap::new();
    for (name, tensor) in tensors {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        buffers.insert(name.as_str(), (tensor.dims().to_vec(), bytes));
    }
    let wrong = |e: safetensors::SafeTensorError| NnError::checkpoint(path, format!("cannot write tensors: {e}"));
    let mut views = Vec::with_capacity(buffers.len());
    for (name, (shape, bytes)) in &buffers {
        views.push((*name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(wrong)?));
    }
    let bytes = safetensors::serialize(views, Some(metadata.clone())).map_err(wrong)?;
    write_atomic(path, |out| out.write_all(&bytes))
        .map_err(|source| NnError::Io { path: path.to_owned(), source })
}

/// Reads all tensors and the metadata.
///
/// # Errors
/// The file cannot be read, is truncated, or holds tensors that are not 32-bit floats.
pub fn read_safetensors(path: &Path) -> Result<(HashMap<String, Tensor>, HashMap<String, String>), NnError> {
    let bytes = std::fs::read(path).map_err(|source| NnError::Io { path: path.to_owned(), source })?;
    let wrong = |e: safetensors::SafeTensorError| NnError::checkpoint(path, format!("not a whole safetensors file: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut tensors = HashMap::new();
    for (name, view) in SafeTensors::deserialize(&bytes).map_err(wrong)?.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(NnError::checkpoint(path, format!("tensor {name}: type {:?}, expected F32", view.dtype())));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
    }
    Ok((tensors, metadata))
}

pub(super) fn read_model(path: &Path) -> Result<ModelCheckpoint, NnError> {
    let (tensors, metadata) = read_safetensors(path)?;
    match metadata.get("format").map(String::as_str) {
        Some(FORMAT) => {}
        found => {
            let reason = format!("metadata entry format is {found:?}, expected {FORMAT:?}");
            return Err(NnError::checkpoint(path, reason));
        }
    }
    let weights: HashMap<String, Tensor> = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("network.")?.to_owned(), tensor)))
        .collect();
    if weights.is_empty() {
        return Err(NnError::checkpoint(path, "there are no tensors named network.…"));
    }
    let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    let axes = text("inference_allowed_mirroring_axes");
    let mirror_axes = if axes.is_empty() {
        None
    } else {
        serde_json::from_str(&axes).map_err(|e| {
            NnError::checkpoint(path, format!("metadata entry inference_allowed_mirroring_axes is {axes:?}: {e}"))
        })?
    };
    Ok(ModelCheckpoint {
        weights,
        trainer_name: text("trainer_name"),
        configuration: text("configuration"),
        mirror_axes,
    })
}
