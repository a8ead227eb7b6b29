//! The fingerprint: shapes, spacings and foreground intensities of a data set.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use nnunet_image::{CaseReader, Progress};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::foreground::{Foreground, Gather, Mask};
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

/// What one case contributes beside its intensities.
struct Contribution {
    shape: [usize; 3],
    spacing: [f64; 3],
    relative_size: f64,
    /// Whether there is any foreground, and so intensities.
    foreground: bool,
}

/// Reads every case once and draws its foreground intensities.
///
/// Of each thread's case no more than the foreground is in memory where the reader decodes part by part
/// ([`CaseReader::visit_images`]), the whole case otherwise; beside them the intensities that are drawn (400 MB per channel). The
/// draws are those of the reference, so the result does not depend on the number of threads. Foreground is everything labelled
/// above 0.
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
    let (done, samples) = (AtomicUsize::new(0), (SAMPLES / total).max(1));
    // The intensities of each channel, case after case, each case's in a place of its own.
    let mut drawn = vec![vec![0f32; samples * total]; dataset.json.channel_names.len()];
    let mut places: Vec<Vec<&mut [f32]>> = (0..total).map(|_| Vec::new()).collect();
    for channel in &mut drawn {
        places.iter_mut().zip(channel.chunks_mut(samples)).for_each(|(places, place)| places.push(place));
    }
    let pool = Mutex::new(Vec::<Scratch>::new());
    let contributions: Vec<Contribution> = dataset
        .cases
        .par_iter()
        .zip(places)
        .map(|(case, places)| {
            let mut scratch = pool.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default();
            let contribution = contribute(case, reader, places, &mut scratch)?;
            if let Ok(mut pool) = pool.lock() {
                pool.push(scratch);
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total, item: &case.id });
            Ok(contribution)
        })
        .collect::<Result<_, DatasetError>>()?;
    let full: Vec<bool> = contributions.iter().map(|case| case.foreground).collect();
    let mut properties = IndexMap::new();
    for (channel, values) in drawn.into_iter().enumerate() {
        properties.insert(channel.to_string(), intensity_properties(values, samples, &full)?);
    }
    let relative: Vec<f64> = contributions.iter().map(|c| c.relative_size).collect();
    Ok(Fingerprint {
        foreground_intensity_properties_per_channel: properties,
        median_relative_size_after_cropping: median_f64(&relative).unwrap_or(f64::NAN),
        shapes_after_crop: contributions.iter().map(|c| c.shape).collect(),
        spacings: contributions.iter().map(|c| c.spacing).collect(),
    })
}

/// What a case is read into, used again for the next one.
#[derive(Default)]
struct Scratch {
    mask: Mask,
    foreground: Foreground,
}

/// Reads a case and fills `places`, one for each channel, with intensities of its foreground.
fn contribute(
    case: &Case,
    reader: &dyn CaseReader,
    places: Vec<&mut [f32]>,
    Scratch { mask, foreground }: &mut Scratch,
) -> Result<Contribution, DatasetError> {
    let wrong = |reason: String| DatasetError::Case { case: case.id.clone(), reason };
    let unreadable = |source| DatasetError::Image { case: case.id.clone(), source };
    if case.images.is_empty() {
        return Err(wrong("there is no image file".to_owned()));
    }
    reader.visit_labels(&case.label, mask).map_err(unreadable)?;
    let mut gather = Gather::new(mask, foreground);
    let geometry = reader.visit_images(&case.images, &mut gather).map_err(unreadable)?;
    let bbox = gather.finish();
    if foreground.shape != mask.shape {
        return Err(wrong(format!(
            "{} has shape {:?} (z, y, x), the image has {:?}",
            case.label.display(),
            mask.shape,
            foreground.shape
        )));
    }
    if foreground.channels != places.len() {
        let found = foreground.channels;
        return Err(wrong(format!("{found} channels, dataset.json names {}", places.len())));
    }
    if let Some(channel) = foreground.not_a_number {
        return Err(wrong(format!(
            "{} contains NaN",
            case.images.get(channel).unwrap_or(&case.images[0]).display()
        )));
    }
    let mut rng = Mt19937::new(SEED);
    for (values, place) in foreground.values.iter().zip(places) {
        draw(values, place, &mut rng);
    }
    let shape = bbox.shape();
    let relative_size = shape.iter().product::<usize>() as f64 / mask.shape.iter().product::<usize>() as f64;
    let any = foreground.values[..foreground.channels].iter().any(|values| !values.is_empty());
    Ok(Contribution { shape, spacing: geometry.spacing, relative_size, foreground: any })
}

/// Fills `place` with values drawn with replacement.
fn draw(values: &[f32], place: &mut [f32], rng: &mut Mt19937) {
    let Some(most) = values.len().checked_sub(1) else { return };
    let mut indices = [0u32; 4096];
    for place in place.chunks_mut(indices.len()) {
        let indices = &mut indices[..place.len()];
        rng.fill_bounded(most as u32, indices);
        place.iter_mut().zip(indices).for_each(|(value, &mut index)| *value = values[index as usize]);
    }
}

/// Statistics over the intensities of one channel: `samples` of each case, those of cases without foreground left out.
fn intensity_properties(
    mut values: Vec<f32>,
    samples: usize,
    full: &[bool],
) -> Result<IntensityProperties, DatasetError> {
    let mut kept = 0;
    for case in (0..full.len()).filter(|&case| full[case]) {
        values.copy_within(case * samples..(case + 1) * samples, kept * samples);
        kept += 1;
    }
    values.truncate(kept * samples);
    // With an empty case among them, the reference computes in 64 bits.
    let widened = kept < full.len();
    let (mean, std) = if widened {
        (mean_widened(&values), std_widened(&values))
    } else {
        (f64::from(mean_f32(&values)), f64::from(std_f32(&values)))
    };
    let percentiles = percentiles_f32(&values, [0.0, 0.5, 50.0, 99.5, 100.0], widened);
    let [min, percentile_00_5, median, percentile_99_5, max] = percentiles.ok_or_else(|| {
        let text = "no case has foreground: nothing can be learnt or planned from these segmentations";
        DatasetError::Empty(text.to_owned())
    })?;
    Ok(IntensityProperties { max, mean, median, min, percentile_00_5, percentile_99_5, std })
}
