//! What the voxels of each label measure.

mod accumulate;
mod median;

use std::collections::BTreeMap;

use ndarray::{ArrayView3, ArrayView4, Axis};
use nnunet_fingerprint::Class;
use nnunet_image::Geometry;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::InferError;
use accumulate::{Extent, extents};
use median::median;

/// Intensities of one channel within a label. Values that are not finite are counted and otherwise left out; what has no value is
/// none, `null` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntensityStatistics {
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation of a sample: the sum of squares is divided by the number of voxels less one, as ITK's
    /// `LabelStatisticsImageFilter` has it; 0 for a single voxel.
    pub sd: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Median, not approximated: the mean of both middle values where their number is even.
    pub median: Option<f64>,
    /// Voxels whose value is infinite or not a number.
    pub not_finite: u64,
}

/// First and last voxel of a box, both inside, as indices (z, y, x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoxelBox {
    /// Smallest index along each axis.
    pub first: [usize; 3],
    /// Largest index along each axis.
    pub last: [usize; 3],
}

/// Size, place and intensities of one label or region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelStatistics {
    /// The labels that count: one, or those of a region.
    pub labels: Vec<i16>,
    /// Number of voxels.
    pub voxels: u64,
    /// Volume in millilitres; none in 2-D, where pixels have no depth.
    pub volume_ml: Option<f64>,
    /// Mean position of the voxels' centres in millimetres as (x, y, z), x towards left, y towards back, z up (LPS, as ITK); none
    /// without voxels.
    pub centroid_mm: Option<[f64; 3]>,
    /// The smallest box that holds all voxels; none without voxels.
    pub bounding_box: Option<VoxelBox>,
    /// One per channel of the image; empty without an image.
    pub intensities: Vec<IntensityStatistics>,
}

/// How often each label occurs in labels `(z, y, x)`.
pub fn count_labels(labels: ArrayView3<'_, i16>) -> BTreeMap<i16, u64> {
    let slices: Vec<BTreeMap<i16, u64>> =
        labels.axis_iter(Axis(0)).into_par_iter().map(count_slice).collect();
    let mut all = BTreeMap::new();
    for (label, count) in slices.into_iter().flatten() {
        *all.entry(label).or_insert(0) += count;
    }
    all
}

fn count_slice(slice: ndarray::ArrayView2<'_, i16>) -> BTreeMap<i16, u64> {
    let mut counts = BTreeMap::new();
    let mut run = (0i16, 0u64);
    for &label in slice {
        if label != run.0 {
            *counts.entry(run.0).or_insert(0) += run.1;
            run = (label, 0);
        }
        run.1 += 1;
    }
    *counts.entry(run.0).or_insert(0) += run.1;
    counts.retain(|_, count| *count > 0);
    counts
}

/// Statistics of each class, from labels `(z, y, x)`, an image `(channel, z, y, x)` on the same grid, and the geometry of both.
///
/// Voxels are visited slice by slice on all threads; the result does not depend on their number, and memory not on the size of the
/// labels. Centroid and bounding box are those of ITK's `LabelShapeStatisticsImageFilter`.
///
/// ```
/// use ndarray::array;
/// use nnunet_fingerprint::Class;
/// use nnunet_image::Geometry;
/// use nnunet_infer::label_statistics;
///
/// let labels = array![[[0i16, 1, 1, 2]]];
/// let image = array![[[[9f32, 1.0, 4.0, 6.0]]]];
/// let geometry = Geometry { spacing: [5.0, 2.0, 1.0], ..Geometry::default() };
/// let classes = [Class::Label(1), Class::Region(vec![1, 2])];
/// let found = label_statistics(labels.view(), Some(image.view()), &geometry, &classes).unwrap();
/// assert_eq!((found[0].voxels, found[0].volume_ml), (2, Some(0.02)));
/// assert_eq!(found[0].centroid_mm, Some([1.5, 0.0, 0.0]));
/// assert_eq!((found[0].intensities[0].mean, found[1].intensities[0].median), (Some(2.5), Some(4.0)));
/// ```
///
/// # Errors
/// An image whose grid has another shape than the labels.
pub fn label_statistics(
    labels: ArrayView3<'_, i16>,
    image: Option<ArrayView4<'_, f32>>,
    geometry: &Geometry,
    classes: &[Class],
) -> Result<Vec<LabelStatistics>, InferError> {
    if let Some(image) = &image
        && image.shape()[1..] != *labels.shape()
    {
        return Err(InferError::Shape {
            what: "the image (z, y, x)",
            found: image.shape()[1..].to_vec(),
            expected: labels.shape().to_vec(),
        });
    }
    let channels: Vec<ArrayView3<'_, f32>> =
        image.as_ref().map(|image| image.outer_iter().collect()).unwrap_or_default();
    let per_label = extents(labels, &channels, classes);
    let of_class = |class: &Class| -> LabelStatistics {
        let mut extent = Extent::empty(channels.len());
        // In the order of the labels, each once.
        for (label, part) in &per_label {
            if class.labels().contains(label) {
                extent.merge(part);
            }
        }
        describe(labels, &channels, geometry, class, &extent)
    };
    Ok(classes.par_iter().map(of_class).collect())
}

fn describe(
    labels: ArrayView3<'_, i16>,
    channels: &[ArrayView3<'_, f32>],
    geometry: &Geometry,
    class: &Class,
    extent: &Extent,
) -> LabelStatistics {
    let bounding_box = (extent.voxels > 0).then_some(VoxelBox { first: extent.first, last: extent.last });
    let intensity = |(channel, moments): (&ArrayView3<'_, f32>, &accumulate::Moments)| {
        let some = |value: f64| (moments.count > 0).then_some(value);
        IntensityStatistics {
            mean: some(moments.mean),
            sd: some(moments.sd()),
            min: some(moments.min),
            max: some(moments.max),
            median: bounding_box.and_then(|b| median(labels, *channel, class.labels(), b, moments.count)),
            not_finite: moments.not_finite,
        }
    };
    let pairs: Vec<_> = channels.iter().zip(&extent.moments).collect();
    LabelStatistics {
        labels: class.labels().to_vec(),
        voxels: extent.voxels,
        volume_ml: (geometry.dims == 3)
            .then(|| extent.voxels as f64 * geometry.spacing.iter().product::<f64>() / 1000.0),
        centroid_mm: extent.mean_index().map(|index| point(geometry, index)),
        bounding_box,
        intensities: pairs.into_par_iter().map(intensity).collect(),
    }
}

/// Position (x, y, z) in millimetres of an index (z, y, x).
fn point(geometry: &Geometry, index: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|row| {
        let steps = (0..3).map(|k| geometry.direction[row][k] * geometry.spacing[2 - k] * index[2 - k]);
        geometry.origin[row] + steps.sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4};

    use super::*;

    #[test]
    fn labels_are_counted() {
        let mut labels = Array3::<i16>::zeros((2, 3, 4));
        labels[[0, 1, 2]] = 7;
        labels[[1, 2, 3]] = 7;
        labels[[1, 2, 2]] = -1;
        assert_eq!(count_labels(labels.view()), BTreeMap::from([(-1, 1), (0, 21), (7, 2)]));
        assert!(count_labels(Array3::zeros((0, 3, 4)).view()).is_empty());
    }

    #[test]
    fn a_label_without_voxels_has_no_place_and_no_intensities() {
        let labels = Array3::<i16>::zeros((2, 3, 4));
        let image = Array4::<f32>::zeros((2, 2, 3, 4));
        let classes = [Class::Label(3)];
        let found =
            label_statistics(labels.view(), Some(image.view()), &Geometry::default(), &classes).unwrap();
        assert_eq!((found[0].voxels, found[0].volume_ml), (0, Some(0.0)));
        assert_eq!((found[0].centroid_mm, found[0].bounding_box), (None, None));
        assert_eq!(found[0].intensities.len(), 2);
        assert_eq!((found[0].intensities[1].mean, found[0].intensities[1].median), (None, None));
    }

    #[test]
    fn values_that_are_not_finite_are_counted_apart() {
        let labels = Array3::<i16>::ones((1, 1, 4));
        let values = vec![1.0, f32::NAN, f32::INFINITY, 3.0];
        let image = Array4::from_shape_vec((1, 1, 1, 4), values).unwrap();
        let classes = [Class::Label(1)];
        let found =
            label_statistics(labels.view(), Some(image.view()), &Geometry::default(), &classes).unwrap();
        let intensity = found[0].intensities[0];
        assert_eq!((found[0].voxels, intensity.not_finite), (4, 2));
        assert_eq!((intensity.mean, intensity.median, intensity.max), (Some(2.0), Some(2.0), Some(3.0)));
        assert!((intensity.sd.unwrap() - 2f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn flat_images_have_no_volume_and_other_grids_are_refused() {
        let labels = Array3::<i16>::ones((1, 2, 2));
        let flat = Geometry { dims: 2, ..Geometry::default() };
        let found = label_statistics(labels.view(), None, &flat, &[Class::Label(1)]).unwrap();
        assert_eq!((found[0].voxels, found[0].volume_ml), (4, None));
        let image = Array4::<f32>::zeros((1, 1, 2, 3));
        let error = label_statistics(labels.view(), Some(image.view()), &flat, &[Class::Label(1)]);
        assert!(error.unwrap_err().to_string().contains("[1, 2, 3], expected [1, 2, 2]"));
    }
}
