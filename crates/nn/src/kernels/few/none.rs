//! Other processors have no kernels of their own for few outputs.

use super::correlate::{Pass, Products};
use super::moments::Moments;
use super::pack::Strided;
use super::shape::Correlation;
use super::source::Source;

/// Never.
pub(crate) fn applies(_: &Correlation, _: Products, _: Pass) -> bool {
    false
}

/// Never.
pub(crate) fn lie_in_order(_: &Correlation, _: &Strided<'_>) -> bool {
    false
}

/// Not called.
pub(crate) fn correlate(
    _: &Correlation,
    _: Products,
    _: Source<'_>,
    _: &[f32],
    _: &[f32],
    _: &mut [f32],
    _: bool,
) -> Vec<Moments> {
    unreachable!("the method does not apply")
}

/// Not called.
pub(crate) fn input_gradient(_: &Correlation, _: Products, _: &[f32], _: &[f32], _: &mut [f32]) {
    unreachable!("the method does not apply")
}

/// Not called.
pub(crate) fn weight_gradient(_: &Correlation, _: Products, _: Source<'_>, _: &[f32]) -> Vec<f32> {
    unreachable!("the method does not apply")
}
