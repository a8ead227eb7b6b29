//! Whole checkpoints, from one format to the other.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nnunet_plan::{Activation, NetworkKind, NetworkSpec, NormKind};
use serde_json::{Map, Value};

use super::{COUNT, pth, read_safetensors, safetensors, write_safetensors};
use crate::NnError;
use crate::model::state_order;

/// What optimisers keep for a weight: our name and PyTorch's.
pub(super) const BUFFERS: [(&str, &str); 4] = [
    ("momentum", "momentum_buffer"),
    ("exp_avg", "exp_avg"),
    ("exp_avg_sq", "exp_avg_sq"),
    ("max_exp_avg_sq", "max_exp_avg_sq"),
];

/// The weight of `<buffer>.<weight>`.
pub(super) fn split<'a>(name: &'a str, buffer: &str) -> Option<&'a str> {
    name.strip_prefix(buffer)?.strip_prefix('.')
}

/// Everything that a checkpoint holds, so that a training can go on from it in either format.
#[derive(Debug, Clone)]
pub struct TrainingCheckpoint {
    /// The network's weights under their first names.
    pub weights: Vec<(String, Tensor)>,
    /// What the optimiser keeps for each weight, as `<buffer>.<weight>`: `momentum` of SGD; `exp_avg`, `exp_avg_sq` and, with
    /// AMSGrad, `max_exp_avg_sq` of Adam and AdamW.
    pub optimiser: Vec<(String, Tensor)>,
    /// Steps that Adam has taken; 0 for SGD.
    pub steps: u64,
    /// Name of the trainer; empty if the file does not tell.
    pub trainer_name: String,
    /// Name of the configuration; empty if the file does not tell.
    pub configuration: String,
    /// Axes of the patch along which prediction may mirror; none if it may not.
    pub mirror_axes: Option<Vec<usize>>,
    /// The rest under nnU-Net's names: `current_epoch`, `_best_ema`, `logging`, `init_args`.
    pub entries: Map<String, Value>,
}

impl TrainingCheckpoint {
    /// Reads a checkpoint, `.safetensors` or `.pth`; nothing in it is executed.
    ///
    /// # Errors
    /// As [`super::read_checkpoint`].
    pub fn read(path: &Path) -> Result<Self, NnError> {
        if path.extension().is_some_and(|ending| ending == "pth") {
            return pth::read_training(path);
        }
        let model = safetensors::read_model(path)?;
        let (tensors, metadata) = read_safetensors(path)?;
        let of_optimiser = |name: &str| BUFFERS.iter().any(|(ours, _)| split(name, ours).is_some());
        let mut optimiser: Vec<_> = tensors.into_iter().filter(|(name, _)| of_optimiser(name)).collect();
        optimiser.sort_by(|a, b| a.0.cmp(&b.0));
        let steps = metadata.get("optimizer_steps").map_or(Ok(0), |steps| steps.parse());
        let steps =
            steps.map_err(|e| NnError::checkpoint(path, format!("metadata entry optimizer_steps: {e}")))?;
        let mut weights: Vec<_> = model.weights.into_iter().collect();
        weights.sort_by(|a, b| a.0.cmp(&b.0));
        let mut entries = Map::new();
        for key in ["current_epoch", "_best_ema", "logging", "init_args"] {
            if let Some(text) = metadata.get(key) {
                let value: Value = serde_json::from_str(text).map_err(|e| {
                    NnError::checkpoint(path, format!("metadata entry {key} cannot be read: {e}"))
                })?;
                // Ours wraps it, so that NaN can be told from none.
                let value = match value {
                    Value::Array(mut one) if key == "_best_ema" => one.pop().unwrap_or(Value::Null),
                    other => other,
                };
                entries.insert(key.to_owned(), value);
            }
        }
        Ok(Self {
            weights,
            optimiser,
            steps,
            trainer_name: model.trainer_name,
            configuration: model.configuration,
            mirror_axes: model.mirror_axes,
            entries,
        })
    }

    /// Writes it as our checkpoint, which training can resume.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_safetensors(&self, path: &Path) -> Result<(), NnError> {
        let weights = self.weights.iter().map(|(name, tensor)| (format!("network.{name}"), tensor.clone()));
        let mut tensors: Vec<_> = weights.collect();
        tensors.extend(self.optimiser.iter().cloned());
        let mut metadata: HashMap<String, String> = [
            ("format", safetensors::FORMAT.to_owned()),
            ("trainer_name", self.trainer_name.clone()),
            ("configuration", self.configuration.clone()),
            ("inference_allowed_mirroring_axes", serde_json::json!(self.mirror_axes).to_string()),
            ("current_iteration", "0".to_owned()),
            ("optimizer_steps", self.steps.to_string()),
            ("losses_of_epoch", "[]".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for (key, value) in &self.entries {
            let text = match value {
                Value::Null if key == "_best_ema" => "null".to_owned(),
                value if key == "_best_ema" => format!("[{value}]"),
                value => value.to_string(),
            };
            metadata.insert(key.clone(), text);
        }
        write_safetensors(path, &tensors, &metadata)
    }

    /// Writes it as PyTorch does, under all names that nnU-Net's state dictionaries have.
    ///
    /// # Errors
    /// A weight of the network that is not there or one that does not belong to it, a network of other parts than nnU-Net's
    /// own, or a file that cannot be written.
    pub fn write_pth(&self, path: &Path, spec: &NetworkSpec) -> Result<(), NnError> {
        if !belongs_to_nnunet(spec) {
            let network = spec.describe();
            return Err(NnError::Unsupported(format!(
                "{network} is not written as .pth; keep the .safetensors"
            )));
        }
        let names = state_order(spec)?;
        if let Some((name, _)) = self.weights.iter().find(|(name, _)| !names.contains(name)) {
            return Err(NnError::weight(name, "the network of the plans has no such weight"));
        }
        let mut whole = self.clone();
        for name in names.iter().filter(|name| name.ends_with(COUNT)) {
            // It counts in whole numbers; safetensors of ours have none.
            let known = whole.weights.iter().position(|(known, _)| known == name);
            let count = known.map(|position| whole.weights.swap_remove(position).1);
            let count = count.map(|count| count.to_dtype(DType::I64)).transpose()?;
            let zero = || Tensor::zeros((), DType::I64, &Device::Cpu);
            whole.weights.push((name.clone(), count.map_or_else(zero, Ok)?));
        }
        pth::write(path, &whole, &names, spec.dropout.is_some())
    }
}

/// Whether nnU-Net builds such a network, with the same weights.
fn belongs_to_nnunet(spec: &NetworkSpec) -> bool {
    let parts = spec.parts();
    let norm = matches!(parts.norm, NormKind::Instance | NormKind::Batch { .. });
    let learnt = matches!(parts.activation, Some(Activation::Prelu | Activation::Tlu));
    spec.kind != NetworkKind::Composed && norm && !learnt
}
