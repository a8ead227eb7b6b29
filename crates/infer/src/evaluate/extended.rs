use std::path::Path;

use indexmap::IndexMap;
use ndarray::{Array3, Zip};
use nnunet_fingerprint::{Class, LabelRules, json};
use nnunet_image::CaseReader;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::confusion::null_is_nan;
use super::distance::{SurfaceDistances, quantile};
use super::folder::read;
use super::lesions::lesion_counts;
use super::summary::nan_mean;
use crate::InferError;
use crate::folder::files;

/// Quantile of the Hausdorff distance.
const QUANTILE: f64 = 0.95;

/// What counts in [`evaluate_folder_extended`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtendedOptions {
    /// Surfaces that are at most so many millimetres apart agree.
    pub surface_tolerance: f64,
}

impl Default for ExtendedOptions {
    fn default() -> Self {
        Self { surface_tolerance: 1.0 }
    }
}

/// Distances of surfaces and counts of lesions for a class. Voxels whose reference is to be ignored count as background.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExtendedMetrics {
    /// Normalised surface Dice: the share of surface voxels of both masks that lie within the tolerance of the other surface.
    /// 0 if one mask is empty, not a number if both are.
    #[serde(rename = "NSD", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub surface_dice: f64,
    /// The larger of both directed 95 % quantiles of the distances between surface voxels, in millimetres. Not a number if a
    /// mask is empty.
    #[serde(rename = "HD95", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub hausdorff_95: f64,
    /// Mean of the distances between surface voxels, both ways together, in millimetres. Not a number if a mask is empty.
    #[serde(rename = "ASSD", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub mean_surface_distance: f64,
    /// Connected components of the reference that the prediction meets.
    #[serde(serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub lesions_found: f64,
    /// Connected components of the reference that it does not.
    #[serde(serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub lesions_missed: f64,
    /// Connected components of the prediction where the reference has nothing.
    #[serde(serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub lesions_wrong: f64,
    /// `2 found / (2 found + missed + wrong)`; not a number without any.
    #[serde(rename = "lesion_F1", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub lesion_f1: f64,
}

impl ExtendedMetrics {
    /// Metrics of a class, from labels `(z, y, x)` of equal shape and the spacing `[z, y, x]` in millimetres.
    ///
    /// ```
    /// use ndarray::array;
    /// use nnunet_fingerprint::Class;
    /// use nnunet_infer::{ExtendedMetrics, ExtendedOptions};
    ///
    /// let reference = array![[[0i16, 1, 1, 1, 0, 0, 0, 1]]];
    /// let prediction = array![[[0i16, 0, 1, 1, 0, 0, 0, 0]]];
    /// let options = ExtendedOptions { surface_tolerance: 1.0 };
    /// let m = ExtendedMetrics::compute(&reference, &prediction, [1.0, 1.0, 2.0], &Class::Label(1), None, &options);
    /// // Distances: 2, 0, 0 and 8 from the reference, 0 and 0 from the prediction.
    /// assert!((m.surface_dice - 4.0 / 6.0).abs() < 1e-12 && (m.hausdorff_95 - 7.1).abs() < 1e-12);
    /// assert_eq!((m.lesions_found, m.lesions_missed, m.lesions_wrong), (1.0, 1.0, 0.0));
    /// ```
    ///
    /// # Panics
    /// The shapes differ.
    pub fn compute(
        reference: &Array3<i16>,
        prediction: &Array3<i16>,
        spacing: [f64; 3],
        class: &Class,
        ignore: Option<i16>,
        options: &ExtendedOptions,
    ) -> Self {
        let within = |label: i16| class.labels().contains(&label);
        let true_mask = reference.mapv(within);
        let mut mask = prediction.mapv(within);
        if let Some(ignore) = ignore {
            Zip::from(&mut mask).and(reference).for_each(|inside, &label| *inside &= label != ignore);
        }
        let distances = SurfaceDistances::new(true_mask.view(), mask.view(), spacing);
        let (one, two) = (&distances.to_reference, &distances.to_prediction);
        let all = (one.len() + two.len()) as f64;
        let near = one.iter().chain(two).filter(|distance| **distance <= options.surface_tolerance).count();
        let both = !one.is_empty() && !two.is_empty();
        let mean = one.iter().chain(two).sum::<f64>() / all;
        let lesions = lesion_counts(true_mask.view(), mask.view());
        let [found, missed, wrong] = [lesions.found, lesions.missed, lesions.wrong].map(|n| n as f64);
        let hausdorff = if both {
            quantile(distances.to_reference.clone(), QUANTILE)
                .max(quantile(distances.to_prediction.clone(), QUANTILE))
        } else {
            f64::NAN
        };
        Self {
            surface_dice: near as f64 / all,
            hausdorff_95: hausdorff,
            mean_surface_distance: if both { mean } else { f64::NAN },
            lesions_found: found,
            lesions_missed: missed,
            lesions_wrong: wrong,
            lesion_f1: 2.0 * found / (2.0 * found + missed + wrong),
        }
    }

    fn values(&self) -> [f64; 7] {
        [
            self.surface_dice,
            self.hausdorff_95,
            self.mean_surface_distance,
            self.lesions_found,
            self.lesions_missed,
            self.lesions_wrong,
            self.lesion_f1,
        ]
    }

    /// Means over cases; what is not a number is left out.
    fn mean(cases: &[Self]) -> Self {
        let m = |i: usize| nan_mean(cases.iter().map(|case| case.values()[i]));
        Self {
            surface_dice: m(0),
            hausdorff_95: m(1),
            mean_surface_distance: m(2),
            lesions_found: m(3),
            lesions_missed: m(4),
            lesions_wrong: m(5),
            lesion_f1: m(6),
        }
    }
}

/// One case of an [`ExtendedSummary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtendedCase {
    /// Metrics per class.
    pub metrics: IndexMap<String, ExtendedMetrics>,
    /// The prediction.
    pub prediction_file: String,
    /// Its reference.
    pub reference_file: String,
}

/// Surface distances and lesions of a folder of predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtendedSummary {
    /// The tolerance of the surface Dice in millimetres.
    pub surface_tolerance: f64,
    /// Mean over the cases per class, leaving out what is not a number.
    pub mean: IndexMap<String, ExtendedMetrics>,
    /// The cases, by name.
    pub metric_per_case: Vec<ExtendedCase>,
}

/// Distances of surfaces and counts of lesions for all predictions of a folder that have a reference of the same name.
///
/// # Errors
/// No prediction, a file that cannot be read, or shapes that differ.
pub fn evaluate_folder_extended(
    reference_dir: &Path,
    prediction_dir: &Path,
    rules: &LabelRules,
    reader: &dyn CaseReader,
    file_ending: &str,
    options: &ExtendedOptions,
) -> Result<ExtendedSummary, InferError> {
    let names = files(prediction_dir, file_ending)?;
    if names.is_empty() {
        let (folder, ending) = (prediction_dir.to_owned(), file_ending.to_owned());
        return Err(InferError::NoPredictions { folder, ending });
    }
    let one = |name: &String| -> Result<ExtendedCase, InferError> {
        let (reference_file, prediction_file) = (reference_dir.join(name), prediction_dir.join(name));
        let nnunet_image::LabelMap { data: reference, geometry } = reader.read_labels(&reference_file)?;
        let (spacing, prediction) = (geometry.spacing, read(reader, &prediction_file)?);
        if reference.dim() != prediction.dim() {
            return Err(InferError::ShapesDiffer {
                prediction: prediction_file,
                prediction_shape: prediction.dim().into(),
                reference: reference_file,
                reference_shape: reference.dim().into(),
            });
        }
        let metrics = rules.foreground_classes().iter().map(|class| {
            let ignore = rules.ignore_label();
            (
                class.to_string(),
                ExtendedMetrics::compute(&reference, &prediction, spacing, class, ignore, options),
            )
        });
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(ExtendedCase {
            metrics: metrics.collect(),
            prediction_file: text(&prediction_file),
            reference_file: text(&reference_file),
        })
    };
    let metric_per_case = names.par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let of_class = |class: &Class| {
        let key = class.to_string();
        let cases: Vec<ExtendedMetrics> =
            metric_per_case.iter().filter_map(|case| case.metrics.get(&key).copied()).collect();
        (key, ExtendedMetrics::mean(&cases))
    };
    let mean = rules.foreground_classes().iter().map(of_class).collect();
    Ok(ExtendedSummary { surface_tolerance: options.surface_tolerance, mean, metric_per_case })
}
