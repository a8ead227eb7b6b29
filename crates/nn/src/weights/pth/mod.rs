//! nnU-Net's checkpoints: a zip archive with a pickle and one entry per storage.

mod archive;
mod tensors;

use std::path::Path;

use archive::Archive;

use super::ModelCheckpoint;
use super::pickle::{Id, Pickle, Value, read};
use crate::NnError;

pub(super) fn read_model(path: &Path) -> Result<ModelCheckpoint, NnError> {
    let wrong = |reason: String| NnError::checkpoint(path, reason);
    let mut archive = Archive::open(path)?;
    let pickle = read(&archive.pickle()?).map_err(|e| wrong(format!("data.pkl cannot be read: {e}")))?;
    let root = pickle.root();
    let weights = pickle.entry(root, "network_weights").ok_or_else(|| wrong(no_weights(&pickle)))?;
    let text = |id: Option<Id>| id.and_then(|id| pickle.text(id)).unwrap_or_default().to_owned();
    let init_args = pickle.entry(root, "init_args");
    Ok(ModelCheckpoint {
        path: path.to_owned(),
        weights: tensors::read_all(&pickle, weights, &mut archive)?,
        trainer_name: text(pickle.entry(root, "trainer_name")),
        configuration: text(init_args.and_then(|args| pickle.entry(args, "configuration"))),
        mirror_axes: mirror_axes(&pickle).map_err(wrong)?,
    })
}

fn no_weights(pickle: &Pickle) -> String {
    let Value::Dict(entries) = pickle.get(pickle.root()) else {
        return "expected a dictionary with network_weights; is this a checkpoint of nnU-Net v2?".to_owned();
    };
    let keys: Vec<_> = entries.iter().filter_map(|(key, _)| pickle.text(*key)).take(8).collect();
    format!("there are no network_weights, but {keys:?}; is this a checkpoint of nnU-Net v2?")
}

/// Old checkpoints do not tell, which means no mirroring.
fn mirror_axes(pickle: &Pickle) -> Result<Option<Vec<usize>>, String> {
    let Some(id) = pickle.entry(pickle.root(), "inference_allowed_mirroring_axes") else { return Ok(None) };
    match (pickle.get(id), pickle.sizes(id)) {
        (Value::None, _) => Ok(None),
        (_, Some(axes)) => Ok(Some(axes)),
        _ => Err("inference_allowed_mirroring_axes: expected a tuple of axes or None".to_owned()),
    }
}
