//! Activations, composed of candle's operations.

use candle_core::{Result, Tensor};

/// `x` above 0 and `slope · x` below; with slope 0 the ReLU.
///
/// # Errors
/// The tensor operations fail.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    if slope == 0.0 { x.relu() } else { x.relu()? - (x.neg()?.relu()? * slope)? }
}

/// A leaky ReLU with the slope of each channel, the last axis (He et al. 2015).
///
/// # Errors
/// Another number of slopes than channels.
pub fn prelu(x: &Tensor, slopes: &Tensor) -> Result<Tensor> {
    x.relu()? - x.neg()?.relu()?.broadcast_mul(slopes)?
}

/// `max(x, threshold)` with the threshold of each channel, the last axis (Singh and Krishnan 2020).
///
/// # Errors
/// Another number of thresholds than channels.
pub fn tlu(x: &Tensor, thresholds: &Tensor) -> Result<Tensor> {
    x.broadcast_sub(thresholds)?.relu()?.broadcast_add(thresholds)
}

/// `1 / (1 + exp(−x))`.
///
/// # Errors
/// The tensor operations fail.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    // No exponential that could overflow.
    (x * 0.5)?.tanh()?.affine(0.5, 0.5)
}
