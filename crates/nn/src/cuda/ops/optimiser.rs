//! The optimiser's step.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{blocks, count, floats, launch, pointer};
use crate::NnError;

/// Settings of a step of stochastic gradient descent with Nesterov momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdRule {
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest 2-norm of all gradients together.
    pub clip: f64,
    /// Learning rate.
    pub lr: f64,
}

/// The 2-norm of a gradient, left on the device.
///
/// # Errors
/// Another kind of values, or the device failed.
pub fn gradient_norm(gradient: View<'_>) -> Result<Array, NnError> {
    floats(gradient, gradient.len)?;
    let number = blocks(gradient.len).min(1024);
    let partial = Array::new(gradient.engine, Kind::F64, number)?;
    let norm = Array::new(gradient.engine, Kind::F32, 1)?;
    let arguments = [pointer(gradient), pointer(partial.view()), count(gradient.len)?];
    launch(&**gradient.engine, "square_partial", [number, 1, 1], &arguments)?;
    let arguments = [pointer(partial.view()), pointer(norm.view()), count(number)?];
    launch(&**gradient.engine, "square_finish", [1, 1, 1], &arguments)?;
    Ok(norm)
}

/// One step in place: `g = clipped + decay · w; m = momentum · m + g; w −= lr · (g + momentum · m)`. Nothing is changed if
/// the norm is not finite.
///
/// # Errors
/// Different numbers of values, or the device failed.
pub fn sgd_step(
    weights: View<'_>,
    momenta: View<'_>,
    gradient: View<'_>,
    norm: View<'_>,
    rule: SgdRule,
) -> Result<(), NnError> {
    for view in [weights, momenta, gradient] {
        floats(view, weights.len)?;
    }
    floats(norm, 1)?;
    let number = |value: f64| Argument::F32(value as f32);
    let arguments = [
        pointer(weights),
        pointer(momenta),
        pointer(gradient),
        pointer(norm),
        count(weights.len)?,
        number(rule.clip),
        number(rule.weight_decay),
        number(rule.momentum),
        number(rule.lr),
    ];
    launch(&**weights.engine, "sgd_step", [blocks(weights.len), 1, 1], &arguments)
}
