//! Axis permutations.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4};

/// Permutes the spatial axes: axis `i` of the result is axis `axes[i]` of the input; channels stay first.
///
/// # Panics
/// `axes` is not a permutation of 0, 1, 2.
pub fn transpose_image(image: ArrayView4<'_, f32>, axes: [usize; 3]) -> Array4<f32> {
    image.permuted_axes([0, axes[0] + 1, axes[1] + 1, axes[2] + 1]).as_standard_layout().into_owned()
}

/// Permutes the axes of a label map; see [`transpose_image`].
pub fn transpose_labels(labels: ArrayView3<'_, i16>, axes: [usize; 3]) -> Array3<i16> {
    labels.permuted_axes(axes).as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_of_the_result_comes_from_the_named_axis() {
        let image = Array4::from_shape_fn((1, 2, 3, 4), |(_, z, y, x)| (100 * z + 10 * y + x) as f32);
        let turned = transpose_image(image.view(), [2, 0, 1]);
        assert_eq!(turned.dim(), (1, 4, 2, 3));
        assert_eq!(turned[[0, 3, 1, 2]], 123.0);
        assert!(turned.is_standard_layout());
    }
}
