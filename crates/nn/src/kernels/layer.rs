//! Layers whose products are of a precision.

use super::conv::{forward_once, forward_plan, input_gradient, weight_gradient};
use super::correlate::{Prepared, Products};
use super::pack::Strided;
use super::shape::{ConvGeometry, Dims};
use super::source::Source;
use super::transpose::{up_input_gradient, up_plans, up_weight_gradient};
use crate::Precision;

/// A convolution, with products of a precision: what the functions for convolutions do in f32.
///
/// ```
/// use nnunet_nn::Precision;
/// use nnunet_nn::kernels::{ConvGeometry, Convolution, Dims};
///
/// let input = Dims { batch: 1, space: [2, 2, 2], channels: 1 };
/// let geometry = ConvGeometry::same([1; 3], [2; 3]);
/// let double = Convolution { input, channels: 1, geometry, precision: Precision::Bf16 };
/// assert_eq!(double.forward(&[1.0; 8], &[2.0]), [2.0]);
/// assert_eq!(double.backward_data(&[3.0], &[2.0])[0], 6.0);
/// assert_eq!(double.backward_weights(&[1.0; 8], &[3.0]), [3.0]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Shape of the input, channels-last.
    pub input: Dims,
    /// Output channels.
    pub channels: usize,
    /// Kernel, stride and padding.
    pub geometry: ConvGeometry,
    /// The arithmetic.
    pub precision: Precision,
}

impl Convolution {
    /// The output for the input `x` and the weight (out, in, kz, ky, kx), without bias.
    ///
    /// # Panics
    /// Slices of other lengths than the shapes have.
    pub fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let plan = forward_plan(self.input, self.channels, &self.geometry);
        let (ci, taps) = (self.input.channels, self.geometry.taps());
        let mut y = vec![0.0; plan.output.len()];
        if !plan.is_empty() {
            let weights = Strided::convolution(weight, ci, taps);
            forward_once(self.products(), &plan, &weights, None, Source::plain(x, ci), &mut y, false);
        }
        y
    }

    /// The gradient of the input for that of the output.
    ///
    /// # Panics
    /// As [`Convolution::forward`].
    pub fn backward_data(&self, dy: &[f32], weight: &[f32]) -> Vec<f32> {
        input_gradient(dy, self.input, weight, self.channels, &self.geometry, self.products())
    }

    /// The gradient of the weight.
    ///
    /// # Panics
    /// As [`Convolution::forward`].
    pub fn backward_weights(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let x = Source::plain(x, self.input.channels);
        weight_gradient(x, self.input, dy, self.channels, &self.geometry, self.products())
    }

    fn products(&self) -> Products {
        Products::of(self.precision)
    }
}

/// A transposed convolution whose kernel is its stride, with products of a precision.
#[derive(Debug, Clone, Copy)]
pub struct TransposedConvolution {
    /// Shape of the input, channels-last.
    pub input: Dims,
    /// Output channels.
    pub channels: usize,
    /// Kernel and stride along z, y, x.
    pub stride: [usize; 3],
    /// The arithmetic.
    pub precision: Precision,
}

impl TransposedConvolution {
    /// The output for the input `x` and the weight (in, out, sz, sy, sx), without bias.
    ///
    /// # Panics
    /// Slices of other lengths than the shapes have.
    pub fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let (channels, boxes) = (self.channels, self.stride.iter().product::<usize>());
        let mut y = vec![0.0; self.input.batch * self.input.voxels() * boxes * channels];
        if !y.is_empty() && self.input.channels > 0 {
            let plans = up_plans(self.input, channels, self.stride, channels);
            let weight = |r: usize, _: usize, c: usize, o: usize| weight[(c * channels + o) * boxes + r];
            let up = Prepared::with(Products::of(self.precision), &plans, &weight, None);
            up.run(Source::plain(x, self.input.channels), &mut y, false);
        }
        y
    }

    /// The gradient of the input for that of the output.
    ///
    /// # Panics
    /// As [`TransposedConvolution::forward`].
    pub fn backward_data(&self, dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let products = Products::of(self.precision);
        up_input_gradient(dy, self.input, weight, self.channels, self.stride, products)
    }

    /// The gradient of the weight.
    ///
    /// # Panics
    /// As [`TransposedConvolution::forward`].
    pub fn backward_weights(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let products = Products::of(self.precision);
        up_weight_gradient(x, self.input, dy, self.channels, self.stride, products)
    }
}
