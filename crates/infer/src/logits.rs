use half::f16;
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

use crate::InferError;

/// A number that sums are kept in.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    const ZERO: Self;
    fn get(self) -> f32;
    fn rounded(value: f32) -> Self;
    /// Rounds once, straight from double precision, and returns the rounded number.
    fn through(value: f64) -> f32;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    fn get(self) -> f32 {
        self
    }
    fn rounded(value: f32) -> Self {
        value
    }
    fn through(value: f64) -> f32 {
        value as f32
    }
}

impl Number for f16 {
    const ZERO: Self = f16::ZERO;
    fn get(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn through(value: f64) -> f32 {
        f16::from_f32(odd(value)).to_f32()
    }
}

/// Rounds to odd: cut off, with the last bit set if anything was lost. A second rounding to fewer bits is
/// then the only one.
fn odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || !nearest.is_finite() || nearest == 0.0 {
        return nearest;
    }
    let cut = if back.abs() > value.abs() { nearest.to_bits() - 1 } else { nearest.to_bits() };
    f32::from_bits(cut | 1)
}

/// A buffer of zeros, or an error where the memory is not there.
pub(crate) fn zeros<N: Number>(len: usize) -> Result<Vec<N>, InferError> {
    let mut values = Vec::new();
    let bytes = len.saturating_mul(size_of::<N>());
    values.try_reserve_exact(len).map_err(|_| InferError::Memory { what: "the logits", bytes })?;
    values.resize(len, N::ZERO);
    Ok(values)
}

/// The numbers of [`Logits`].
#[derive(Debug)]
pub(crate) enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

/// Logits of a whole image, `(z, y, x, channel)`: the channels of a voxel lie together.
#[derive(Debug)]
pub(crate) struct Logits {
    pub(crate) shape: [usize; 3],
    pub(crate) channels: usize,
    pub(crate) values: Values,
}

impl Logits {
    /// From an array `(channel, z, y, x)`.
    pub(crate) fn from_array(array: ArrayView4<'_, f32>) -> Self {
        let (channels, z, y, x) = array.dim();
        let values = array.permuted_axes([1, 2, 3, 0]).iter().copied().collect();
        Self { shape: [z, y, x], channels, values: Values::F32(values) }
    }

    /// From an array `(z, y, x, channel)`, which is not copied if it is in standard layout.
    pub(crate) fn from_channels_last(array: Array4<f32>) -> Self {
        let (z, y, x, channels) = array.dim();
        let values = if array.is_standard_layout() {
            array.into_raw_vec_and_offset().0
        } else {
            array.iter().copied().collect()
        };
        Self { shape: [z, y, x], channels, values: Values::F32(values) }
    }

    /// To an array `(channel, z, y, x)` in standard layout.
    pub(crate) fn to_array(&self) -> Array4<f32> {
        match &self.values {
            Values::F32(values) => self.unpack(values),
            Values::F16(values) => self.unpack(values),
        }
    }

    fn unpack<N: Number>(&self, values: &[N]) -> Array4<f32> {
        let ([z, y, x], channels) = (self.shape, self.channels);
        let mut array = Array4::zeros((channels, z, y, x));
        let planes: Vec<_> = array.outer_iter_mut().enumerate().collect();
        planes.into_par_iter().for_each(|(channel, mut plane)| {
            let source = values.iter().skip(channel).step_by(channels.max(1));
            plane.iter_mut().zip(source).for_each(|(to, from)| *to = from.get());
        });
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_as_they_went_in() {
        let array =
            Array4::from_shape_fn((3, 2, 4, 5), |(c, z, y, x)| (1000 * c + 100 * z + 10 * y + x) as f32);
        let logits = Logits::from_array(array.view());
        assert_eq!((logits.shape, logits.channels), ([2, 4, 5], 3));
        assert_eq!(logits.to_array(), array);
        let turned = array.view().permuted_axes([1, 2, 3, 0]);
        let copied = Logits::from_channels_last(turned.as_standard_layout().into_owned());
        assert_eq!(copied.to_array(), array);
        assert_eq!(Logits::from_channels_last(turned.to_owned()).to_array(), array);
    }

    #[test]
    fn half_precision_is_rounded_once() {
        // Halfway between 1 and the next number of half precision, but for a bit that single precision does
        // not keep.
        let value = 1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-40);
        assert_eq!(<f16 as Number>::through(value), 1.0 + 2.0_f32.powi(-10));
        assert_eq!(<f16 as Number>::through(-value), -1.0 - 2.0_f32.powi(-10));
        assert_eq!(f16::from_f32(value as f32).to_f32(), 1.0);
        let below = 1.0 + 2.0_f64.powi(-11) - 2.0_f64.powi(-40);
        assert_eq!(<f16 as Number>::through(below), 1.0);
        for exact in [0.0, -0.5, 3.25, 65504.0, 2.0_f64.powi(-24)] {
            assert_eq!(f64::from(<f16 as Number>::through(exact)), exact);
        }
    }
}
