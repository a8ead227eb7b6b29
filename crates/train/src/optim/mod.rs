//! Optimisers: one in-place pass over weights and their state.

mod adam;
mod sgd;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::Serialize;

pub use adam::{Adam, AdamConfig};
pub use sgd::{Sgd, SgdConfig};

use crate::TrainError;
use crate::host::with_slice;

/// Values per task. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 16 * 1024;

/// The values of weights and gradient that an in-place operation named `name` is given.
fn slices<'a>(
    name: &str,
    weights: (&'a mut CpuStorage, &Layout),
    gradient: (&'a CpuStorage, &Layout),
) -> candle_core::Result<(&'a mut [f32], &'a [f32])> {
    let CpuStorage::F32(values) = weights.0 else { candle_core::bail!("{name}: weights are not f32") };
    let slopes = gradient.0.as_slice::<f32>()?;
    let ranges = (weights.1.contiguous_offsets(), gradient.1.contiguous_offsets());
    let (Some((start, end)), Some((first, last))) = ranges else {
        candle_core::bail!("{name}: weights or gradient are not contiguous")
    };
    Ok((&mut values[start..end], &slopes[first..last]))
}

/// Which optimiser a training uses. Learning rate, weight decay and clipping are options of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserKind {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd {
        /// Momentum, 0.99.
        momentum: f64,
    },
    /// Adam.
    Adam {
        /// How fast the means of gradient and squared gradient forget, 0.9 and 0.999.
        betas: [f64; 2],
        /// Whether the largest squared gradient so far counts (AMSGrad).
        amsgrad: bool,
        /// Whether weight decay bypasses the means (AdamW).
        decoupled: bool,
    },
}

impl Default for OptimiserKind {
    fn default() -> Self {
        Self::Sgd { momentum: 0.99 }
    }
}

/// The optimiser of a training.
pub(crate) enum Optimiser {
    Sgd(Sgd),
    Adam(Adam),
}

impl Optimiser {
    pub(crate) fn new(
        parameters: Vec<(String, Var)>,
        kind: OptimiserKind,
        weight_decay: f64,
        clip: f64,
    ) -> Self {
        match kind {
            OptimiserKind::Sgd { momentum } => {
                Self::Sgd(Sgd::new(parameters, SgdConfig { momentum, weight_decay, clip }))
            }
            OptimiserKind::Adam { betas, amsgrad, decoupled } => {
                let config =
                    AdamConfig { betas, amsgrad, decoupled, weight_decay, clip, ..Default::default() };
                Self::Adam(Adam::new(parameters, config))
            }
        }
    }

    pub(crate) fn gradient_norm(&self, gradients: &GradStore) -> Result<f64, TrainError> {
        match self {
            Self::Sgd(sgd) => sgd.gradient_norm(gradients),
            Self::Adam(adam) => adam.gradient_norm(gradients),
        }
    }

    pub(crate) fn step(&mut self, gradients: &GradStore, norm: f64, lr: f64) -> Result<(), TrainError> {
        match self {
            Self::Sgd(sgd) => sgd.step(gradients, norm, lr),
            Self::Adam(adam) => adam.step(gradients, norm, lr),
        }
    }

    /// All tensors of the state as `<buffer>.<parameter>`.
    pub(crate) fn state(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        match self {
            Self::Sgd(sgd) => {
                let momentum = sgd.momentum()?.into_iter();
                Ok(momentum.map(|(name, tensor)| (format!("momentum.{name}"), tensor)).collect())
            }
            Self::Adam(adam) => adam.state(),
        }
    }

    /// Steps taken, where the optimiser counts them.
    pub(crate) fn steps(&self) -> u64 {
        match self {
            Self::Sgd(_) => 0,
            Self::Adam(adam) => adam.steps(),
        }
    }

    pub(crate) fn set_steps(&mut self, steps: u64) {
        if let Self::Adam(adam) = self {
            adam.set_steps(steps);
        }
    }

    /// Replaces a tensor of the state; false if this optimiser has no such buffer.
    pub(crate) fn set_state(&mut self, name: &str, value: &Tensor) -> Result<bool, TrainError> {
        match self {
            Self::Sgd(sgd) => match name.strip_prefix("momentum.") {
                Some(parameter) => sgd.set_momentum(parameter, value).map(|()| true),
                None => Ok(false),
            },
            Self::Adam(adam) => adam.set_state(name, value),
        }
    }
}

/// Number of a parameter that has the shape of `value`.
fn find(
    parameters: &[(String, Var)],
    what: &'static str,
    name: &str,
    value: &Tensor,
) -> Result<usize, TrainError> {
    let Some(index) = parameters.iter().position(|(known, _)| known == name) else {
        return Err(TrainError::Shape {
            what,
            found: format!("a buffer for {name}"),
            expected: "the name of a parameter".to_owned(),
        });
    };
    let var = &parameters[index].1;
    if var.dims() != value.dims() {
        return Err(TrainError::Shape {
            what,
            found: format!("{:?} for {name}", value.dims()),
            expected: format!("{:?}", var.dims()),
        });
    }
    Ok(index)
}

/// 2-norm of the gradients of all parameters together.
fn gradient_norm(parameters: &[(String, Var)], gradients: &GradStore) -> Result<f64, TrainError> {
    let mut sum = 0.0;
    for (_, var) in parameters {
        if let Some(gradient) = gradients.get(var) {
            sum += with_slice(gradient, square_sum)?;
        }
    }
    Ok(sum.sqrt())
}

fn square_sum(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>())
        .collect();
    parts.iter().sum()
}
