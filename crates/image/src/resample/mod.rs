//! Resampling to another grid, as nnU-Net's default resampling functions do it.

mod axis;
mod image;
mod labels;
mod linear;
mod spline;

use ndarray::{Array3, Array4, ArrayView3, ArrayView4};

use crate::ImageError;

/// Whether the axis with the largest spacing is resampled on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeparateZ {
    /// Where the spacing is anisotropic (`force_separate_z` null in plans).
    Auto,
    /// Along the axis with the largest current spacing (`force_separate_z` true).
    Always,
    /// Never (`force_separate_z` false).
    Never,
}

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampleOptions {
    /// Order of the interpolation: 0 (nearest), 1 (linear) or 3 (cubic spline).
    pub order: u8,
    /// Order along a separate axis; nnU-Net plans always say 0.
    pub order_z: u8,
    /// Whether the axis with the largest spacing is resampled on its own.
    pub separate_z: SeparateZ,
    /// A spacing is anisotropic if its largest entry is more than this many times its smallest.
    pub anisotropy_threshold: f64,
}

impl ResampleOptions {
    /// nnU-Net's choice for images: cubic, nearest along a separate axis.
    pub fn image() -> Self {
        Self { order: 3, order_z: 0, separate_z: SeparateZ::Auto, anisotropy_threshold: 3.0 }
    }

    /// nnU-Net's choice for segmentations: the label with the largest linearly interpolated indicator.
    pub fn labels() -> Self {
        Self { order: 1, ..Self::image() }
    }

    /// nnU-Net's choice for logits and probabilities: linear.
    pub fn probabilities() -> Self {
        Self { order: 1, ..Self::image() }
    }

    /// The axis that is resampled on its own, if there is exactly one candidate.
    fn separate_axis(&self, spacing: [f64; 3], new_spacing: [f64; 3]) -> Option<usize> {
        let anisotropic = |s: [f64; 3]| {
            let (low, high) = extremes(s);
            high / low > self.anisotropy_threshold
        };
        let from = match self.separate_z {
            SeparateZ::Never => return None,
            SeparateZ::Always => spacing,
            SeparateZ::Auto if anisotropic(spacing) => spacing,
            SeparateZ::Auto if anisotropic(new_spacing) => new_spacing,
            SeparateZ::Auto => return None,
        };
        let (_, high) = extremes(from);
        let mut axes = (0..3).filter(|&axis| from[axis] == high);
        let first = axes.next();
        if axes.next().is_some() { None } else { first }
    }
}

fn extremes(s: [f64; 3]) -> (f64, f64) {
    (s.iter().copied().fold(f64::INFINITY, f64::min), s.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Shape after resampling from one spacing to another: `round(spacing / target · size)` per axis, half to even.
pub fn resampled_shape(shape: [usize; 3], spacing: [f64; 3], target: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| (spacing[axis] / target[axis] * shape[axis] as f64).round_ties_even() as usize)
}

/// Resamples every channel of an image `(c, z, y, x)` to `new_shape` (z, y, x).
///
/// The spacings (z, y, x) only decide whether an axis is resampled on its own: then slices are interpolated in the plane and
/// picked by nearest neighbour along the axis. Results are clipped to the range of the input volume (or slice). The
/// computation is in f64; an image that has the new shape already is returned as it is.
///
/// # Errors
/// An order other than 0, 1, 3 (along a separate axis: other than 0), an empty axis, or a spacing that is not positive.
pub fn resample_image(
    data: ArrayView4<'_, f32>,
    new_shape: [usize; 3],
    spacing: [f64; 3],
    new_spacing: [f64; 3],
    options: &ResampleOptions,
) -> Result<Array4<f32>, ImageError> {
    let (channels, z, y, x) = data.dim();
    if [z, y, x] == new_shape {
        return Ok(data.as_standard_layout().into_owned());
    }
    check([z, y, x], new_shape, spacing, new_spacing, options)?;
    let separate = options.separate_axis(spacing, new_spacing);
    let mut out = Array4::zeros((channels, new_shape[0], new_shape[1], new_shape[2]));
    for (source, mut target) in data.outer_iter().zip(out.outer_iter_mut()) {
        target.assign(&image::resample(source, new_shape, separate, options.order));
    }
    Ok(out)
}

/// Resamples a label map (z, y, x) to `new_shape`; see [`resample_image`] for the parameters.
///
/// Of the labels present, each voxel gets the one whose linearly interpolated indicator is largest; at a tie the nearest
/// neighbour if it is among the best, otherwise the smallest. With order 0, the nearest neighbour.
///
/// # Errors
/// An order other than 0 and 1 (along a separate axis: other than 0), an empty axis, or a spacing that is not positive.
pub fn resample_labels(
    data: ArrayView3<'_, i16>,
    new_shape: [usize; 3],
    spacing: [f64; 3],
    new_spacing: [f64; 3],
    options: &ResampleOptions,
) -> Result<Array3<i16>, ImageError> {
    let shape: [usize; 3] = data.dim().into();
    if shape == new_shape {
        return Ok(data.as_standard_layout().into_owned());
    }
    check(shape, new_shape, spacing, new_spacing, options)?;
    if options.order > 1 {
        return Err(ImageError::Resample(format!(
            "labels are resampled with order 0 or 1, not {}",
            options.order
        )));
    }
    let separate = options.separate_axis(spacing, new_spacing);
    Ok(labels::resample(data, new_shape, separate, options.order))
}

fn check(
    shape: [usize; 3],
    new_shape: [usize; 3],
    spacing: [f64; 3],
    new_spacing: [f64; 3],
    options: &ResampleOptions,
) -> Result<(), ImageError> {
    if shape.contains(&0) || new_shape.contains(&0) {
        let text = format!("from shape {shape:?} to {new_shape:?} (z, y, x): an axis is empty");
        return Err(ImageError::Resample(text));
    }
    if spacing.iter().chain(&new_spacing).any(|s| !s.is_finite() || *s <= 0.0) {
        let text = format!("spacing {spacing:?} to {new_spacing:?} mm (z, y, x): must be above 0");
        return Err(ImageError::Resample(text));
    }
    if ![0, 1, 3].contains(&options.order) || options.order_z != 0 {
        let text = format!(
            "order {} in the plane and {} along a separate axis; supported are 0, 1, 3 and 0",
            options.order, options.order_z
        );
        return Err(ImageError::Resample(text));
    }
    Ok(())
}
