//! Cross-entropy that weighs voxels: top-k, focal, smoothed labels.

use rayon::prelude::*;

use super::kernel::CHUNK;
use super::{EntropyTerm, LossRules};

/// Value of the cross-entropy term and the factor of each voxel's plain gradient in it.
pub(super) struct Weighted {
    pub(super) value: f64,
    pub(super) factors: Vec<f32>,
}

/// Evaluates the term over all voxels of a batch of channels-last logits.
pub(super) fn weighted(rules: &LossRules, term: EntropyTerm, logits: &[f32], labels: &[i16]) -> Weighted {
    let c = rules.channels();
    let mut entropies = vec![0.0_f32; labels.len()];
    let mut factors = vec![0.0_f32; labels.len()];
    let chunks = entropies.par_chunks_mut(CHUNK).zip(factors.par_chunks_mut(CHUNK));
    let source = logits.par_chunks(CHUNK * c).zip(labels.par_chunks(CHUNK));
    chunks.zip(source).for_each(|((entropies, factors), (logits, labels))| {
        let slots = entropies.iter_mut().zip(factors);
        for ((entropy, factor), (z, &label)) in slots.zip(logits.chunks_exact(c).zip(labels)) {
            if Some(label) != rules.ignore() {
                (*entropy, *factor) = voxel(term, z, label as usize);
            }
        }
    });
    let valid = labels.iter().filter(|&&label| Some(label) != rules.ignore()).count();
    if valid == 0 {
        return Weighted { value: 0.0, factors };
    }
    let count = match term.top {
        None => valid,
        Some(top) => keep_largest(&entropies, &mut factors, top),
    };
    let kept = |(entropy, factor): (&f32, &f32)| if *factor == 0.0 { 0.0 } else { f64::from(*entropy) };
    let sum: f64 = if term.top.is_some() {
        entropies.iter().zip(&factors).map(kept).sum()
    } else {
        entropies.iter().map(|&entropy| f64::from(entropy)).sum()
    };
    let scale = 1.0 / count as f32;
    factors.par_iter_mut().for_each(|factor| *factor *= scale);
    Weighted { value: sum / count as f64, factors }
}

/// The term of a voxel and the factor of `p - target` in its gradient.
fn voxel(term: EntropyTerm, z: &[f32], label: usize) -> (f32, f32) {
    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = max + z.iter().map(|z| (z - max).exp()).sum::<f32>().ln();
    let smoothing = term.label_smoothing as f32;
    let mean = z.iter().sum::<f32>() / z.len() as f32;
    let entropy = log_sum - ((1.0 - smoothing) * z[label] + smoothing * mean);
    if term.focal_gamma == 0.0 {
        return (entropy, 1.0);
    }
    let gamma = term.focal_gamma as f32;
    let plain = log_sum - z[label];
    let p = (-plain).exp();
    let away = (1.0 - p).max(0.0);
    let weight = away.powf(gamma);
    // The slope of (1 - p)^gamma comes to that of the cross-entropy.
    (weight * entropy, weight + gamma * p * away.powf(gamma - 1.0) * plain)
}

/// Sets the factors of all but the largest entropies to 0; returns how many are left. Of equal ones the first stay.
fn keep_largest(entropies: &[f32], factors: &mut [f32], top: f64) -> usize {
    let count = ((entropies.len() as f64 * (top * 100.0) / 100.0) as usize).clamp(1, entropies.len());
    let mut sorted = entropies.to_vec();
    let (larger, threshold, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    let mut equal = count - larger.iter().filter(|&&entropy| entropy > threshold).count();
    for (entropy, factor) in entropies.iter().zip(factors) {
        let keep = *entropy > threshold || (*entropy == threshold && equal > 0);
        if *entropy == threshold && keep {
            equal -= 1;
        }
        if !keep {
            *factor = 0.0;
        }
    }
    count
}
