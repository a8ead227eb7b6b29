use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use super::{CHUNK, find, gradient_norm, slices};
use crate::TrainError;
use crate::host::with_slice;

/// Settings of [`Sgd`]; the defaults are nnU-Net's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Momentum, 0.99.
    pub momentum: f64,
    /// Weight decay of all parameters, norms and biases included, 3e-5.
    pub weight_decay: f64,
    /// Largest 2-norm of all gradients together, 12.
    pub clip: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { momentum: 0.99, weight_decay: 3e-5, clip: 12.0 }
    }
}

/// Stochastic gradient descent with Nesterov momentum, weight decay and gradient clipping.
///
/// One in-place pass over weights and momentum. A parameter without a gradient is left alone: no decay, no momentum.
/// The order of operations is PyTorch's: `g = clipped + decay * w; m = momentum * m + g` (at the first step `m = g`);
/// `w -= lr * (g + momentum * m)`.
pub struct Sgd {
    config: SgdConfig,
    parameters: Vec<(String, Var)>,
    momentum: Vec<Option<Buffer>>,
}

/// Momentum of one parameter, where the parameter lies.
enum Buffer {
    Host(Vec<f32>),
    Device(Tensor),
}

impl Sgd {
    /// An optimiser without momentum yet.
    pub fn new(parameters: Vec<(String, Var)>, config: SgdConfig) -> Self {
        let momentum = parameters.iter().map(|_| None).collect();
        Self { config, parameters, momentum }
    }

    /// Momentum of the parameters that have one, by name, in the order of the parameters.
    ///
    /// # Errors
    /// If a buffer cannot be copied.
    pub fn momentum(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let mut all = Vec::new();
        for ((name, var), buffer) in self.parameters.iter().zip(&self.momentum) {
            let tensor = match buffer {
                None => continue,
                Some(Buffer::Host(values)) => Tensor::from_slice(values, var.shape(), &Device::Cpu)?,
                Some(Buffer::Device(tensor)) => tensor.clone(),
            };
            all.push((name.clone(), tensor));
        }
        Ok(all)
    }

    /// Replaces the momentum of a parameter.
    ///
    /// # Errors
    /// If there is no such parameter or its shape differs.
    pub fn set_momentum(&mut self, name: &str, value: &Tensor) -> Result<(), TrainError> {
        let index = find(&self.parameters, "momentum", name, value)?;
        let var = &self.parameters[index].1;
        self.momentum[index] = Some(if var.device().is_cpu() {
            Buffer::Host(with_slice(value, <[f32]>::to_vec)?)
        } else {
            Buffer::Device(value.to_device(var.device())?)
        });
        Ok(())
    }

    /// 2-norm of all gradients together.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn gradient_norm(&self, gradients: &GradStore) -> Result<f64, TrainError> {
        gradient_norm(&self.parameters, gradients)
    }

    /// One step; `norm` is that of [`Sgd::gradient_norm`] and decides the clipping.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter.
    pub fn step(&mut self, gradients: &GradStore, norm: f64, lr: f64) -> Result<(), TrainError> {
        let scale = (self.config.clip / (norm + 1e-6)).min(1.0);
        for ((_, var), slot) in self.parameters.iter().zip(&mut self.momentum) {
            let Some(gradient) = gradients.get(var) else { continue };
            let (first, size) = (slot.is_none(), gradient.elem_count());
            let rule = Rule {
                scale: scale as f32,
                decay: self.config.weight_decay as f32,
                kept: if first { 0.0 } else { self.config.momentum as f32 },
                momentum: self.config.momentum as f32,
                lr: lr as f32,
            };
            if var.device().is_cpu() {
                let Buffer::Host(buffer) = slot.get_or_insert_with(|| Buffer::Host(vec![0.0; size])) else {
                    return Err(TrainError::Device);
                };
                let op = Update { rule, buffer: Mutex::new(buffer) };
                var.inplace_op2(&gradient.contiguous()?, &op)?;
            } else {
                *slot = Some(Buffer::Device(rule.step_on_device(var, slot.as_ref(), gradient)?));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Rule {
    scale: f32,
    decay: f32,
    kept: f32,
    momentum: f32,
    lr: f32,
}

impl Rule {
    fn step(&self, weights: &mut [f32], buffer: &mut [f32], gradient: &[f32]) {
        let chunks = weights.par_chunks_mut(CHUNK).zip(buffer.par_chunks_mut(CHUNK));
        chunks.zip(gradient.par_chunks(CHUNK)).for_each(|((weights, buffer), gradient)| {
            for ((w, m), g) in weights.iter_mut().zip(buffer).zip(gradient) {
                let g = g * self.scale + self.decay * *w;
                *m = self.kept * *m + g;
                *w -= self.lr * (g + self.momentum * *m);
            }
        });
    }

    fn step_on_device(
        &self,
        var: &Var,
        buffer: Option<&Buffer>,
        gradient: &Tensor,
    ) -> Result<Tensor, TrainError> {
        let weights = var.as_detached_tensor();
        let decay = (&weights * f64::from(self.decay))?;
        let gradient = ((gradient * f64::from(self.scale))? + decay)?;
        let buffer = match buffer {
            Some(Buffer::Device(buffer)) => ((buffer * f64::from(self.kept))? + &gradient)?,
            _ => gradient.copy()?,
        };
        let direction = (gradient + (&buffer * f64::from(self.momentum))?)?;
        var.set(&(weights - (direction * f64::from(self.lr))?)?)?;
        Ok(buffer)
    }
}

/// The step as an in-place operation on the weights; the buffer is borrowed, as only one operand may be written.
struct Update<'a> {
    rule: Rule,
    buffer: Mutex<&'a mut Vec<f32>>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (weights, gradient) =
            slices(self.name(), (weights, weights_layout), (gradient, gradient_layout))?;
        let Ok(mut buffer) = self.buffer.lock() else { candle_core::bail!("sgd: momentum is in use") };
        if weights.len() != gradient.len() || weights.len() != buffer.len() {
            candle_core::bail!(
                "sgd: {} weights, {} gradients, {} momenta",
                weights.len(),
                gradient.len(),
                buffer.len()
            )
        }
        self.rule.step(weights, &mut buffer, gradient);
        Ok(())
    }
}
