//! Scores during training: pseudo Dice over validation patches and its moving average.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::host::with_slice;
use crate::{LossRules, Targets, TrainError};

const CHUNK: usize = 8192;

/// Voxels per class that were found, invented and missed; summed over all validation patches of an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    /// True positives, false positives and false negatives per scored class.
    pub counts: Vec<[u64; 3]>,
}

impl Confusion {
    /// Zero counts of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![[0; 3]; classes] }
    }

    /// Adds the counts of channels-last logits: the largest channel where channels are labels (the first of equal
    /// ones; the background is not scored), every channel above zero where they are regions. Voxels of the ignore
    /// label do not count.
    ///
    /// # Errors
    /// If logits and targets do not fit each other.
    pub fn add(&mut self, logits: &Tensor, targets: &Targets, rules: &LossRules) -> Result<(), TrainError> {
        let channels = rules.channels();
        if logits.elem_count() != targets.labels().len() * channels {
            return Err(TrainError::Shape {
                what: "logits",
                found: format!("{:?}", logits.dims()),
                expected: format!("{:?} times {channels} channels", targets.shape()),
            });
        }
        let classes = rules.scored_classes();
        let parts: Vec<Self> = with_slice(logits, |logits| {
            logits
                .par_chunks(CHUNK * channels)
                .zip(targets.labels().par_chunks(CHUNK))
                .map(|(logits, labels)| {
                    let mut part = Self::new(classes);
                    for (z, &label) in logits.chunks_exact(channels).zip(labels) {
                        if Some(label) != rules.ignore() {
                            part.voxel(z, label, rules);
                        }
                    }
                    part
                })
                .collect()
        })?;
        for part in &parts {
            for (sum, count) in self.counts.iter_mut().flatten().zip(part.counts.iter().flatten()) {
                *sum += count;
            }
        }
        Ok(())
    }

    fn voxel(&mut self, z: &[f32], label: i16, rules: &LossRules) {
        if let Some(row) = rules.row(label) {
            for ((count, &z), &inside) in self.counts.iter_mut().zip(z).zip(row) {
                match (z > 0.0, inside) {
                    (true, true) => count[0] += 1,
                    (true, false) => count[1] += 1,
                    (false, true) => count[2] += 1,
                    (false, false) => {}
                }
            }
            return;
        }
        let mut best = 0;
        for (c, &value) in z.iter().enumerate() {
            if value > z[best] {
                best = c;
            }
        }
        let truth = label as usize;
        match (best == truth, best, truth) {
            (true, 0, _) => {}
            (true, ..) => self.counts[best - 1][0] += 1,
            (false, ..) => {
                if best > 0 {
                    self.counts[best - 1][1] += 1;
                }
                if truth > 0 {
                    self.counts[truth - 1][2] += 1;
                }
            }
        }
    }

    /// Dice per class; NaN where a class neither occurs nor was predicted.
    pub fn dice(&self) -> Vec<f32> {
        self.counts.iter().map(|&[tp, fp, r#fn]| (2 * tp) as f32 / (2 * tp + fp + r#fn) as f32).collect()
    }
}

/// Mean over the values that are not NaN; NaN if there is none.
pub fn nan_mean(values: &[f32]) -> f32 {
    let known: Vec<f32> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    known.iter().sum::<f32>() / known.len() as f32
}

/// Moving average of the mean foreground Dice: the first value itself, then `0.9 * previous + 0.1 * value`.
///
/// A NaN stays, as in nnU-Net v2.8.1.
pub fn ema(previous: Option<f32>, value: f32) -> f32 {
    previous.map_or(value, |previous| previous * 0.9 + 0.1 * value)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn moving_average_of_the_worked_example() {
        let first = ema(None, 0.109_415_64);
        let second = ema(Some(first), 0.233_388_78);
        let third = ema(Some(second), 0.273_725_7);
        assert!(
            (second - 0.121_812_96).abs() < 1e-8 && (third - 0.137_004_23).abs() < 2e-8,
            "{second} {third}"
        );
        assert!(ema(Some(f32::NAN), 0.5).is_nan());
    }

    #[test]
    fn labels_are_scored_by_the_largest_channel() {
        let rules = LossRules::labels(3, Some(3), false);
        let logits =
            [[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 9.0_f32]];
        let logits = Tensor::new(&logits, &Device::Cpu).unwrap().reshape((1, 1, 1, 5, 3)).unwrap();
        let targets = Targets::new([1, 1, 1, 5], vec![0, 1, 2, 2, 3]).unwrap();
        let mut confusion = Confusion::new(2);
        confusion.add(&logits, &targets, &rules).unwrap();
        assert_eq!(confusion.counts, [[1, 1, 0], [0, 0, 2]]);
        assert_eq!(confusion.dice(), [2.0 / 3.0, 0.0]);
    }

    #[test]
    fn regions_overlap_and_absent_classes_are_nan() {
        let rules = LossRules::regions(&[vec![1, 2], vec![2], vec![3]], None, false);
        let logits = [[1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -1.0_f32]];
        let logits = Tensor::new(&logits, &Device::Cpu).unwrap().reshape((1, 1, 1, 3, 3)).unwrap();
        let targets = Targets::new([1, 1, 1, 3], vec![1, 2, 0]).unwrap();
        let mut confusion = Confusion::new(3);
        confusion.add(&logits, &targets, &rules).unwrap();
        assert_eq!(confusion.counts, [[2, 0, 0], [1, 1, 0], [0, 0, 0]]);
        let dice = confusion.dice();
        assert!(dice[2].is_nan());
        assert!((nan_mean(&dice) - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-6);
        assert!(nan_mean(&[f32::NAN]).is_nan());
    }
}
