//! The trainable weights of a network.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};
use nnunet_plan::NetworkSpec;

use super::build::entries;
use crate::NnError;
use crate::weights::{COUNT, ModelCheckpoint, canonical_name, host_values};

/// The weights of a network, each under the first of its names in nnU-Net's state dictionaries.
///
/// The order is that in which the reference's optimiser numbers them; shapes are PyTorch's: (out, in, kernel) for
/// convolutions, (in, out, kernel) for transposed ones.
///
/// Running means and variances of batch norms belong to the weights wherever they are kept, but are not trained; the order
/// puts them last.
#[derive(Debug, Clone)]
pub struct Parameters {
    names: Vec<String>,
    vars: Vec<Var>,
    /// How many of them, the first ones, are trained.
    trained: usize,
    index: HashMap<String, usize>,
}

impl Parameters {
    /// Fresh weights: He-normal kernels, norms at 1 and 0, biases at 0, last norms of residual blocks at 0, learnt slopes at
    /// 0.25.
    ///
    /// The same seed gives the same weights on every machine.
    ///
    /// # Errors
    /// The device has no room, or the specification describes no network that can be built.
    pub fn new(
        spec: &NetworkSpec,
        in_channels: usize,
        num_classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, NnError> {
        let mut parameters = Self { names: Vec::new(), vars: Vec::new(), trained: 0, index: HashMap::new() };
        for (number, entry) in entries(spec, in_channels, num_classes)?.into_iter().enumerate() {
            let values = entry.role.initial(&entry.shape, seed, number as u64);
            parameters.trained += usize::from(entry.role.is_trained());
            let tensor = Tensor::from_vec(values, entry.shape.as_slice(), device)?;
            parameters.index.insert(entry.name.clone(), number);
            parameters.names.push(entry.name);
            parameters.vars.push(Var::from_tensor(&tensor)?);
        }
        Ok(parameters)
    }

    /// Names of the trained weights, in order.
    pub fn names(&self) -> &[String] {
        &self.names[..self.trained]
    }

    /// The trained weights, in the order of the names.
    pub fn vars(&self) -> &[Var] {
        &self.vars[..self.trained]
    }

    /// All weights with their names, those that are not trained last.
    pub fn state(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.names.iter().map(String::as_str).zip(&self.vars)
    }

    /// The weight of this name, trained or not.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.index.get(name).map(|&i| &self.vars[i])
    }

    /// Number of values in all trained weights.
    pub fn count(&self) -> usize {
        self.vars().iter().map(|var| var.elem_count()).sum()
    }

    /// Copies of all weights by name.
    pub fn to_map(&self) -> HashMap<String, Tensor> {
        self.names.iter().cloned().zip(self.vars.iter().map(|var| var.as_detached_tensor())).collect()
    }

    /// Takes over weights from a state dictionary.
    ///
    /// Every weight of the network must be there under at least one of its names, and nothing else may be; where several
    /// names of a weight are there, their values must be the same.
    ///
    /// # Errors
    /// A weight that is missing, unknown, of another shape, contradictory or not finite, with what was found and what was
    /// expected; the network is unchanged then.
    pub fn load(&self, weights: &HashMap<String, Tensor>) -> Result<(), NnError> {
        let mut ready = Vec::with_capacity(self.vars.len());
        for (given, (name, var)) in self.match_names(weights)?.iter().zip(self.names.iter().zip(&self.vars)) {
            let values = agreed(given).map_err(|e| NnError::weight(name, e))?;
            if let Some(position) = values.iter().position(|v| !v.is_finite()) {
                let reason = format!("value {position} is {}, expected finite numbers", values[position]);
                return Err(NnError::weight(name, reason));
            }
            ready.push(Tensor::from_vec(values, var.shape(), var.device())?);
        }
        for (var, tensor) in self.vars.iter().zip(&ready) {
            var.set(tensor)?;
        }
        Ok(())
    }

    /// Takes over the weights of a checkpoint.
    ///
    /// # Errors
    /// As [`Parameters::load`]; the error names the file as well.
    pub fn load_checkpoint(&self, checkpoint: &ModelCheckpoint) -> Result<(), NnError> {
        self.load(&checkpoint.weights).map_err(|e| e.in_file(&checkpoint.path))
    }

    /// For each weight what the dictionary has for it, under all its names.
    fn match_names<'a>(&self, weights: &'a HashMap<String, Tensor>) -> Result<Vec<Vec<Given<'a>>>, NnError> {
        let mut given: Vec<Vec<Given<'a>>> = vec![Vec::new(); self.names.len()];
        let mut unknown = None;
        // In order, so that the same error is found each time.
        let ordered: BTreeMap<_, _> = weights.iter().collect();
        for (name, tensor) in ordered {
            if name.ends_with(COUNT) {
                continue;
            }
            let Some(&i) = self.index.get(&canonical_name(name)) else {
                unknown = unknown.or(Some((name, tensor)));
                continue;
            };
            let expected = self.vars[i].dims();
            if tensor.dims() != expected {
                let reason = format!("shape {:?}, expected {expected:?}", tensor.dims());
                return Err(NnError::weight(name, reason));
            }
            given[i].push((name, tensor));
        }
        if let Some(i) = given.iter().position(Vec::is_empty) {
            let reason = format!("missing, expected shape {:?}", self.vars[i].dims());
            return Err(NnError::weight(&self.names[i], reason));
        }
        match unknown {
            Some((name, tensor)) => {
                let reason = format!("shape {:?}, but the network has no such weight", tensor.dims());
                Err(NnError::weight(name, reason))
            }
            None => Ok(given),
        }
    }
}

/// A name and its tensor.
type Given<'a> = (&'a str, &'a Tensor);

/// The values of a weight that is given under one or more names.
fn agreed(given: &[Given<'_>]) -> Result<Vec<f32>, String> {
    let values = |tensor: &Tensor| host_values(tensor).map_err(|e| e.to_string());
    let Some(((first, tensor), others)) = given.split_first() else { return Ok(Vec::new()) };
    let agreed = values(tensor)?;
    for (name, other) in others.iter().filter(|(_, other)| other.id() != tensor.id()) {
        if values(other)?.iter().zip(&agreed).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(format!("{first} and {name} are the same weight, but their values differ"));
        }
    }
    Ok(agreed)
}
