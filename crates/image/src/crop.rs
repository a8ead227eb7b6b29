//! Cropping to the non-zero region.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, Slice, Zip};

/// A box of voxels, half-open: `start <= index < end` per axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundingBox {
    /// First index along z, y, x.
    pub start: [usize; 3],
    /// One past the last index along z, y, x.
    pub end: [usize; 3],
}

impl BoundingBox {
    /// Extent along z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.start[axis])
    }
}

/// What [`crop_to_nonzero`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Cropped {
    /// The image inside the box, unchanged.
    pub image: Array4<f32>,
    /// Labels inside the box; −1 where the label is 0 and the voxel lies outside the non-zero mask.
    pub labels: Array3<i16>,
    /// The box in the uncropped array.
    pub bbox: BoundingBox,
}

/// Voxels that are not zero in at least one channel (NaN counts as not zero), with holes filled.
///
/// A hole is a region of zero voxels that faces (6-neighbours) do not connect to the outside of the array.
pub fn nonzero_mask(data: ArrayView4<'_, f32>) -> Array3<bool> {
    let (_, z, y, x) = data.dim();
    let mut mask = Array3::from_elem((z, y, x), false);
    for channel in data.outer_iter() {
        Zip::from(&mut mask).and(&channel).for_each(|m, &v| *m |= v != 0.0);
    }
    fill_holes(&mut mask);
    mask
}

fn fill_holes(mask: &mut Array3<bool>) {
    let (nz, ny, nx) = mask.dim();
    let Some(values) = mask.as_slice_mut() else { return };
    if values.iter().all(|&v| v) {
        return;
    }
    let mut outside = vec![false; values.len()];
    let mut stack = Vec::new();
    let border = |z: usize, y: usize, x: usize| {
        z == 0 || y == 0 || x == 0 || z + 1 == nz || y + 1 == ny || x + 1 == nx
    };
    for z in 0..nz {
        for y in 0..ny {
            let inner_row = z > 0 && z + 1 < nz && y > 0 && y + 1 < ny;
            let step = if inner_row && nx > 1 { nx - 1 } else { 1 };
            for x in (0..nx).step_by(step) {
                let i = (z * ny + y) * nx + x;
                if border(z, y, x) && !values[i] && !outside[i] {
                    outside[i] = true;
                    stack.push(i);
                }
            }
        }
    }
    while let Some(i) = stack.pop() {
        let (z, y, x) = (i / nx / ny, i / nx % ny, i % nx);
        let mut visit = |inside: bool, j: usize| {
            if inside && !values[j] && !outside[j] {
                outside[j] = true;
                stack.push(j);
            }
        };
        visit(x > 0, i.wrapping_sub(1));
        visit(x + 1 < nx, i + 1);
        visit(y > 0, i.wrapping_sub(nx));
        visit(y + 1 < ny, i + nx);
        visit(z > 0, i.wrapping_sub(nx * ny));
        visit(z + 1 < nz, i + nx * ny);
    }
    values.iter_mut().zip(outside).for_each(|(value, outside)| *value = !outside);
}

/// Tight box around the true voxels; the whole array if there is none.
pub fn bounding_box(mask: ArrayView3<'_, bool>) -> BoundingBox {
    let shape: [usize; 3] = mask.dim().into();
    let mut bbox = BoundingBox { start: [0; 3], end: shape };
    for axis in 0..3 {
        let any = |i: &usize| mask.index_axis(Axis(axis), *i).iter().any(|&v| v);
        let Some(first) = (0..shape[axis]).find(any) else {
            return BoundingBox { start: [0; 3], end: shape };
        };
        bbox.start[axis] = first;
        bbox.end[axis] = (first..shape[axis]).rfind(any).unwrap_or(first) + 1;
    }
    bbox
}

/// Crops image and labels to the box around the non-zero mask, as nnU-Net does.
///
/// Labels of 0 outside the mask become −1, others are kept. Without labels the result has 0 inside the mask and −1
/// outside. `labels` must have the shape of the image.
pub fn crop_to_nonzero(image: ArrayView4<'_, f32>, labels: Option<ArrayView3<'_, i16>>) -> Cropped {
    let mask = nonzero_mask(image);
    let bbox = bounding_box(mask.view());
    let mask = cut(mask.view(), &bbox);
    let labels = match labels {
        Some(labels) => {
            let mut labels = cut(labels, &bbox).to_owned();
            Zip::from(&mut labels).and(mask).for_each(|label, &inside| {
                if *label == 0 && !inside {
                    *label = -1;
                }
            });
            labels
        }
        None => mask.map(|&inside| if inside { 0 } else { -1 }),
    };
    let mut view = image;
    for axis in 0..3 {
        view.slice_axis_inplace(Axis(axis + 1), Slice::from(bbox.start[axis]..bbox.end[axis]));
    }
    Cropped { image: view.as_standard_layout().into_owned(), labels, bbox }
}

fn cut<'a, T>(mut array: ArrayView3<'a, T>, bbox: &BoundingBox) -> ArrayView3<'a, T> {
    for axis in 0..3 {
        array.slice_axis_inplace(Axis(axis), Slice::from(bbox.start[axis]..bbox.end[axis]));
    }
    array
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_cavity_is_filled_and_a_tunnel_is_not() {
        let mut image = Array4::<f32>::zeros((1, 5, 5, 5));
        image.slice_mut(ndarray::s![0, 1..4, 1..4, 1..4]).fill(2.0);
        image[[0, 2, 2, 2]] = 0.0;
        assert!(nonzero_mask(image.view())[[2, 2, 2]], "closed cavity");
        image[[0, 1, 2, 2]] = 0.0;
        assert!(!nonzero_mask(image.view())[[2, 2, 2]], "open to one face");
    }

    #[test]
    fn a_cavity_that_is_open_only_across_an_edge_is_filled() {
        let mut image = Array4::<f32>::ones((1, 4, 4, 4));
        image.slice_mut(ndarray::s![0, .., .., 0]).fill(0.0);
        image[[0, 1, 1, 2]] = 0.0;
        assert!(nonzero_mask(image.view())[[1, 1, 2]]);
    }

    #[test]
    fn one_slice_has_no_holes() {
        let mut image = Array4::<f32>::ones((1, 1, 3, 3));
        image[[0, 0, 1, 1]] = 0.0;
        assert!(!nonzero_mask(image.view())[[0, 1, 1]]);
    }

    #[test]
    fn labels_outside_the_mask_become_minus_one_unless_they_are_labelled() {
        let image = array![[[[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, f32::NAN, 0.0], [0.0, -1.0, 0.0, 0.0]]]];
        let labels = array![[[0i16, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0]]];
        let cropped = crop_to_nonzero(image.view(), Some(labels.view()));
        assert_eq!(cropped.bbox, BoundingBox { start: [0, 1, 1], end: [1, 3, 3] });
        assert_eq!(cropped.labels, array![[[1i16, 0], [0, 3]]]);
        let unlabelled = crop_to_nonzero(image.view(), None);
        assert_eq!(unlabelled.labels, array![[[0i16, 0], [0, -1]]]);
        assert_eq!(unlabelled.image.dim(), (1, 1, 2, 2));
    }

    #[test]
    fn an_image_of_zeros_keeps_its_shape() {
        let cropped = crop_to_nonzero(Array4::<f32>::zeros((2, 2, 3, 4)).view(), None);
        assert_eq!(cropped.bbox.shape(), [2, 3, 4]);
        assert!(cropped.labels.iter().all(|&label| label == -1));
    }
}
