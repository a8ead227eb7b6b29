//! The trainable weights of a network.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use nnunet_plan::NetworkSpec;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::build::{Entry, Role, entries};
use crate::NnError;
use crate::weights::canonical_name;

/// Slope that the initialisation assumes.
const INIT_SLOPE: f64 = 0.01;

/// The weights of a network, each under the first of its names in nnU-Net's state dictionaries.
///
/// The order is that in which the reference's optimiser numbers them; shapes are PyTorch's: (out, in, kernel) for
/// convolutions, (in, out, kernel) for transposed ones.
#[derive(Debug, Clone)]
pub struct Parameters {
    names: Vec<String>,
    vars: Vec<Var>,
    index: HashMap<String, usize>,
}

impl Parameters {
    /// Fresh weights: He-normal kernels, norms at 1 and 0, biases at 0, last norms of residual blocks at 0.
    ///
    /// The same seed gives the same weights on every machine.
    ///
    /// # Errors
    /// The device has no room.
    pub fn new(
        spec: &NetworkSpec,
        in_channels: usize,
        num_classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, NnError> {
        let mut parameters = Self { names: Vec::new(), vars: Vec::new(), index: HashMap::new() };
        for (number, entry) in entries(spec, in_channels, num_classes).into_iter().enumerate() {
            let values = initial(&entry, seed, number as u64);
            let tensor = Tensor::from_vec(values, entry.shape.as_slice(), device)?;
            parameters.index.insert(entry.name.clone(), number);
            parameters.names.push(entry.name);
            parameters.vars.push(Var::from_tensor(&tensor)?);
        }
        Ok(parameters)
    }

    /// Names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Weights, in the order of the names.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// The weight of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.index.get(name).map(|&i| &self.vars[i])
    }

    /// Number of values in all weights.
    pub fn count(&self) -> usize {
        self.vars.iter().map(|var| var.elem_count()).sum()
    }

    /// Copies of all weights by name.
    pub fn to_map(&self) -> HashMap<String, Tensor> {
        self.names.iter().cloned().zip(self.vars.iter().map(|var| var.as_detached_tensor())).collect()
    }

    /// Takes over weights from a state dictionary. Every weight of the network must be there under at least one of its
    /// names, and nothing else may be.
    ///
    /// # Errors
    /// A weight that is missing, unknown, of another shape, or not finite; the network is unchanged then.
    pub fn load(&self, weights: &HashMap<String, Tensor>) -> Result<(), NnError> {
        let mut found: Vec<Option<&Tensor>> = vec![None; self.names.len()];
        for (name, tensor) in weights {
            let Some(&i) = self.index.get(&canonical_name(name)) else {
                return Err(NnError::weight(name, "the network has no such weight"));
            };
            let expected = self.vars[i].shape();
            if tensor.shape() != expected {
                let reason = format!("shape {:?}, the network has {:?}", tensor.dims(), expected.dims());
                return Err(NnError::weight(name, reason));
            }
            found[i] = Some(tensor);
        }
        let mut ready = Vec::with_capacity(found.len());
        for ((name, var), tensor) in self.names.iter().zip(&self.vars).zip(found) {
            let tensor = tensor.ok_or_else(|| {
                NnError::weight(name, format!("missing; expected shape {:?}", var.dims()))
            })?;
            let tensor = tensor.to_dtype(DType::F32)?.to_device(var.device())?.contiguous()?;
            let sum = tensor.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
            if !sum.is_finite() {
                return Err(NnError::weight(name, "holds a value that is not finite"));
            }
            ready.push(tensor);
        }
        for (var, tensor) in self.vars.iter().zip(ready) {
            // A copy: a variable and the source it is set from must not share their storage.
            var.set(&tensor.copy()?)?;
        }
        Ok(())
    }
}

fn initial(entry: &Entry, seed: u64, number: u64) -> Vec<f32> {
    let count = entry.shape.iter().product();
    match entry.role {
        Role::Scale => vec![1.0; count],
        Role::ZeroScale | Role::Shift => vec![0.0; count],
        Role::Kernel => {
            let fan_in: usize = entry.shape[1..].iter().product();
            let std = (2.0 / (1.0 + INIT_SLOPE * INIT_SLOPE)).sqrt() / (fan_in.max(1) as f64).sqrt();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            match Normal::new(0.0, std) {
                Ok(normal) => (0..count).map(|_| normal.sample(&mut rng) as f32).collect(),
                Err(_) => vec![0.0; count],
            }
        }
    }
}
