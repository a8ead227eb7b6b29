//! The fingerprint: shapes, spacings and foreground intensities of a data set.

use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use nnunet_image::{CaseReader, Progress, crop_to_nonzero};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::numpy::{mean_f32, mean_widened, median_f64, percentiles_f32, std_f32, std_widened};
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
        return Err(DatasetError::Empty(format!(
            "{}: there are no training cases",
            dataset.folder.display()
        )));
    }
    let (done, samples) = (AtomicUsize::new(0), SAMPLES / total);
    let mut contributions: Vec<Contribution> = dataset
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
    let mut properties = IndexMap::new();
    for channel in 0..channels {
        let samples = contributions.iter_mut().map(|case| std::mem::take(&mut case.samples[channel]));
        properties.insert(channel.to_string(), intensity_properties(samples)?);
    }
    let relative: Vec<f64> = contributions.iter().map(|c| c.relative_size).collect();
    Ok(Fingerprint {
        foreground_intensity_properties_per_channel: properties,
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
        return Err(wrong(format!(
            "{} contains NaN",
            case.images.get(channel).unwrap_or(&case.images[0]).display()
        )));
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

/// Statistics over the samples of one channel, case by case. The samples of each case are freed as they are taken over.
fn intensity_properties(cases: impl Iterator<Item = Vec<f32>>) -> Result<IntensityProperties, DatasetError> {
    let (mut values, mut widened) = (Vec::new(), false);
    for mut samples in cases {
        // With an empty case among them, the reference computes in 64 bits.
        widened |= samples.is_empty();
        values.append(&mut samples);
    }
    let (mean, std) = if widened {
        (mean_widened(&values), std_widened(&values))
    } else {
        (f64::from(mean_f32(&values)), f64::from(std_f32(&values)))
    };
    let percentiles = percentiles_f32(&mut values, [0.0, 0.5, 50.0, 99.5, 100.0], widened);
    let [min, percentile_00_5, median, percentile_99_5, max] = percentiles.ok_or_else(|| {
        let text = "no case has foreground: nothing can be learnt or planned from these segmentations";
        DatasetError::Empty(text.to_owned())
    })?;
    Ok(IntensityProperties { max, mean, median, min, percentile_00_5, percentile_99_5, std })
}
