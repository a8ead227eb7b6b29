//! nnU-Net's checkpoints: a zip archive with a pickle and one entry per storage.

mod archive;
mod tensors;
mod write;

use std::path::Path;

use archive::Archive;
use candle_core::Tensor;
use tensors::Tensors;

use super::names::is_kept;
use super::pickle::{Id, Pickle, Value, plain, read};
use super::training::BUFFERS;
use super::{ModelCheckpoint, TrainingCheckpoint, canonical_name, host_values};
use crate::NnError;

pub(super) use write::write;

pub(super) fn read_model(path: &Path) -> Result<ModelCheckpoint, NnError> {
    model_of(path, Archive::open(path)?)
}

/// The model that the bytes of a file hold.
pub(super) fn model_of_bytes(path: &Path, bytes: Vec<u8>) -> Result<ModelCheckpoint, NnError> {
    model_of(path, Archive::of_bytes(path, bytes)?)
}

fn model_of(path: &Path, mut archive: Archive) -> Result<ModelCheckpoint, NnError> {
    let wrong = |reason: String| NnError::checkpoint(path, reason);
    let pickle = read(&archive.pickle()?).map_err(|e| wrong(format!("data.pkl cannot be read: {e}")))?;
    let root = pickle.root();
    let weights = pickle.entry(root, "network_weights").ok_or_else(|| wrong(no_weights(&pickle)))?;
    let text = |id: Option<Id>| id.and_then(|id| pickle.text(id)).unwrap_or_default().to_owned();
    let init_args = pickle.entry(root, "init_args");
    Ok(ModelCheckpoint {
        path: path.to_owned(),
        weights: Tensors::new(&pickle, &mut archive).all(weights)?.into_iter().collect(),
        trainer_name: text(pickle.entry(root, "trainer_name")),
        configuration: text(init_args.and_then(|args| pickle.entry(args, "configuration"))),
        mirror_axes: mirror_axes(&pickle).map_err(wrong)?,
    })
}

/// Everything that a training goes on from, and the rest as JSON.
pub(super) fn read_training(path: &Path) -> Result<TrainingCheckpoint, NnError> {
    let wrong = |reason: String| NnError::checkpoint(path, reason);
    let mut archive = Archive::open(path)?;
    let pickle = read(&archive.pickle()?).map_err(|e| wrong(format!("data.pkl cannot be read: {e}")))?;
    let root = pickle.root();
    let weights = pickle.entry(root, "network_weights").ok_or_else(|| wrong(no_weights(&pickle)))?;
    let mut tensors = Tensors::new(&pickle, &mut archive);
    // The first of a weight's names; in the order of the dictionary, which is that of the optimiser.
    let mut distinct: Vec<(String, Tensor)> = Vec::new();
    for (name, tensor) in tensors.all(weights)? {
        let name = canonical_name(&name);
        if !distinct.iter().any(|(known, _)| *known == name) {
            distinct.push((name, tensor));
        }
    }
    let trained: Vec<&str> =
        distinct.iter().map(|(name, _)| name.as_str()).filter(|name| !is_kept(name)).collect();
    let (optimiser, steps) = optimiser(&pickle, &mut tensors, &trained)?;
    let mut entries = serde_json::Map::new();
    for key in ["logging", "_best_ema", "current_epoch", "init_args"] {
        if let Some(id) = pickle.entry(root, key) {
            let value = plain(&pickle, id).map_err(|e| wrong(format!("{key}: {e}")))?;
            entries.insert(key.to_owned(), value.to_json());
        }
    }
    let text = |id: Option<Id>| id.and_then(|id| pickle.text(id)).unwrap_or_default().to_owned();
    let init_args = pickle.entry(root, "init_args");
    Ok(TrainingCheckpoint {
        weights: distinct,
        optimiser,
        steps,
        trainer_name: text(pickle.entry(root, "trainer_name")),
        configuration: text(init_args.and_then(|args| pickle.entry(args, "configuration"))),
        mirror_axes: mirror_axes(&pickle).map_err(wrong)?,
        entries,
    })
}

/// What the optimiser keeps for each weight, as `<buffer>.<weight>`, and the steps that it counts.
fn optimiser(
    pickle: &Pickle,
    tensors: &mut Tensors<'_>,
    weights: &[&str],
) -> Result<(Vec<(String, Tensor)>, u64), NnError> {
    let (mut all, mut steps) = (Vec::new(), 0);
    let state = pickle.entry(pickle.root(), "optimizer_state").and_then(|id| pickle.entry(id, "state"));
    let Some(Value::Dict(states)) = state.map(|id| pickle.get(id)) else { return Ok((all, steps)) };
    for &(number, state) in states {
        let Some(name) = pickle.size(number).and_then(|number| weights.get(number)) else { continue };
        for (ours, theirs) in BUFFERS {
            let Some(buffer) = pickle.entry(state, theirs) else { continue };
            if *pickle.get(buffer) != Value::None {
                all.push((format!("{ours}.{name}"), tensors.one(buffer, &format!("{theirs} of {name}"))?));
            }
        }
        if let Some(step) = pickle.entry(state, "step") {
            // A tensor, a whole number in older versions.
            let counted = match pickle.size(step) {
                Some(steps) => steps as f64,
                None => {
                    let tensor = tensors.one(step, &format!("step of {name}"))?.flatten_all()?;
                    f64::from(host_values(&tensor)?.first().copied().unwrap_or(0.0))
                }
            };
            steps = steps.max(counted as u64);
        }
    }
    Ok((all, steps))
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
