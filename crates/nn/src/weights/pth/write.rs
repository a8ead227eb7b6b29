//! Checkpoints as `torch.save` writes them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use nnunet_image::fs::write_atomic;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::NnError;
use crate::weights::names::{is_kept, state_names};
use crate::weights::pickle::{Plain, write_plain};
use crate::weights::training::{BUFFERS, split};
use crate::weights::{TrainingCheckpoint, host_values};

/// Hyper-parameters of nnU-Net's optimisers.
const LEARNING_RATE: f64 = 0.01;
const WEIGHT_DECAY: f64 = 3e-5;
const MOMENTUM: f64 = 0.99;
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Writes a checkpoint; `names` are the first names of all weights in the order of the state dictionary, which is that of the
/// optimiser but for what is not trained.
pub(in crate::weights) fn write(
    path: &Path,
    checkpoint: &TrainingCheckpoint,
    names: &[String],
    dropout: bool,
) -> Result<(), NnError> {
    let mut storages = Storages { tensors: Vec::new() };
    let weights: HashMap<&str, &Tensor> = checkpoint.weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let tensor = weights.get(name.as_str()).ok_or_else(|| NnError::weight(name, "missing"))?;
        tensors.push(storages.add(tensor));
    }
    let state = state_names(names, dropout)
        .into_iter()
        .map(|(name, number)| (Plain::Text(name), tensors[number].clone()));
    let trained: Vec<&String> = names.iter().filter(|name| !is_kept(name)).collect();
    let root = root(checkpoint, Plain::Dict(state.collect()), optimizer(checkpoint, &trained, &mut storages));
    let stem = path.file_stem().map_or_else(|| "archive".into(), |stem| stem.to_string_lossy().into_owned());
    write_atomic(path, |out| archive(out, &stem, &write_plain(&root), &storages.tensors))
        .map_err(|source| NnError::Io { path: path.to_owned(), source })
}

/// The tensors that are written, each in a storage of its own.
struct Storages<'a> {
    tensors: Vec<&'a Tensor>,
}

impl<'a> Storages<'a> {
    /// What stands for a tensor in the pickle.
    fn add(&mut self, tensor: &'a Tensor) -> Plain {
        let number = self.tensors.len();
        self.tensors.push(tensor);
        let sizes =
            |values: Vec<usize>| Plain::Tuple(values.into_iter().map(|n| Plain::Int(n as i64)).collect());
        let mut strides = vec![1; tensor.rank()];
        for axis in (1..tensor.rank()).rev() {
            strides[axis - 1] = strides[axis] * tensor.dims()[axis];
        }
        let storage = Plain::Tuple(vec![
            Plain::text("storage"),
            Plain::Global(
                "torch".into(),
                if tensor.dtype() == DType::I64 { "LongStorage" } else { "FloatStorage" }.into(),
            ),
            Plain::text(number.to_string()),
            Plain::text("cpu"),
            Plain::Int(tensor.elem_count() as i64),
        ]);
        let hooks = Plain::Call("collections".into(), "OrderedDict".into(), Vec::new());
        Plain::Call(
            "torch._utils".into(),
            "_rebuild_tensor_v2".into(),
            vec![
                Plain::Persistent(Box::new(storage)),
                Plain::Int(0),
                sizes(tensor.dims().to_vec()),
                sizes(strides),
                Plain::Bool(false),
                hooks,
            ],
        )
    }
}

/// The state of the optimiser as PyTorch's, with nnU-Net's settings: SGD, or Adam where that has left its means.
fn optimizer<'a>(
    checkpoint: &'a TrainingCheckpoint,
    names: &[&String],
    storages: &mut Storages<'a>,
) -> Plain {
    let mut states = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let mut state = Vec::new();
        for (ours, theirs) in BUFFERS {
            let buffer =
                checkpoint.optimiser.iter().find(|(known, _)| split(known, ours) == Some(name.as_str()));
            if let Some((_, tensor)) = buffer {
                state.push((Plain::text(theirs), storages.add(tensor)));
            }
        }
        if state.is_empty() {
            continue;
        }
        if checkpoint.steps > 0 {
            // PyTorch takes whole numbers as well as tensors, and makes a tensor of them.
            state.insert(0, (Plain::text("step"), Plain::Int(checkpoint.steps as i64)));
        }
        states.push((Plain::Int(number as i64), Plain::Dict(state)));
    }
    let has = |buffer: &str| checkpoint.optimiser.iter().any(|(name, _)| split(name, buffer).is_some());
    let rates = checkpoint.entries.get("logging").and_then(|logging| logging.get("lrs")?.as_array());
    let rate = |rate: Option<&Value>| rate.and_then(Value::as_f64).unwrap_or(LEARNING_RATE);
    let (first, last) = (rate(rates.and_then(|r| r.first())), rate(rates.and_then(|r| r.last())));
    let settings = match has("exp_avg") {
        true => adam(&checkpoint.trainer_name, has("max_exp_avg_sq")),
        false => sgd(),
    };
    let mut group = vec![("lr", Plain::Float(last)), ("initial_lr", Plain::Float(first))];
    group.extend(settings);
    group.extend([
        ("weight_decay", Plain::Float(WEIGHT_DECAY)),
        ("maximize", Plain::Bool(false)),
        ("foreach", Plain::None),
        ("differentiable", Plain::Bool(false)),
        ("fused", Plain::None),
        ("params", Plain::List((0..names.len() as i64).map(Plain::Int).collect())),
    ]);
    Plain::dict([("state", Plain::Dict(states)), ("param_groups", Plain::List(vec![Plain::dict(group)]))])
}

fn sgd() -> Vec<(&'static str, Plain)> {
    vec![("momentum", Plain::Float(MOMENTUM)), ("dampening", Plain::Int(0)), ("nesterov", Plain::Bool(true))]
}

/// nnU-Net's trainers take AdamW, but for those whose name says otherwise.
fn adam(trainer: &str, amsgrad: bool) -> Vec<(&'static str, Plain)> {
    let betas = BETAS.map(Plain::Float).to_vec();
    vec![
        ("betas", Plain::Tuple(betas)),
        ("eps", Plain::Float(EPSILON)),
        ("amsgrad", Plain::Bool(amsgrad)),
        ("capturable", Plain::Bool(false)),
        ("decoupled_weight_decay", Plain::Bool(!trainer.contains("VanillaAdam"))),
    ]
}

fn root(checkpoint: &TrainingCheckpoint, weights: Plain, optimizer: Plain) -> Plain {
    let entry = |key: &str| checkpoint.entries.get(key).map_or(Plain::None, Plain::from_json);
    let numbers = |value: &Value| with_nan(Plain::from_json(value));
    let axes = checkpoint
        .mirror_axes
        .as_ref()
        .map_or(Plain::None, |axes| Plain::Tuple(axes.iter().map(|&axis| Plain::Int(axis as i64)).collect()));
    let mut init_args = match entry("init_args") {
        Plain::Dict(entries) => entries,
        _ => Vec::new(),
    };
    let device = Plain::Call("torch".into(), "device".into(), vec![Plain::text("cpu")]);
    for (key, value) in [("configuration", Plain::text(checkpoint.configuration.clone())), ("device", device)]
    {
        init_args.retain(|(known, _)| *known != Plain::text(key));
        init_args.push((Plain::text(key), value));
    }
    Plain::dict([
        ("network_weights", weights),
        ("optimizer_state", optimizer),
        ("grad_scaler_state", Plain::None),
        ("logging", checkpoint.entries.get("logging").map_or(Plain::Dict(Vec::new()), numbers)),
        ("_best_ema", entry("_best_ema")),
        ("current_epoch", checkpoint.entries.get("current_epoch").map_or(Plain::Int(0), Plain::from_json)),
        ("init_args", Plain::Dict(init_args)),
        ("trainer_name", Plain::text(checkpoint.trainer_name.clone())),
        ("inference_allowed_mirroring_axes", axes),
    ])
}

/// JSON has no NaN: null among numbers stands for it.
fn with_nan(value: Plain) -> Plain {
    match value {
        Plain::None => Plain::Float(f64::NAN),
        Plain::List(items) => Plain::List(items.into_iter().map(with_nan).collect()),
        Plain::Dict(entries) => Plain::Dict(entries.into_iter().map(|(k, v)| (k, with_nan(v))).collect()),
        other => other,
    }
}

fn archive(out: &mut dyn Write, stem: &str, pickle: &[u8], tensors: &[&Tensor]) -> io::Result<()> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new_stream(out);
    let mut file = |name: &str, bytes: &[u8]| {
        zip.start_file(
            format!("{stem}/{name}"),
            stored.large_file(bytes.len() as u64 > u64::from(u32::MAX)),
        )?;
        zip.write_all(bytes)
    };
    file("data.pkl", pickle)?;
    file("byteorder", b"little")?;
    for (number, tensor) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = if tensor.dtype() == DType::I64 {
            let values =
                tensor.flatten_all().and_then(|flat| flat.to_vec1::<i64>()).map_err(io::Error::other)?;
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else {
            let values = host_values(tensor).map_err(io::Error::other)?;
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        file(&format!("data/{number}"), &bytes)?;
    }
    file("version", b"3\n")?;
    zip.finish()?.flush()
}
