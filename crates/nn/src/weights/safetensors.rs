//! Our checkpoints: tensors `network.<name>` and `momentum.<name>`, everything else as metadata.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use candle_core::{Device, Tensor};
use nnunet_image::fs::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use super::{ModelCheckpoint, host_values};
use crate::NnError;

/// Format that the metadata names.
pub(super) const FORMAT: &str = "nnunet-1";

/// Writes tensors as 32-bit floats with metadata: the whole file or, if anything fails, none.
///
/// The same tensors and metadata give the same bytes. One tensor at a time is copied.
///
/// # Errors
/// Two tensors of the same name, one that cannot be copied to the host, or a file that cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &HashMap<String, String>,
) -> Result<(), NnError> {
    let header = header(path, tensors, metadata)?;
    write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| write_values(tensor, out))
    })
    .map_err(|source| NnError::Io { path: path.to_owned(), source })
}

/// Names, shapes and places of the tensors, padded so that their values are aligned.
fn header(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &HashMap<String, String>,
) -> Result<Vec<u8>, NnError> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata.iter().collect::<BTreeMap<_, _>>()));
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + 4 * tensor.elem_count();
        let entry = json!({ "dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, end] });
        if header.insert(name.clone(), entry).is_some() {
            return Err(NnError::checkpoint(path, format!("cannot write two tensors named {name}")));
        }
        start = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn write_values(tensor: &Tensor, out: &mut dyn Write) -> io::Result<()> {
    host_values(tensor).map_err(io::Error::other)?.chunks(4096).try_for_each(|chunk| {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
}

/// Tensors by name, and the metadata of the file.
pub type TensorsAndMetadata = (HashMap<String, Tensor>, HashMap<String, String>);

/// Reads all tensors and the metadata.
///
/// # Errors
/// The file cannot be read, is truncated, or holds tensors that are not 32-bit floats.
pub fn read_safetensors(path: &Path) -> Result<TensorsAndMetadata, NnError> {
    parse(path, &read(path)?)
}

fn read(path: &Path) -> Result<Vec<u8>, NnError> {
    std::fs::read(path).map_err(|source| NnError::Io { path: path.to_owned(), source })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<TensorsAndMetadata, NnError> {
    let wrong = |e: safetensors::SafeTensorError| {
        NnError::checkpoint(path, format!("not a whole safetensors file: {e}"))
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut tensors = HashMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(wrong)?.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(NnError::checkpoint(
                path,
                format!("tensor {name}: type {:?}, expected F32", view.dtype()),
            ));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
    }
    Ok((tensors, metadata))
}

pub(super) fn read_model(path: &Path) -> Result<ModelCheckpoint, NnError> {
    model_of(path, &read(path)?)
}

/// The model that the bytes of a file hold.
pub(super) fn model_of(path: &Path, bytes: &[u8]) -> Result<ModelCheckpoint, NnError> {
    let (tensors, metadata) = parse(path, bytes)?;
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
            NnError::checkpoint(
                path,
                format!("metadata entry inference_allowed_mirroring_axes is {axes:?}: {e}"),
            )
        })?
    };
    Ok(ModelCheckpoint {
        path: path.to_owned(),
        weights,
        trainer_name: text("trainer_name"),
        configuration: text("configuration"),
        mirror_axes,
    })
}
