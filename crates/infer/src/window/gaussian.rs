use half::f16;
use ndarray::Array3;

/// Height of the importance map's peak.
const PEAK: f64 = 10.0;
/// Standard deviation as a fraction of the patch size.
const SIGMA_SCALE: f64 = 1.0 / 8.0;
/// Standard deviations after which the Gaussian is cut off.
const TRUNCATE: f64 = 4.0;

/// Weight of each voxel of a tile when tiles are averaged: a Gaussian around voxel `patch / 2` with a
/// standard deviation of an eighth of the patch per axis and a peak of 10, `(z, y, x)`.
///
/// As in nnU-Net v2.8.1 the weights are numbers of half precision, and those too small for it take the
/// smallest positive weight of the map, so that none is zero. An axis of length 1, as 2-D patches have, does
/// not matter.
///
/// ```
/// let map = nnunet_infer::gaussian_importance_map([1, 1, 8]);
/// assert_eq!(map[[0, 0, 4]], 10.0);
/// assert_eq!(map[[0, 0, 3]], map[[0, 0, 5]]);
/// ```
pub fn gaussian_importance_map(patch: [usize; 3]) -> Array3<f32> {
    let [z, y, x] = patch.map(profile);
    let product = Array3::from_shape_fn(patch, |(k, j, i)| z[k] * y[j] * x[i]);
    let scale = product.iter().copied().fold(0.0_f64, f64::max) / PEAK;
    let mut map = product.mapv(|value| f16::from_f64(value / scale).to_f32());
    let smallest = map.iter().copied().filter(|&value| value > 0.0).fold(f32::INFINITY, f32::min);
    map.mapv_inplace(|value| if value > 0.0 { value } else { smallest });
    map
}

/// A unit impulse at `size / 2`, smoothed, with zeros outside.
fn profile(size: usize) -> Vec<f64> {
    if size == 1 {
        return vec![1.0];
    }
    let sigma = size as f64 * SIGMA_SCALE;
    let radius = (TRUNCATE * sigma + 0.5) as isize;
    let value = |distance: isize| (-0.5 / (sigma * sigma) * (distance * distance) as f64).exp();
    let sum: f64 = (-radius..=radius).map(value).sum();
    (0..size)
        .map(|i| i as isize - (size / 2) as isize)
        .map(|distance| if distance.abs() <= radius { value(distance) / sum } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_has_the_values_of_the_reference() {
        let map = gaussian_importance_map([1, 1, 8]);
        let expected =
            [0.00335503, 0.11108398, 1.35351562, 6.06640625, 10.0, 6.06640625, 1.35351562, 0.11108398_f32];
        for (value, expected) in map.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-8, "{map}");
        }
    }

    #[test]
    fn values_too_small_for_half_precision_take_the_smallest() {
        let map = gaussian_importance_map([128; 3]);
        let smallest = f16::from_bits(1).to_f32();
        assert!(map.iter().all(|&value| value >= smallest));
        assert_eq!(map.iter().filter(|&&value| value == smallest).count(), 18_987);
        assert_eq!(map[[64, 64, 64]], 10.0);
    }

    #[test]
    fn large_slices_need_no_floor() {
        let map = gaussian_importance_map([1, 512, 512]);
        let smallest = map.iter().copied().fold(f32::INFINITY, f32::min);
        assert!((smallest - 1.13e-6).abs() < 1e-8, "{smallest}");
    }
}
