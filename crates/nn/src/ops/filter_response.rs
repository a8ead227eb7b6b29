//! Filter response normalisation (Singh and Krishnan 2020).

use candle_core::{Result, Tensor};

use super::group_norm::affine;

/// Divides each sample and channel of a channels-last tensor by the root of its mean square plus `|eps|`, then scales and
/// shifts each channel (by 1 and 0 if absent).
///
/// # Errors
/// Shapes that do not fit.
pub fn filter_response_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let square = x.sqr()?.mean_keepdim((1, 2, 3))?;
    affine(&x.broadcast_mul(&(square + eps.abs())?.sqrt()?.recip()?)?, weight, bias)
}
