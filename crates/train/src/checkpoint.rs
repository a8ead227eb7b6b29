//! Checkpoints as safetensors: weights, the optimiser's state, and where the training stands.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use nnunet_nn::Parameters;
use nnunet_nn::weights::{read_safetensors, write_safetensors};
use serde::de::DeserializeOwned;

use crate::TrainError;
use crate::history::History;
use crate::optim::Optimiser;

const FORMAT: &str = "nnunet-1";
const WEIGHTS: &str = "network.";

/// The checkpoints of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// After the last epoch.
    Final,
    /// Every so many epochs and when a training is stopped.
    Latest,
    /// At the highest moving average of the pseudo Dice.
    Best,
}

impl Kind {
    /// In the order in which a resumed training looks for them.
    pub(crate) const ALL: [Self; 3] = [Self::Final, Self::Latest, Self::Best];

    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Final => "checkpoint_final.safetensors",
            Self::Latest => "checkpoint_latest.safetensors",
            Self::Best => "checkpoint_best.safetensors",
        })
    }
}

/// What of a training is not weights or the optimiser's state.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Next epoch.
    pub(crate) epoch: usize,
    /// Next training iteration of that epoch: not 0 where a training was stopped within an epoch.
    pub(crate) iteration: usize,
    /// Losses of the iterations before that one.
    pub(crate) losses: Vec<f64>,
    pub(crate) best_ema: Option<f32>,
    pub(crate) history: History,
}

/// What a checkpoint says about the model.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) trainer: String,
    pub(crate) configuration: String,
    /// Spatial axes of the patch (2-D: 0 and 1) that may be mirrored at test time.
    pub(crate) mirror_axes: Option<Vec<usize>>,
    pub(crate) init_args: serde_json::Value,
}

/// The first checkpoint of any kind in a fold's folder, nnU-Net's own included.
pub(crate) fn any_in(folder: &Path) -> Option<PathBuf> {
    let paths = Kind::ALL.map(|kind| kind.path(folder));
    let paths = paths.iter().flat_map(|path| [path.clone(), path.with_extension("pth")]);
    paths.into_iter().find(|path| path.exists())
}

/// Writes a checkpoint; an older one of the same name is replaced as a whole or not at all.
pub(crate) fn write(
    path: &Path,
    parameters: &Parameters,
    optimiser: &Optimiser,
    state: &State,
    identity: &Identity,
) -> Result<(), TrainError> {
    let mut tensors = Vec::new();
    for (name, var) in parameters.state() {
        tensors.push((format!("{WEIGHTS}{name}"), var.as_detached_tensor()));
    }
    tensors.extend(optimiser.state()?);
    let mut metadata = metadata(state, identity)?;
    metadata.insert("optimizer_steps".to_owned(), optimiser.steps().to_string());
    Ok(write_safetensors(path, &tensors, &metadata)?)
}

fn metadata(state: &State, identity: &Identity) -> Result<HashMap<String, String>, TrainError> {
    // NaN becomes null.
    let json = |value: serde_json::Result<String>| {
        value.map_err(|e| TrainError::Loader(format!("the state of the training cannot be written: {e}")))
    };
    let entries = [
        ("format", FORMAT.to_owned()),
        ("trainer_name", identity.trainer.clone()),
        ("configuration", identity.configuration.clone()),
        ("inference_allowed_mirroring_axes", json(serde_json::to_string(&identity.mirror_axes))?),
        ("current_epoch", state.epoch.to_string()),
        ("current_iteration", state.iteration.to_string()),
        ("losses_of_epoch", json(serde_json::to_string(&state.losses))?),
        ("_best_ema", json(serde_json::to_string(&state.best_ema.map(|best| [best])))?),
        ("logging", json(serde_json::to_string(&state.history))?),
        ("init_args", json(serde_json::to_string(&identity.init_args))?),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Loads the checkpoint that a resumed training goes on from; none if there is none.
///
/// Final, else latest, else best. A latest one that is ahead of the final one belongs to a finished training that was
/// prolonged and then stopped; it wins.
pub(crate) fn restore_from(
    folder: &Path,
    parameters: &Parameters,
    optimiser: &mut Optimiser,
    identity: &Identity,
) -> Result<Option<(PathBuf, State)>, TrainError> {
    let mut found: Option<(PathBuf, Read)> = None;
    for kind in Kind::ALL {
        let path = kind.path(folder);
        if !path.exists() || (kind == Kind::Best && found.is_some()) {
            continue;
        }
        let read = read(&path, identity)?;
        let ahead = found.as_ref().is_none_or(|(_, best)| {
            (read.state.epoch, read.state.iteration) > (best.state.epoch, best.state.iteration)
        });
        if ahead {
            found = Some((path, read));
        }
    }
    let Some((path, read)) = found else { return Ok(None) };
    let wrong = |message: String| TrainError::Checkpoint { path: path.clone(), message };
    parameters.load(&read.weights).map_err(|e| wrong(format!("it is of another network: {e}")))?;
    // In order, so that the same error is found each time.
    let ordered: BTreeMap<_, _> = read.optimiser.iter().collect();
    for (name, tensor) in ordered {
        if !optimiser.set_state(name, tensor).map_err(|e| wrong(e.to_string()))? {
            return Err(wrong(format!("the tensor {name} belongs to another optimiser")));
        }
    }
    optimiser.set_steps(read.steps);
    Ok(Some((path, read.state)))
}

struct Read {
    weights: HashMap<String, Tensor>,
    /// Everything that is not weights.
    optimiser: HashMap<String, Tensor>,
    steps: u64,
    state: State,
}

fn read(path: &Path, identity: &Identity) -> Result<Read, TrainError> {
    let (tensors, metadata) = read_safetensors(path)?;
    let wrong = |message: String| TrainError::Checkpoint { path: path.to_owned(), message };
    let text = |key: &str| {
        metadata.get(key).map(String::as_str).ok_or_else(|| wrong(format!("the entry {key} is missing")))
    };
    for (key, expected) in
        [("format", FORMAT), ("trainer_name", &identity.trainer), ("configuration", &identity.configuration)]
    {
        let found = text(key)?;
        if found != expected {
            return Err(wrong(format!("{key} is {found}, expected {expected}")));
        }
    }
    let best: Option<[Option<f32>; 1]> = parse("_best_ema", text("_best_ema")?).map_err(wrong)?;
    let state = State {
        epoch: parse("current_epoch", text("current_epoch")?).map_err(wrong)?,
        iteration: parse("current_iteration", text("current_iteration")?).map_err(wrong)?,
        losses: parse("losses_of_epoch", text("losses_of_epoch")?).map_err(wrong)?,
        best_ema: best.map(|[best]| best.unwrap_or(f32::NAN)),
        history: parse("logging", text("logging")?).map_err(wrong)?,
    };
    let steps = metadata.get("optimizer_steps").map_or(Ok(0), |text| parse("optimizer_steps", text));
    let steps = steps.map_err(wrong)?;
    let mut read = Read { weights: HashMap::new(), optimiser: HashMap::new(), steps, state };
    for (name, tensor) in tensors {
        match name.strip_prefix(WEIGHTS) {
            Some(weight) => read.weights.insert(weight.to_owned(), tensor),
            None => read.optimiser.insert(name, tensor),
        };
    }
    Ok(read)
}

fn parse<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("the entry {key} cannot be read: {e}"))
}
