use ndarray::{Array4, ArrayView4};

use crate::nearest::{nearest_exact, scaled_length};

/// The label map at each resolution of deep supervision, in the order of `scales`.
///
/// A scale has one factor per axis z, y, x on the number of voxels: 1 / (product of the strides down to a stage),
/// which [`nnU-Net`](https://doi.org/10.1038/s41592-020-01008-z) uses for all stages but the lowest. Each axis is
/// rounded half to even, at least one voxel, and takes the nearest voxel's label.
///
/// ```
/// use ndarray::Array4;
/// let labels = Array4::from_shape_fn((1, 1, 1, 8), |(_, _, _, x)| x as i16);
/// let targets = nnunet_augment::deep_supervision_targets(labels.view(), &[[1.0; 3], [1.0, 1.0, 0.5]]);
/// assert_eq!(targets[0], labels);
/// assert_eq!(targets[1].as_slice(), Some(&[1, 3, 5, 7][..]));
/// ```
pub fn deep_supervision_targets(labels: ArrayView4<'_, i16>, scales: &[[f64; 3]]) -> Vec<Array4<i16>> {
    scales.iter().map(|&scale| rescale(labels, scale)).collect()
}

fn rescale(labels: ArrayView4<'_, i16>, scale: [f64; 3]) -> Array4<i16> {
    let (channels, z, y, x) = labels.dim();
    if scale == [1.0; 3] || labels.is_empty() {
        return labels.to_owned();
    }
    let kept = |axis: usize, length: usize| -> Vec<usize> {
        let target = scaled_length(length, scale[axis]).max(1);
        (0..target).map(|i| nearest_exact(i, length, target)).collect()
    };
    let (kz, ky, kx) = (kept(0, z), kept(1, y), kept(2, x));
    Array4::from_shape_fn((channels, kz.len(), ky.len(), kx.len()), |(c, z, y, x)| {
        labels[[c, kz[z], ky[y], kx[x]]]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_the_strides() {
        let labels =
            Array4::from_shape_fn((2, 3, 4, 8), |(c, z, y, x)| (1000 * c + 100 * z + 10 * y + x) as i16);
        let targets =
            deep_supervision_targets(labels.view(), &[[1.0; 3], [1.0, 0.5, 0.5], [0.5, 0.25, 0.25]]);
        assert_eq!(targets[0], labels);
        assert_eq!(targets[1].dim(), (2, 3, 2, 4));
        assert_eq!(targets[1][[1, 2, 1, 3]], 1237);
        assert_eq!(targets[2].dim(), (2, 2, 1, 2));
        assert_eq!(targets[2][[0, 1, 0, 1]], 226);
    }

    #[test]
    fn an_empty_map_stays_empty() {
        let labels = Array4::<i16>::zeros((1, 0, 4, 4));
        assert_eq!(deep_supervision_targets(labels.view(), &[[0.5; 3]])[0].dim(), (1, 0, 4, 4));
    }
}
