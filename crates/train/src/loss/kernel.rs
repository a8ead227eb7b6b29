//! The arithmetic over slices: one pass for probabilities and sums, one that turns probabilities into the gradient.

use std::ops::Range;

use rayon::prelude::*;

use super::weighted::weighted;
use super::{EntropyTerm, LossRules};
use crate::{Cluster, TrainError};

/// Voxels per task. Fixed, so that sums do not depend on the number of threads.
pub(super) const CHUNK: usize = 8192;
const TINY: f64 = 1e-8;

/// Sums over voxels of one sample.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    entropy: f64,
    valid: u64,
    intersection: Vec<f64>,
    predicted: Vec<f64>,
    target: Vec<f64>,
}

impl Sums {
    fn zero(channels: usize) -> Self {
        let zeros = vec![0.0; channels];
        Self { entropy: 0.0, valid: 0, intersection: zeros.clone(), predicted: zeros.clone(), target: zeros }
    }

    /// Entropy, valid voxels, then the three sums of each channel.
    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let lists = [&self.intersection, &self.predicted, &self.target];
        [self.entropy, self.valid as f64].into_iter().chain(lists.into_iter().flatten().copied())
    }

    fn from_values(values: &[f64], channels: usize) -> Self {
        let list = |i: usize| values[2 + i * channels..2 + (i + 1) * channels].to_vec();
        let (intersection, predicted, target) = (list(0), list(1), list(2));
        Self { entropy: values[0], valid: values[1] as u64, intersection, predicted, target }
    }

    fn add(&mut self, other: &Self) {
        self.entropy += other.entropy;
        self.valid += other.valid;
        for (mine, theirs) in [
            (&mut self.intersection, &other.intersection),
            (&mut self.predicted, &other.predicted),
            (&mut self.target, &other.target),
        ] {
            for (a, b) in mine.iter_mut().zip(theirs) {
                *a += b;
            }
        }
    }
}

/// dLoss/dp of Dice is `overlap` where the voxel belongs to the channel plus `everywhere`; `entropy` scales the
/// gradient of the cross-entropy.
#[derive(Debug)]
pub(super) struct Coefficients {
    entropy: f32,
    /// Factors of the voxels on top of `entropy`; empty where they are all one.
    factors: Vec<f32>,
    label_smoothing: f32,
    per_sample: Vec<Slopes>,
}

/// `overlap` and `everywhere` of each channel.
type Slopes = (Vec<f32>, Vec<f32>);

/// Probabilities of all voxels into `out` (channels-last, as the logits) and the sums of each sample.
pub(super) fn forward(
    rules: &LossRules,
    voxels: usize,
    logits: &[f32],
    labels: &[i16],
    out: &mut [f32],
) -> Vec<Sums> {
    let c = rules.channels();
    out.par_chunks_mut(voxels * c)
        .zip(logits.par_chunks(voxels * c))
        .zip(labels.par_chunks(voxels))
        .map(|((out, logits), labels)| {
            let parts: Vec<Sums> = out
                .par_chunks_mut(CHUNK * c)
                .zip(logits.par_chunks(CHUNK * c))
                .zip(labels.par_chunks(CHUNK))
                .map(|((out, logits), labels)| {
                    let mut sums = Sums::zero(c);
                    for ((p, z), &label) in out.chunks_exact_mut(c).zip(logits.chunks_exact(c)).zip(labels) {
                        voxel(rules, z, label, p, &mut sums);
                    }
                    sums
                })
                .collect();
            total(c, &parts)
        })
        .collect()
}

/// As [`forward`], keeping no probabilities.
pub(super) fn forward_sums(rules: &LossRules, voxels: usize, logits: &[f32], labels: &[i16]) -> Vec<Sums> {
    let c = rules.channels();
    logits
        .par_chunks(voxels * c)
        .zip(labels.par_chunks(voxels))
        .map(|(logits, labels)| {
            let parts: Vec<Sums> = logits
                .par_chunks(CHUNK * c)
                .zip(labels.par_chunks(CHUNK))
                .map(|(logits, labels)| {
                    let (mut sums, mut p) = (Sums::zero(c), vec![0.0; c]);
                    for (z, &label) in logits.chunks_exact(c).zip(labels) {
                        voxel(rules, z, label, &mut p, &mut sums);
                    }
                    sums
                })
                .collect();
            total(c, &parts)
        })
        .collect()
}

fn total(channels: usize, parts: &[Sums]) -> Sums {
    let mut sum = Sums::zero(channels);
    for part in parts {
        sum.add(part);
    }
    sum
}

fn voxel(rules: &LossRules, z: &[f32], label: i16, p: &mut [f32], sums: &mut Sums) {
    let masked = Some(label) == rules.ignore();
    match rules.row(label) {
        None => {
            let entropy = softmax(z, p);
            if masked {
                return;
            }
            let t = label as usize;
            sums.entropy += f64::from(entropy - z[t]);
            for (sum, p) in sums.predicted.iter_mut().zip(&*p).skip(1) {
                *sum += f64::from(*p);
            }
            sums.intersection[t] += f64::from(p[t]);
            sums.target[t] += 1.0;
        }
        Some(row) => {
            for (c, (&z, &inside)) in z.iter().zip(row).enumerate() {
                let small = (-z.abs()).exp();
                p[c] = if z >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
                if !masked {
                    let hit = if inside { z } else { 0.0 };
                    sums.entropy += f64::from(z.max(0.0) - hit + small.ln_1p());
                    sums.predicted[c] += f64::from(p[c]);
                    if inside {
                        sums.intersection[c] += f64::from(p[c]);
                        sums.target[c] += 1.0;
                    }
                }
            }
            if masked {
                return;
            }
        }
    }
    sums.valid += 1;
}

/// Writes the softmax and returns the logarithm of the sum of exponentials.
fn softmax(z: &[f32], p: &mut [f32]) -> f32 {
    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (p, &z) in p.iter_mut().zip(z) {
        *p = (z - max).exp();
        sum += *p;
    }
    let scale = 1.0 / sum;
    for p in p.iter_mut() {
        *p *= scale;
    }
    max + sum.ln()
}

/// The loss and what the gradient needs to know about it; `weight` scales the gradient alone.
pub(super) fn evaluate(
    rules: &LossRules,
    sums: &[Sums],
    logits: &[f32],
    labels: &[i16],
    weight: f64,
    cluster: &Cluster,
) -> Result<(f64, Coefficients), TrainError> {
    // The sums of all ranks' samples; what follows is that of the whole batch.
    let (sums, mine) = all_samples(sums, cluster)?;
    let (sums, voxels) = (&sums[..], labels.len() / mine.len().max(1));
    let term = rules.terms().entropy;
    let (entropy, scale, factors) = match term {
        None => (0.0, 0.0, Vec::new()),
        Some(term) if term == EntropyTerm::PLAIN => {
            let (entropy, scale) = entropy(rules, sums, voxels);
            (entropy, scale, Vec::new())
        }
        Some(term) => {
            let own = weighted(rules, term, logits, labels);
            let values = cluster.gather(&[own.value])?;
            let share = 1.0 / cluster.size() as f64;
            (values.iter().flatten().sum::<f64>() * share, share, own.factors)
        }
    };
    let (dice, mut per_sample) = dice(rules, sums, weight);
    let per_sample = per_sample.drain(mine).collect();
    let label_smoothing = term.map_or(0.0, |term| term.label_smoothing as f32);
    let entropy_scale = (scale * weight) as f32;
    Ok((entropy + dice, Coefficients { entropy: entropy_scale, factors, label_smoothing, per_sample }))
}

/// The sums of the samples of all ranks in the order of the batch, and which of them are this rank's.
fn all_samples(sums: &[Sums], cluster: &Cluster) -> Result<(Vec<Sums>, Range<usize>), TrainError> {
    if cluster.is_alone() {
        return Ok((sums.to_vec(), 0..sums.len()));
    }
    let flat: Vec<f64> = sums.iter().flat_map(Sums::values).collect();
    let channels = sums.first().map_or(0, |sums| sums.target.len());
    let (mut all, mut mine) = (Vec::new(), 0..0);
    for (rank, values) in cluster.gather(&flat)?.iter().enumerate() {
        let start = all.len();
        all.extend(values.chunks_exact(2 + 3 * channels).map(|values| Sums::from_values(values, channels)));
        if rank == cluster.rank() {
            mine = start..all.len();
        }
    }
    Ok((all, mine))
}

/// Negative soft Dice and its coefficients for each sample.
fn dice(rules: &LossRules, sums: &[Sums], weight: f64) -> (f64, Vec<Slopes>) {
    let c = rules.channels();
    let Some(smooth) = rules.terms().dice else {
        return (0.0, vec![(vec![0.0; c], vec![0.0; c]); sums.len()]);
    };
    let first = usize::from(!rules.has_regions());
    let groups: Vec<Sums> = if rules.batch_dice() { vec![total(c, sums)] } else { sums.to_vec() };
    let count = (groups.len() * (c - first)) as f64;
    let mut dice = 0.0;
    let mut coefficients: Vec<Slopes> = Vec::with_capacity(groups.len());
    for group in &groups {
        let (mut overlap, mut everywhere) = (vec![0.0_f32; c], vec![0.0_f32; c]);
        for k in first..c {
            let top = 2.0 * group.intersection[k] + smooth;
            let sum = group.target[k] + group.predicted[k] + smooth;
            let bottom = sum.max(TINY);
            dice += top / bottom;
            overlap[k] = (-2.0 / bottom / count * weight) as f32;
            everywhere[k] = if sum >= TINY { (top / (bottom * bottom) / count * weight) as f32 } else { 0.0 };
        }
        coefficients.push((overlap, everywhere));
    }
    if rules.batch_dice() {
        coefficients = vec![coefficients.remove(0); sums.len()];
    }
    (if count > 0.0 { -dice / count } else { 0.0 }, coefficients)
}

/// Value of the plain cross-entropy and the factor of each voxel's (or element's) term in it.
fn entropy(rules: &LossRules, sums: &[Sums], voxels: usize) -> (f64, f64) {
    let sum: f64 = sums.iter().map(|s| s.entropy).sum();
    let valid = sums.iter().map(|s| s.valid).sum::<u64>() as f64;
    let terms = match (rules.has_regions(), rules.ignore()) {
        (true, None) => (sums.len() * voxels * rules.channels()) as f64,
        // nnU-Net divides by the number of voxels, not of elements, as soon as there is an ignore label.
        (true, Some(_)) => valid.max(TINY),
        (false, _) if valid > 0.0 => valid,
        (false, _) => return (0.0, 0.0),
    };
    (sum / terms, 1.0 / terms)
}

/// Turns the probabilities in `out` into the gradient with respect to the logits, in place.
pub(super) fn backward(
    rules: &LossRules,
    voxels: usize,
    labels: &[i16],
    coefficients: &Coefficients,
    out: &mut [f32],
) {
    let c = rules.channels();
    let Coefficients { entropy, factors, label_smoothing, per_sample } = coefficients;
    let sample = |b: usize, out: &mut [f32], labels: &[i16]| {
        let (overlap, everywhere) = &per_sample[b];
        out.par_chunks_mut(CHUNK * c).zip(labels.par_chunks(CHUNK)).enumerate().for_each(
            |(chunk, (out, labels))| {
                let first = b * voxels + chunk * CHUNK;
                for (v, (p, &label)) in out.chunks_exact_mut(c).zip(labels).enumerate() {
                    let entropy = entropy * factors.get(first + v).copied().unwrap_or(1.0);
                    if Some(label) == rules.ignore() {
                        p.fill(0.0);
                    } else if let Some(row) = rules.row(label) {
                        region_gradient(p, row, overlap, everywhere, entropy);
                    } else {
                        label_gradient(p, label as usize, overlap, everywhere, entropy);
                        if *label_smoothing > 0.0 {
                            smooth_gradient(p, label as usize, entropy * label_smoothing);
                        }
                    }
                }
            },
        );
    };
    let samples = out.par_chunks_mut(voxels * c).zip(labels.par_chunks(voxels)).enumerate();
    samples.for_each(|(b, (out, labels))| sample(b, out, labels));
}

/// Moves `share` of the target from the label to all channels alike.
fn smooth_gradient(p: &mut [f32], t: usize, share: f32) {
    let each = share / p.len() as f32;
    p.iter_mut().for_each(|p| *p -= each);
    p[t] += share;
}

fn label_gradient(p: &mut [f32], t: usize, overlap: &[f32], everywhere: &[f32], entropy: f32) {
    let mut mean = p[t] * overlap[t];
    for (p, e) in p.iter().zip(everywhere) {
        mean += p * e;
    }
    let mine = p[t] * overlap[t] - entropy;
    for (p, e) in p.iter_mut().zip(everywhere) {
        *p *= e - mean + entropy;
    }
    p[t] += mine;
}

fn region_gradient(p: &mut [f32], row: &[bool], overlap: &[f32], everywhere: &[f32], entropy: f32) {
    for (k, (p, &inside)) in p.iter_mut().zip(row).enumerate() {
        let slope = everywhere[k] + if inside { overlap[k] } else { 0.0 };
        *p = slope * *p * (1.0 - *p) + entropy * (*p - if inside { 1.0 } else { 0.0 });
    }
}
