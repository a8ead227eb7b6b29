//! Resampling of images with their geometry.

use super::{ResampleOptions, resample_image, resample_labels, resampled_shape};
use crate::{Geometry, Image, ImageError, LabelMap};

/// Resamples an image to a spacing (z, y, x) in millimetres and gives the result its place in space.
///
/// The shape is that of [`resampled_shape`]; the grids cover the same box, so the spacing of the result is the box divided by
/// the shape, which rounding may move a little from `spacing`, and the origin moves by half the difference of the voxels.
///
/// ```
/// use ndarray::Array4;
/// use nnunet_image::{Geometry, Image, ResampleOptions, resample_to_spacing};
///
/// let geometry = Geometry { spacing: [3.0, 1.0, 1.0], ..Geometry::default() };
/// let image = Image { data: Array4::zeros((1, 10, 30, 30)), geometry };
/// let cubes = resample_to_spacing(&image, [1.5; 3], &ResampleOptions::image())?;
/// assert_eq!(cubes.data.dim(), (1, 20, 20, 20));
/// assert_eq!(cubes.geometry.spacing, [1.5; 3]);
/// assert_eq!(cubes.geometry.origin, [0.25, 0.25, -0.75]); // x, y, z
/// # Ok::<(), nnunet_image::ImageError>(())
/// ```
///
/// # Errors
/// A spacing that is not a number above 0, an axis that would be empty, or as [`resample_image`].
pub fn resample_to_spacing(
    image: &Image,
    spacing: [f64; 3],
    options: &ResampleOptions,
) -> Result<Image, ImageError> {
    let (_, z, y, x) = image.data.dim();
    let (shape, geometry) = target([z, y, x], &image.geometry, spacing)?;
    let data = resample_image(image.data.view(), shape, image.geometry.spacing, geometry.spacing, options)?;
    Ok(Image { data, geometry })
}

/// Resamples a label map to a spacing, as [`resample_to_spacing`] does with an image.
///
/// # Errors
/// As [`resample_to_spacing`] and [`resample_labels`].
pub fn resample_labels_to_spacing(
    labels: &LabelMap,
    spacing: [f64; 3],
    options: &ResampleOptions,
) -> Result<LabelMap, ImageError> {
    let (shape, geometry) = target(labels.data.dim().into(), &labels.geometry, spacing)?;
    let data =
        resample_labels(labels.data.view(), shape, labels.geometry.spacing, geometry.spacing, options)?;
    Ok(LabelMap { data, geometry })
}

/// Shape and geometry of the grid that covers the same box with voxels of about this spacing.
fn target(
    shape: [usize; 3],
    geometry: &Geometry,
    spacing: [f64; 3],
) -> Result<([usize; 3], Geometry), ImageError> {
    if let Some(axis) = (0..3).find(|&axis| !(spacing[axis].is_finite() && spacing[axis] > 0.0)) {
        return Err(ImageError::Resample(format!(
            "the spacing along {} must be a number above 0, found {}",
            ["z", "y", "x"][axis],
            spacing[axis]
        )));
    }
    let new = resampled_shape(shape, geometry.spacing, spacing);
    let mut result = geometry.clone();
    // Millimetres from the centre of the first voxel to that of the new first one, along the index axes (z, y, x).
    let mut shift = [0.0; 3];
    for axis in 0..3 {
        if new[axis] == 0 {
            return Err(ImageError::Resample(format!(
                "no voxel of {} mm fits along {}, where the image has {} mm",
                spacing[axis],
                ["z", "y", "x"][axis],
                geometry.spacing[axis] * shape[axis] as f64
            )));
        }
        let fine = geometry.spacing[axis] * shape[axis] as f64 / new[axis] as f64;
        result.spacing[axis] = if new[axis] == shape[axis] { geometry.spacing[axis] } else { fine };
        shift[axis] = (result.spacing[axis] - geometry.spacing[axis]) / 2.0;
    }
    for (origin, row) in result.origin.iter_mut().zip(&geometry.direction) {
        *origin += row[0] * shift[2] + row[1] * shift[1] + row[2] * shift[0];
    }
    Ok((new, result))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4};

    use super::*;

    /// The corner of the box of voxels that lies before the first voxel (x, y, z).
    fn corner(geometry: &Geometry, shape: [usize; 3], far: bool) -> [f64; 3] {
        let step: [f64; 3] = std::array::from_fn(|axis| {
            let index = if far { shape[axis] as f64 - 0.5 } else { -0.5 };
            index * geometry.spacing[axis]
        });
        std::array::from_fn(|k| {
            let row = geometry.direction[k];
            geometry.origin[k] + row[0] * step[2] + row[1] * step[1] + row[2] * step[0]
        })
    }

    #[test]
    fn both_grids_cover_the_same_box_in_any_orientation() {
        let (sin, cos) = 0.4f64.sin_cos();
        let geometry = Geometry {
            spacing: [2.5, 0.8, 1.1],
            origin: [10.0, -20.0, 5.0],
            direction: [[-cos, 0.0, sin], [sin, 0.0, cos], [0.0, 1.0, 0.0]],
            ..Geometry::default()
        };
        let shape = [7, 31, 20];
        let labels = LabelMap { data: Array3::zeros(shape), geometry: geometry.clone() };
        for spacing in [[1.0, 1.0, 1.0], [3.3, 0.7, 2.0], [2.5, 0.8, 1.1]] {
            let new = resample_labels_to_spacing(&labels, spacing, &ResampleOptions::labels()).unwrap();
            for far in [false, true] {
                let (a, b) =
                    (corner(&geometry, shape, far), corner(&new.geometry, new.data.dim().into(), far));
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn spacings_that_cannot_be_are_refused_by_axis() {
        let image = Image { data: Array4::zeros((1, 4, 4, 4)), geometry: Geometry::default() };
        let error = |spacing| {
            resample_to_spacing(&image, spacing, &ResampleOptions::image()).unwrap_err().to_string()
        };
        assert!(error([1.0, 0.0, 1.0]).contains("along y must be a number above 0, found 0"));
        assert!(
            error([1.0, 1.0, 100.0]).contains("no voxel of 100 mm fits along x, where the image has 4 mm")
        );
    }
}
