//! Intensity normalisation, in 32 bits and with the reference's rounding.

use ndarray::{ArrayView3, ArrayViewMut3};
use nnunet_fingerprint::IntensityProperties;
use nnunet_fingerprint::numpy::{mean_f32, std_f32};
use nnunet_plan::Normalization;

use crate::PreprocessError;

/// Smallest divisor.
const EPS: f32 = 1e-8;

/// Normalises one channel (z, y, x) in place.
///
/// With `mask`, the voxels at −1 in it are left out by z-scoring: they neither count nor change. `properties` are the data
/// set's foreground statistics, which CT normalisation needs.
///
/// # Errors
/// CT normalisation without statistics; RGB values outside 0…255.
pub fn normalize(
    mut channel: ArrayViewMut3<'_, f32>,
    scheme: Normalization,
    mask: Option<ArrayView3<'_, i16>>,
    properties: Option<&IntensityProperties>,
) -> Result<(), PreprocessError> {
    match (scheme, mask) {
        (Normalization::NoNorm, _) => {}
        (Normalization::ZScore, None) => {
            let values: Vec<f32> = channel.iter().copied().collect();
            let (mean, divisor) = (mean_f32(&values), std_f32(&values).max(EPS));
            channel.mapv_inplace(|v| (v - mean) / divisor);
        }
        (Normalization::ZScore, Some(mask)) => {
            let inside = channel.iter().zip(mask.iter()).filter(|(_, label)| **label >= 0);
            let values: Vec<f32> = inside.map(|(v, _)| *v).collect();
            if values.is_empty() {
                return Ok(());
            }
            let (mean, divisor) = (mean_f32(&values), std_f32(&values).max(EPS));
            ndarray::Zip::from(&mut channel).and(&mask).for_each(|v, &label| {
                if label >= 0 {
                    *v = (*v - mean) / divisor;
                }
            });
        }
        (Normalization::Ct, _) => {
            let p = properties.ok_or_else(|| {
                PreprocessError::Mismatch(
                    "the plans have no intensity statistics for a CT channel".to_owned(),
                )
            })?;
            let (low, high) = (p.percentile_00_5 as f32, p.percentile_99_5 as f32);
            let (mean, divisor) = (p.mean as f32, (p.std as f32).max(EPS));
            channel.mapv_inplace(|v| {
                // NaN stays NaN.
                let v = if v < low { low } else { v };
                let v = if v > high { high } else { v };
                (v - mean) / divisor
            });
        }
        (Normalization::RescaleTo01, _) => {
            let low = channel.iter().copied().fold(f32::INFINITY, f32::min);
            channel.mapv_inplace(|v| v - low);
            let divisor = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max).max(EPS);
            channel.mapv_inplace(|v| v / divisor);
        }
        (Normalization::RgbTo01, _) => {
            if let Some(v) = channel.iter().find(|v| !(0.0..=255.0).contains(*v)) {
                let text = format!("RGB channel: value {v}, expected 0 to 255");
                return Err(PreprocessError::Mismatch(text));
            }
            channel.mapv_inplace(|v| v / 255.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::Array3;

    use super::*;

    fn array(values: &[f32]) -> Array3<f32> {
        Array3::from_shape_vec((1, 1, values.len()), values.to_vec()).unwrap()
    }

    fn check(found: &Array3<f32>, expected: &[f32]) {
        for (a, b) in found.iter().zip(expected) {
            assert_relative_eq!(a, b, max_relative = 1e-6);
        }
    }

    // Values of the reference.
    #[test]
    fn z_score_with_and_without_mask() {
        let values = [0.0, 1.0, 2.0, 3.0, 10.0, 0.0];
        let mask = Array3::from_shape_vec((1, 1, 6), vec![-1i16, 0, 1, 0, 2, -1]).unwrap();
        let mut masked = array(&values);
        normalize(masked.view_mut(), Normalization::ZScore, Some(mask.view()), None).unwrap();
        check(&masked, &[0.0, -0.848_528_15, -0.565_685_45, -0.282_842_73, 1.697_056_3, 0.0]);
        let mut whole = array(&values);
        normalize(whole.view_mut(), Normalization::ZScore, None, None).unwrap();
        check(&whole, &[-0.773_389_2, -0.483_368_25, -0.193_347_32, 0.096_673_62, 2.126_82, -0.773_389_2]);
    }

    #[test]
    fn ct_clips_and_uses_the_data_sets_statistics() {
        let p = IntensityProperties {
            max: 0.0,
            mean: 99.480_072_021_484_38,
            median: 0.0,
            min: 0.0,
            percentile_00_5: -41.123_456_789,
            percentile_99_5: 176.0,
            std: 37.138_401_031_494_14,
        };
        let mut values = array(&[-2000.0, -100.3, 40.7, 3000.0]);
        normalize(values.view_mut(), Normalization::Ct, None, Some(&p)).unwrap();
        check(&values, &[-3.785_934, -3.785_934, -1.582_730_3, 2.060_399_1]);
        assert!(normalize(values.view_mut(), Normalization::Ct, None, None).is_err());
    }

    #[test]
    fn constant_and_scaled_channels() {
        let mut constant = array(&[7.0, 7.0]);
        normalize(constant.view_mut(), Normalization::ZScore, None, None).unwrap();
        assert!(constant.iter().all(|v| *v == 0.0));
        let mut scaled = array(&[-2.0, 0.0, 2.0]);
        normalize(scaled.view_mut(), Normalization::RescaleTo01, None, None).unwrap();
        assert_eq!(scaled.as_slice().unwrap(), [0.0, 0.5, 1.0]);
        let error = normalize(array(&[300.0]).view_mut(), Normalization::RgbTo01, None, None).unwrap_err();
        assert!(error.to_string().contains("300"));
    }
}
