//! The fingerprint: shapes, spacings and foreground intensities of a data set.

use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use nnunet_image::{CaseReader, Progress, crop_to_nonzero};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::numpy::{
    mean_f32, mean_f64, median_f64, percentile_f32, percentile_f64, std_f32, std_f64,
};
use crate::rng::Mt19937;
use crate::{Case, Dataset, DatasetError};

/// Foreground intensities that are drawn from the whole data set, per channel.
const SAMPLES: usize = 100_000_000;
/// Seed of the draws in each case.
const SEED: u32 = 1234;

/// Statistics of the foreground intensities of one channel over all cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntensityProperties {
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// 0.5th percentile.
    pub percentile_00_5: f64,
    /// 99.5th percentile.
    pub percentile_99_5: f64,
    /// Population standard deviation.
    pub std: f64,
}

/// What planning needs to know of a data set (`dataset_fingerprint.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Channel number as text → statistics of its foreground intensities.
    pub foreground_intensity_properties_per_channel: IndexMap<String, IntensityProperties>,
    /// Median over the cases of the fraction of voxels that cropping to non-zero keeps.
    pub median_relative_size_after_cropping: f64,
    /// Shape (z, y, x) of each case after cropping to non-zero.
    pub shapes_after_crop: Vec<[usize; 3]>,
    /// Spacing (z, y, x) of each case in millimetres.
    pub spacings: Vec<[f64; 3]>,
}

/// What one case contributes.
struct Contribution {
    shape: [usize; 3],
    spacing: [f64; 3],
    relative_size: f64,
    samples: Vec<Vec<f32>>,
}

/// Reads every case once and draws its foreground intensities.
///
/// One case per thread is in memory at a time. The draws are those of the reference, so the result does not depend on the
/// number of threads. Foreground is everything labelled above 0.
///
/// # Errors
/// A case that cannot be read or contains NaN; a data set without cases or without any foreground.
pub fn extract_fingerprint(
    dataset: &Dataset,
    reader: &dyn CaseReader,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Fingerprint, DatasetError> {
    let total = dataset.cases.len();
    if total == 0 {
        return Err(DatasetError::Empty(format!("{}: there are no training cases", dataset.folder.display())));
    }
    let (done, samples) = (AtomicUsize::new(0), SAMPLES / total);
    let contributions: Vec<Contribution> = dataset
        .cases
        .par_iter()
        .map(|case| {
            let contribution = contribute(case, reader, samples)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total, item: &case.id });
            Ok(contribution)
        })
        .collect::<Result<_, DatasetError>>()?;
    let channels = contributions[0].samples.len();
    for (case, contribution) in dataset.cases.iter().zip(&contributions) {
        let found = contribution.samples.len();
        if found != channels {
            let reason = format!("{found} channels, the first case has {channels}");
            return Err(DatasetError::Case { case: case.id.clone(), reason });
        }
    }
    let properties = (0..channels).map(|channel| {
        let name = channel.to_string();
        Ok((name, intensity_properties(&contributions, channel)?))
    });
    let relative: Vec<f64> = contributions.iter().map(|c| c.relative_size).collect();
    Ok(Fingerprint {
        foreground_intensity_properties_per_channel: properties.collect::<Result<_, DatasetError>>()?,
        median_relative_size_after_cropping: median_f64(&relative).unwrap_or(f64::NAN),
        shapes_after_crop: contributions.iter().map(|c| c.shape).collect(),
        spacings: contributions.iter().map(|c| c.spacing).collect(),
    })
}

fn contribute(case: &Case, reader: &dyn CaseReader, samples: usize) -> Result<Contribution, DatasetError> {
    let wrong = |reason: String| DatasetError::Case { case: case.id.clone(), reason };
    let unreadable = |source| DatasetError::Image { case: case.id.clone(), source };
    if case.images.is_empty() {
        return Err(wrong("there is no image file".to_owned()));
    }
    let image = reader.read_images(&case.images).map_err(unreadable)?;
    let labels = reader.read_labels(&case.label).map_err(unreadable)?;
    let (image_shape, label_shape) = (&image.data.shape()[1..], labels.data.shape());
    if image_shape != label_shape {
        return Err(wrong(format!(
            "{} has shape {label_shape:?} (z, y, x), the image has {image_shape:?}",
            case.label.display()
        )));
    }
    if let Some(channel) = image.data.outer_iter().position(|c| c.iter().any(|v| v.is_nan())) {
        return Err(wrong(format!("{} contains NaN", case.images.get(channel).unwrap_or(&case.images[0]).display())));
    }
    let before = labels.data.len() as f64;
    let cropped = crop_to_nonzero(image.data.view(), Some(labels.data.view()));
    let foreground: Vec<usize> =
        cropped.labels.iter().enumerate().filter(|(_, label)| **label > 0).map(|(i, _)| i).collect();
    let mut rng = Mt19937::new(SEED);
    let drawn = cropped.image.outer_iter().map(|channel| {
        let values: Vec<f32> = match channel.as_slice() {
            Some(slice) => foreground.iter().map(|&i| slice[i]).collect(),
            None => Vec::new(),
        };
        if values.is_empty() {
            return Vec::new();
        }
        (0..samples).map(|_| values[rng.bounded(values.len() as u32 - 1) as usize]).collect()
    });
    let samples = drawn.collect();
    let shape = cropped.labels.dim().into();
    let relative_size = cropped.labels.len() as f64 / before;
    Ok(Contribution { shape, spacing: image.geometry.spacing, relative_size, samples })
}

fn intensity_properties(cases: &[Contribution], channel: usize) -> Result<IntensityProperties, DatasetError> {
    let values: Vec<f32> = cases.iter().flat_map(|c| c.samples[channel].iter().copied()).collect();
    if values.is_empty() {
        let text = "no case has foreground: nothing can be learnt or planned from these segmentations";
        return Err(DatasetError::Empty(text.to_owned()));
    }
    // With an empty case among them, the reference computes in 64 bits.
    let wide = cases.iter().any(|c| c.samples[channel].is_empty());
    let (mean, std, percentile): (f64, f64, Box<dyn Fn(f64) -> Option<f64>>) = if wide {
        let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        (mean_f64(&values), std_f64(&values), Box::new(move |q| percentile_f64(&values, q)))
    } else {
        let (mean, std) = (f64::from(mean_f32(&values)), f64::from(std_f32(&values)));
        let mut sorted = values.clone();
        sorted.par_sort_unstable_by(f32::total_cmp);
        (mean, std, Box::new(move |q| percentile_f32(&sorted, q)))
    };
    let extreme = |f: fn(f32, f32) -> f32| f64::from(values.iter().copied().reduce(f).unwrap_or(f32::NAN));
    let at = |q: f64| percentile(q).unwrap_or(f64::NAN);
    Ok(IntensityProperties {
        max: extreme(f32::max),
        mean,
        median: at(50.0),
        min: extreme(f32::min),
        percentile_00_5: at(0.5),
        percentile_99_5: at(99.5),
        std,
    })
}
