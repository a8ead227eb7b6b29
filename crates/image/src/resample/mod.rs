//! Resampling to another grid, as nnU-Net's resampling functions do it.

mod axis;
mod bspline;
mod image;
mod labels;
mod line;
mod linear;
mod space;
mod spline;
mod torch;

pub use space::{resample_labels_to_spacing, resample_to_spacing};

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

/// The arithmetic of the interpolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// B-splines in double precision (`resample_data_or_seg_to_shape` in plans).
    Spline,
    /// Linear in single precision, not clipped, whatever the order (`resample_torch_fornnunet` in plans).
    Torch {
        /// Labels: each where its indicator is above one half, 0 elsewhere, instead of the largest indicator.
        memory_efficient: bool,
    },
}

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampleOptions {
    /// The arithmetic.
    pub method: Method,
    /// Order of the interpolation: 0 (nearest), 1 (linear), 3 (cubic spline), up to 5.
    pub order: u8,
    /// Order along a separate axis; nnU-Net's planners always say 0.
    pub order_z: u8,
    /// Whether the axis with the largest spacing is resampled on its own.
    pub separate_z: SeparateZ,
    /// A spacing is anisotropic if its largest entry is more than this many times its smallest.
    pub anisotropy_threshold: f64,
}

impl ResampleOptions {
    /// nnU-Net's choice for images: cubic, nearest along a separate axis.
    pub fn image() -> Self {
        Self {
            method: Method::Spline,
            order: 3,
            order_z: 0,
            separate_z: SeparateZ::Auto,
            anisotropy_threshold: 3.0,
        }
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
        let mut axes = (0..3).filter(|&axis| high / from[axis] == 1.0);
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

/// Resamples a volume (z, y, x) to `new_shape` with a spline of `order` 0 (nearest), 1 (linear), 3 (cubic), up to 5.
///
/// Sample centres lie half a sample inside the borders, so that both grids cover the same space; beyond the borders the
/// outer samples are repeated. This is `skimage.transform.resize(data, new_shape, order, mode="edge", clip=clip,
/// anti_aliasing=False)`. With `clip`, results stay within the range of the input; without, splines of order 2 and more may
/// overshoot. Axes are interpolated one after the other, in double precision, on all threads; from order 2 on, beside input
/// and result there is only what each thread needs for a plane, but for the input along an axis that shrinks more than the
/// others.
///
/// ```
/// use ndarray::array;
/// use nnunet_image::resample;
///
/// let line = array![[[0.0, 1.0, 4.0, 2.0]]];
/// let finer = resample(line.view(), [1, 1, 6], 1, true).unwrap();
/// assert_eq!(finer, array![[[0.0, 0.5, 1.5, 3.5, 3.0, 2.0]]]);
/// let cubic = resample(line.view(), [1, 1, 6], 3, false).unwrap();
/// assert!((cubic[[0, 0, 0]] + 0.004_063_27).abs() < 1e-6);
/// ```
///
/// # Errors
/// An order above 5, or an empty axis.
pub fn resample(
    data: ArrayView3<'_, f32>,
    new_shape: [usize; 3],
    order: u8,
    clip: bool,
) -> Result<Array3<f32>, ImageError> {
    let options = ResampleOptions { order, separate_z: SeparateZ::Never, ..ResampleOptions::image() };
    check(data.dim().into(), new_shape, [1.0; 3], [1.0; 3], &options)?;
    let values = if clip || order < 2 {
        image::resample(data, new_shape, None, order)
    } else {
        image::along(data, new_shape, order)
    };
    into_array(values, new_shape)
}

fn into_array<T>(values: Vec<T>, shape: [usize; 3]) -> Result<Array3<T>, ImageError> {
    Array3::from_shape_vec(shape, values).map_err(|e| ImageError::Resample(e.to_string()))
}

/// Resamples every channel of an image `(c, z, y, x)` to `new_shape` (z, y, x).
///
/// The spacings (z, y, x) only decide whether an axis is resampled on its own: then slices are interpolated in the plane and
/// picked by nearest neighbour (or interpolated with `order_z`) along the axis. Results are clipped to the range of the
/// input volume (or slice). The computation is in f64; an image that has the new shape already is returned as it is. See
/// [`resample`] for the coordinates and the memory.
///
/// # Errors
/// An order above 5, an empty axis, or a spacing that is not positive.
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
    let mut values = Vec::new();
    for channel in data.outer_iter() {
        let mut one = match options.method {
            Method::Spline => image::resample(
                channel,
                new_shape,
                separate.map(|axis| (axis, options.order_z)),
                options.order,
            ),
            Method::Torch { .. } => torch::image(channel, new_shape, separate),
        };
        if channels == 1 {
            values = one;
        } else {
            values.reserve_exact(channels * one.len() - values.len());
            values.append(&mut one);
        }
    }
    let shape = (channels, new_shape[0], new_shape[1], new_shape[2]);
    Array4::from_shape_vec(shape, values).map_err(|e| ImageError::Resample(e.to_string()))
}

/// Resamples a label map (z, y, x) to `new_shape`; see [`resample_image`] for the parameters.
///
/// Of the labels present, each voxel gets the one whose linearly interpolated indicator is largest; at a tie the nearest
/// neighbour if it is among the best, otherwise the smallest. With order 0, the nearest neighbour. With an order above 0 along
/// a separate axis, each slot there gets the label whose interpolated indicator is above one half, and 0 where there is none.
///
/// # Errors
/// An order other than 0 and 1 (along a separate axis: above 5), an empty axis, or a spacing that is not positive.
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
            "labels are resampled with order 0 or 1 in the plane, not {}",
            options.order
        )));
    }
    let separate = options.separate_axis(spacing, new_spacing);
    match (options.method, separate) {
        (Method::Torch { memory_efficient }, _) => {
            into_array(torch::labels(data, new_shape, separate, memory_efficient), new_shape)
        }
        (Method::Spline, Some(axis)) if options.order_z > 0 => {
            let mut plane = new_shape;
            plane[axis] = shape[axis];
            let in_plane = labels::resample(data, plane, separate, options.order);
            labels_along(&in_plane, new_shape, options.order_z)
        }
        (Method::Spline, _) => Ok(labels::resample(data, new_shape, separate, options.order)),
    }
}

/// Labels along one axis, each by its own threshold, ascending.
fn labels_along(data: &Array3<i16>, new_shape: [usize; 3], order: u8) -> Result<Array3<i16>, ImageError> {
    if <[usize; 3]>::from(data.dim()) == new_shape {
        return Ok(data.clone());
    }
    let present: std::collections::BTreeSet<i16> = data.iter().copied().collect();
    let mut out = Array3::zeros(new_shape);
    for label in present {
        let indicator = data.mapv(|l| if l == label { 1.0 } else { 0.0 });
        let scores = into_array(image::along(indicator.view(), new_shape, order), new_shape)?;
        ndarray::Zip::from(&mut out).and(&scores).for_each(|out, &score| {
            if score > 0.5 {
                *out = label;
            }
        });
    }
    Ok(out)
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
    if options.order.max(options.order_z) > bspline::MAX_ORDER {
        let text = format!(
            "order {} in the plane and {} along a separate axis; the highest is {}",
            options.order,
            options.order_z,
            bspline::MAX_ORDER
        );
        return Err(ImageError::Resample(text));
    }
    Ok(())
}
