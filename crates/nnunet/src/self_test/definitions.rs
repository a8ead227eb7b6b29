//! Norm, loss, optimiser and blending in double precision, straight from their definitions.

use nnunet_infer::gaussian_importance_map;

use super::subject::{Blend, EPS, Loss, Norm, Step};

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|v| v as f32).collect()
}

/// Mean and inverse standard deviation of a sample's channel.
fn moments(case: &Norm, sample: usize, channel: usize) -> (f64, f64) {
    let (n, c) = (case.dims.voxels(), case.dims.channels);
    let value = |v: usize| f64::from(case.x[(sample * n + v) * c + channel]);
    let mean = (0..n).map(value).sum::<f64>() / n as f64;
    let variance = (0..n).map(|v| (value(v) - mean).powi(2)).sum::<f64>() / n as f64;
    (mean, 1.0 / (variance + EPS).sqrt())
}

pub(super) fn norm(case: &Norm) -> Vec<f32> {
    let (n, c) = (case.dims.voxels(), case.dims.channels);
    let mut z = vec![0.0; case.x.len()];
    for (sample, channel) in pairs(case) {
        let (mean, inverse) = moments(case, sample, channel);
        for v in 0..n {
            let at = (sample * n + v) * c + channel;
            let normal = (f64::from(case.x[at]) - mean) * inverse;
            let value = normal * f64::from(case.gamma[channel]) + f64::from(case.beta[channel]);
            z[at] = if value > 0.0 { value } else { value * f64::from(case.slope) };
        }
    }
    narrow(z)
}

pub(super) fn norm_backward(case: &Norm) -> Vec<Vec<f32>> {
    let (n, c) = (case.dims.voxels(), case.dims.channels);
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; case.x.len()], vec![0.0; c], vec![0.0; c]);
    for (sample, channel) in pairs(case) {
        let (mean, inverse) = moments(case, sample, channel);
        let gamma = f64::from(case.gamma[channel]);
        let terms: Vec<[f64; 2]> = (0..n)
            .map(|v| {
                let at = (sample * n + v) * c + channel;
                let normal = (f64::from(case.x[at]) - mean) * inverse;
                let positive = normal * gamma + f64::from(case.beta[channel]) > 0.0;
                let slope = if positive { 1.0 } else { f64::from(case.slope) };
                [f64::from(case.dz[at]) * slope, normal]
            })
            .collect();
        let sum = terms.iter().map(|[g, _]| g).sum::<f64>();
        let product = terms.iter().map(|[g, normal]| g * normal).sum::<f64>();
        dbeta[channel] += sum;
        dgamma[channel] += product;
        for (v, [g, normal]) in terms.into_iter().enumerate() {
            dx[(sample * n + v) * c + channel] =
                gamma * inverse * (g - sum / n as f64 - normal * product / n as f64);
        }
    }
    vec![narrow(dx), narrow(dgamma), narrow(dbeta)]
}

fn pairs(case: &Norm) -> impl Iterator<Item = (usize, usize)> {
    let c = case.dims.channels;
    (0..case.dims.batch).flat_map(move |sample| (0..c).map(move |channel| (sample, channel)))
}

/// Probabilities and the targets' indicator of each channel, for a valid voxel.
fn voxel(case: &Loss, logits: &[f32], label: i16) -> (Vec<f64>, Vec<f64>) {
    let z: Vec<f64> = logits.iter().map(|&z| f64::from(z)).collect();
    match &case.regions {
        Some(regions) => {
            let inside = regions.iter().map(|region| f64::from(u8::from(region.contains(&label))));
            (z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(), inside.collect())
        }
        None => {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            let inside = (0..z.len()).map(|c| f64::from(u8::from(c == label as usize)));
            (z.iter().map(|z| z.exp() / sum).collect(), inside.collect())
        }
    }
}

/// Cross-entropy plus negative soft Dice, and the gradient: by the chain rule through the probabilities.
pub(super) fn loss(case: &Loss) -> Vec<Vec<f32>> {
    let c = case.rules.channels();
    let [batch, ..] = case.targets.shape();
    let labels = case.targets.labels();
    let voxels = labels.len() / batch;
    let all: Vec<Option<(Vec<f64>, Vec<f64>)>> = labels
        .iter()
        .zip(case.logits.chunks_exact(c))
        .map(|(&label, z)| (Some(label) != case.rules.ignore()).then(|| voxel(case, z, label)))
        .collect();
    let valid = all.iter().flatten().count() as f64;
    let regions = case.regions.is_some();
    // Where regions have an ignore label, nnU-Net divides by the voxels, otherwise by the elements.
    let terms = if regions && case.rules.ignore().is_none() { (labels.len() * c) as f64 } else { valid };
    let mut value = 0.0;
    for (p, inside) in all.iter().flatten() {
        for (p, inside) in p.iter().zip(inside) {
            value -= inside * p.ln() / terms;
            value -= if regions { (1.0 - inside) * (1.0 - p).ln() / terms } else { 0.0 };
        }
    }
    let first = usize::from(!regions);
    let groups = if case.rules.batch_dice() { 1 } else { batch };
    let size = batch / groups * voxels;
    let mut slopes = vec![[0.0; 2]; groups * c];
    for group in 0..groups {
        for k in first..c {
            let [mut hit, mut predicted, mut target] = [0.0; 3];
            for (p, inside) in all[group * size..(group + 1) * size].iter().flatten() {
                hit += p[k] * inside[k];
                predicted += p[k];
                target += inside[k];
            }
            let count = (groups * (c - first)) as f64;
            let (top, bottom) = (2.0 * hit + 1e-5, predicted + target + 1e-5);
            value -= top / bottom / count;
            slopes[group * c + k] = [-2.0 / bottom / count, top / (bottom * bottom) / count];
        }
    }
    let mut gradient = vec![0.0; labels.len() * c];
    for (v, (p, inside)) in all.iter().enumerate().filter_map(|(v, voxel)| Some((v, voxel.as_ref()?))) {
        let slope = |k: usize| {
            let [overlap, everywhere] = slopes[v / size * c + k];
            overlap * inside[k] + everywhere
        };
        let mean: f64 = (0..c).map(|k| p[k] * slope(k)).sum();
        for k in 0..c {
            let dice = if regions { p[k] * (1.0 - p[k]) * slope(k) } else { p[k] * (slope(k) - mean) };
            gradient[v * c + k] = dice + (p[k] - inside[k]) / terms;
        }
    }
    vec![vec![value as f32], narrow(gradient)]
}

/// Nesterov momentum 0.99, decay 3e-5, gradients clipped to a norm of 12.
pub(super) fn step(case: &Step) -> Vec<Vec<f32>> {
    let mut weights: Vec<f64> = case.weights.iter().map(|&w| f64::from(w)).collect();
    let mut momentum = vec![0.0; weights.len()];
    for gradient in &case.gradients {
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let scale = (12.0 / (norm + 1e-6)).min(1.0);
        for ((w, m), &g) in weights.iter_mut().zip(&mut momentum).zip(gradient) {
            let g = f64::from(g) * scale + 3e-5 * *w;
            *m = 0.99 * *m + g;
            *w -= case.lr * (g + 0.99 * *m);
        }
    }
    vec![narrow(weights), narrow(momentum)]
}

/// Mean of the tiles under Gaussian weights, and the first of the largest channels.
pub(super) fn blend(case: &Blend) -> Vec<Vec<f32>> {
    let map = gaussian_importance_map(case.patch);
    let [_, ny, nx] = case.shape;
    let c = case.channels;
    let voxels = case.shape.iter().product::<usize>();
    let (mut sums, mut weights) = (vec![0.0f64; voxels * c], vec![0.0f64; voxels]);
    for (origin, logits) in &case.tiles {
        for ((index, weight), logits) in map.indexed_iter().zip(logits.chunks_exact(c)) {
            let local = [index.0, index.1, index.2];
            let at: [isize; 3] = std::array::from_fn(|a| origin[a] + local[a] as isize);
            if (0..3).any(|a| at[a] < 0 || at[a] >= case.shape[a] as isize) {
                continue;
            }
            let voxel = (at[0] as usize * ny + at[1] as usize) * nx + at[2] as usize;
            weights[voxel] += f64::from(*weight);
            for (sum, &z) in sums[voxel * c..].iter_mut().zip(logits) {
                *sum += f64::from(z) * f64::from(*weight);
            }
        }
    }
    let mean: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| sum / weights[i / c]).collect();
    let largest = |z: &[f64]| (0..c).rev().fold(c - 1, |best, k| if z[k] >= z[best] { k } else { best });
    let labels = mean.chunks_exact(c).map(|z| largest(z) as f32).collect();
    vec![narrow(mean), labels]
}
