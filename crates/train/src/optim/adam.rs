use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use super::{CHUNK, find, gradient_norm, slices};
use crate::TrainError;
use crate::host::with_slice;

/// Names of the buffers, PyTorch's.
const BUFFERS: [&str; 3] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

/// Settings of [`Adam`]; the defaults are PyTorch's, but for the decay and the clipping, which are nnU-Net's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// How fast the means of gradient and squared gradient forget, 0.9 and 0.999.
    pub betas: [f64; 2],
    /// Added to the root of the mean squared gradient, 1e-8.
    pub epsilon: f64,
    /// Whether the largest mean squared gradient so far counts (AMSGrad), false.
    pub amsgrad: bool,
    /// Whether weight decay shrinks the weights directly (AdamW) instead of joining the gradient, false.
    pub decoupled: bool,
    /// Weight decay of all parameters, 3e-5.
    pub weight_decay: f64,
    /// Largest 2-norm of all gradients together, 12.
    pub clip: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            amsgrad: false,
            decoupled: false,
            weight_decay: 3e-5,
            clip: 12.0,
        }
    }
}

/// Adam or AdamW, with or without AMSGrad, in PyTorch's order of operations, with gradient clipping before.
///
/// A parameter without a gradient is left alone: no decay, no state.
pub struct Adam {
    config: AdamConfig,
    parameters: Vec<(String, Var)>,
    state: Vec<Option<Vec<Vec<f32>>>>,
    steps: u64,
}

impl Adam {
    /// An optimiser that has not stepped yet.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamConfig) -> Self {
        let state = parameters.iter().map(|_| None).collect();
        Self { config, parameters, state, steps: 0 }
    }

    /// Steps taken so far; they decide the correction of the means' bias.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the number of steps taken, for a training that goes on.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The buffers of all parameters that have some, as `exp_avg.<name>`, `exp_avg_sq.<name>` and, with AMSGrad,
    /// `max_exp_avg_sq.<name>`.
    ///
    /// # Errors
    /// If a buffer cannot be copied.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let mut all = Vec::new();
        for ((name, var), buffers) in self.parameters.iter().zip(&self.state) {
            for (buffer, values) in BUFFERS.iter().zip(buffers.iter().flatten()) {
                let tensor = Tensor::from_slice(values, var.shape(), &Device::Cpu)?;
                all.push((format!("{buffer}.{name}"), tensor));
            }
        }
        Ok(all)
    }

    /// Replaces a buffer under the name that [`Adam::state`] gives it; false if there are no such buffers.
    ///
    /// # Errors
    /// If there is no such parameter or its shape differs.
    pub fn set_state(&mut self, name: &str, value: &Tensor) -> Result<bool, TrainError> {
        let Some((buffer, parameter)) = name.split_once('.') else { return Ok(false) };
        let kinds = self.buffers();
        let Some(kind) = BUFFERS[..kinds].iter().position(|known| *known == buffer) else {
            return Ok(false);
        };
        let index = find(&self.parameters, "optimiser state", parameter, value)?;
        let values = with_slice(value, <[f32]>::to_vec)?;
        let slot = self.state[index].get_or_insert_with(|| vec![vec![0.0; values.len()]; kinds]);
        slot[kind] = values;
        Ok(true)
    }

    /// 2-norm of all gradients together.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn gradient_norm(&self, gradients: &GradStore) -> Result<f64, TrainError> {
        gradient_norm(&self.parameters, gradients)
    }

    /// One step; `norm` is that of [`Adam::gradient_norm`] and decides the clipping.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter.
    pub fn step(&mut self, gradients: &GradStore, norm: f64, lr: f64) -> Result<(), TrainError> {
        self.steps += 1;
        let (rule, kinds) = (self.rule(norm, lr), self.buffers());
        for ((_, var), slot) in self.parameters.iter().zip(&mut self.state) {
            let Some(gradient) = gradients.get(var) else { continue };
            let size = gradient.elem_count();
            let buffers = slot.get_or_insert_with(|| vec![vec![0.0; size]; kinds]);
            if var.device().is_cpu() {
                let op = Update { rule, buffers: Mutex::new(buffers) };
                var.inplace_op2(&gradient.contiguous()?, &op)?;
            } else {
                // The state stays on the host; weights and gradient visit it.
                let mut weights = with_slice(var.as_tensor(), <[f32]>::to_vec)?;
                with_slice(gradient, |gradient| rule.step(&mut weights, buffers, gradient))?;
                var.set(&Tensor::from_vec(weights, var.shape(), var.device())?)?;
            }
        }
        Ok(())
    }

    fn buffers(&self) -> usize {
        2 + usize::from(self.config.amsgrad)
    }

    fn rule(&self, norm: f64, lr: f64) -> Rule {
        let AdamConfig { betas: [b1, b2], epsilon, decoupled, weight_decay, clip, .. } = self.config;
        let exponent = self.steps as f64;
        let (first, second) = (1.0 - b1.powf(exponent), 1.0 - b2.powf(exponent));
        Rule {
            scale: (clip / (norm + 1e-6)).min(1.0) as f32,
            decay: if decoupled { 0.0 } else { weight_decay as f32 },
            shrink: if decoupled { (1.0 - lr * weight_decay) as f32 } else { 1.0 },
            forget: [(1.0 - b1) as f32, b2 as f32, (1.0 - b2) as f32],
            root: second.sqrt() as f32,
            epsilon: epsilon as f32,
            step: (lr / first) as f32,
        }
    }
}

#[derive(Clone, Copy)]
struct Rule {
    scale: f32,
    decay: f32,
    shrink: f32,
    forget: [f32; 3],
    root: f32,
    epsilon: f32,
    step: f32,
}

impl Rule {
    fn step(&self, weights: &mut [f32], buffers: &mut [Vec<f32>], gradient: &[f32]) {
        let (pair, largest) = buffers.split_at_mut(2);
        let [mean, square] = pair else { return };
        let state = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
        let all = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(state);
        match largest.first_mut() {
            None => all.for_each(|((w, g), (m, v))| {
                for ((w, g), (m, v)) in w.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                    self.value(w, *g, m, v);
                    *w -= self.step * *m / (v.sqrt() / self.root + self.epsilon);
                }
            }),
            Some(largest) => all.zip(largest.par_chunks_mut(CHUNK)).for_each(|(((w, g), (m, v)), x)| {
                for (((w, g), (m, v)), x) in w.iter_mut().zip(g).zip(m.iter_mut().zip(v)).zip(x) {
                    self.value(w, *g, m, v);
                    *x = x.max(*v);
                    *w -= self.step * *m / (x.sqrt() / self.root + self.epsilon);
                }
            }),
        }
    }

    /// Decay and the means.
    #[inline]
    fn value(&self, w: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = g * self.scale + self.decay * *w;
        *w *= self.shrink;
        *m += (g - *m) * self.forget[0];
        *v = *v * self.forget[1] + g * g * self.forget[2];
    }
}

/// The step as an in-place operation on the weights; the state is borrowed, as only one operand may be written.
struct Update<'a> {
    rule: Rule,
    buffers: Mutex<&'a mut Vec<Vec<f32>>>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adam"
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
        let Ok(mut buffers) = self.buffers.lock() else { candle_core::bail!("adam: the state is in use") };
        if weights.len() != gradient.len() || buffers.iter().any(|values| values.len() != weights.len()) {
            candle_core::bail!("adam: {} weights, {} gradients, other state", weights.len(), gradient.len())
        }
        self.rule.step(weights, &mut buffers, gradient);
        Ok(())
    }
}
