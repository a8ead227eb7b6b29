//! Target spacing, axis order and median shape.

use nnunet_fingerprint::Fingerprint;
use nnunet_fingerprint::numpy::{median_f64, percentile_f64};

/// Ratio from which an axis counts as anisotropic.
pub(crate) const ANISOTROPY: f64 = 3.0;

fn column<T: Copy>(rows: &[[T; 3]], axis: usize) -> Vec<T> {
    rows.iter().map(|row| row[axis]).collect()
}

/// Median over the cases, per axis.
pub(crate) fn median_per_axis(rows: &[[f64; 3]]) -> [f64; 3] {
    std::array::from_fn(|axis| median_f64(&column(rows, axis)).unwrap_or(f64::NAN))
}

/// Median shape after cropping, per axis.
pub(crate) fn median_shape(fingerprint: &Fingerprint) -> [f64; 3] {
    let shapes: Vec<[f64; 3]> = fingerprint.shapes_after_crop.iter().map(|s| s.map(|n| n as f64)).collect();
    median_per_axis(&shapes)
}

/// The spacing that cases are resampled to, (z, y, x) of the images.
///
/// The median, but for an axis that is more than three times as coarse as the others and has less than a third of their
/// voxels: there the 10th percentile, though not finer than the others.
pub(crate) fn fullres_target(fingerprint: &Fingerprint) -> [f64; 3] {
    let mut target = median_per_axis(&fingerprint.spacings);
    let size = median_shape(fingerprint);
    let worst = argmax(target);
    let others: Vec<usize> = (0..3).filter(|&axis| axis != worst).collect();
    let coarsest_other = target[others[0]].max(target[others[1]]);
    let smallest_other = size[others[0]].min(size[others[1]]);
    if target[worst] > ANISOTROPY * coarsest_other && size[worst] * ANISOTROPY < smallest_other {
        let fine = percentile_f64(&column(&fingerprint.spacings, worst), 10.0).unwrap_or(f64::NAN);
        target[worst] = if fine < coarsest_other { coarsest_other + 1e-5 } else { fine };
    }
    target
}

/// First axis with the largest value.
pub(crate) fn argmax(values: [f64; 3]) -> usize {
    (1..3).fold(0, |best, axis| if values[axis] > values[best] { axis } else { best })
}

/// The axis with the largest target spacing first, the others in order; and the way back.
pub(crate) fn transpose(target: [f64; 3]) -> ([usize; 3], [usize; 3]) {
    let first = argmax(target);
    let mut forward = [first, 0, 0];
    for (slot, axis) in forward[1..].iter_mut().zip((0..3).filter(|&axis| axis != first)) {
        *slot = axis;
    }
    let mut backward = [0; 3];
    for (i, axis) in forward.into_iter().enumerate() {
        backward[axis] = i;
    }
    (forward, backward)
}

/// Median over the cases of their shapes after resampling to `target`.
pub(crate) fn resampled_median(fingerprint: &Fingerprint, target: [f64; 3]) -> [f64; 3] {
    let cases = fingerprint.spacings.iter().zip(&fingerprint.shapes_after_crop);
    let shapes: Vec<[f64; 3]> = cases
        .map(|(spacing, shape)| {
            std::array::from_fn(|a| (spacing[a] / target[a] * shape[a] as f64).round_ties_even())
        })
        .collect();
    median_per_axis(&shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(z: &[f64]) -> Fingerprint {
        Fingerprint {
            foreground_intensity_properties_per_channel: Default::default(),
            median_relative_size_after_cropping: 1.0,
            shapes_after_crop: vec![[10, 200, 200]; z.len()],
            spacings: z.iter().map(|&z| [z, 1.5, 1.5]).collect(),
        }
    }

    // Values of the reference.
    #[test]
    fn coarse_axes_get_the_tenth_percentile() {
        assert_eq!(fullres_target(&fingerprint(&[5.0, 6.0, 10.0, 10.0, 10.0])), [5.4, 1.5, 1.5]);
        assert_eq!(fullres_target(&fingerprint(&[1.0, 1.2, 10.0, 10.0, 10.0])), [1.50001, 1.5, 1.5]);
        assert_eq!(fullres_target(&fingerprint(&[4.5])), [4.5, 1.5, 1.5]);
    }

    #[test]
    fn the_coarsest_axis_comes_first() {
        assert_eq!(transpose([0.5, 0.6, 2.0]), ([2, 0, 1], [1, 2, 0]));
        assert_eq!(transpose([0.5, 1.0, 1.0]), ([1, 0, 2], [1, 0, 2]));
        assert_eq!(transpose([1.0; 3]), ([0, 1, 2], [0, 1, 2]));
    }
}
