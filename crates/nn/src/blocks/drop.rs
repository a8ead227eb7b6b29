//! What is left out by chance in training.

use candle_core::{Result, Tensor};
use nnunet_plan::DropoutKind;

use super::pass::Pass;

/// Sets channels or values to 0 with probability `p` and scales the others by `1 / (1 − p)`; nothing in evaluation.
///
/// Single values: Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*, 2014; channels:
/// Tompson et al., *Efficient Object Localization Using Convolutional Networks*, 2015.
///
/// # Errors
/// A tensor without the axes `(batch, z, y, x, channel)`.
pub fn dropout(x: &Tensor, kind: DropoutKind, p: f64, pass: &mut Pass) -> Result<Tensor> {
    let (batch, z, y, columns, channels) = x.dims5()?;
    let shape = match kind {
        DropoutKind::Channel => (batch, 1, 1, 1, channels),
        DropoutKind::Value => (batch, z, y, columns, channels),
    };
    let count = shape.1 * shape.2 * shape.3 * channels;
    if p <= 0.0 {
        return Ok(x.clone());
    }
    let Some(drawn) = pass.uniform(batch, count) else { return Ok(x.clone()) };
    let mask = keep(drawn, p);
    x.broadcast_mul(&Tensor::from_vec(mask, shape, x.device())?)
}

/// Leaves out a block's main path for whole samples with probability `p` and scales it by `1 / (1 − p)` for the others;
/// nothing in evaluation (Huang et al., *Deep Networks with Stochastic Depth*, 2016, with the scaling in training instead of
/// evaluation).
///
/// # Errors
/// A tensor without the axes `(batch, z, y, x, channel)`.
pub fn stochastic_depth(x: &Tensor, p: f64, pass: &mut Pass) -> Result<Tensor> {
    if p <= 0.0 {
        return Ok(x.clone());
    }
    let batch = x.dim(0)?;
    let Some(drawn) = pass.uniform(batch, 1) else { return Ok(x.clone()) };
    x.broadcast_mul(&Tensor::from_vec(keep(drawn, p), (batch, 1, 1, 1, 1), x.device())?)
}

/// Factors of what is kept, 0 for what is not.
fn keep(drawn: Vec<f32>, p: f64) -> Vec<f32> {
    let factor = if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 };
    drawn.into_iter().map(|number| if f64::from(number) < p { 0.0 } else { factor }).collect()
}
