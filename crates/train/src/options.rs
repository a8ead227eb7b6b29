use std::path::PathBuf;

use nnunet_nn::Precision;
use serde::Serialize;

use crate::{StopToken, TrainError};

/// How a network is trained. The defaults are nnU-Net's.
#[derive(Debug, Clone, Serialize)]
pub struct TrainOptions {
    /// Number of epochs, 1000.
    pub epochs: usize,
    /// Training iterations of an epoch, 250.
    pub iterations_per_epoch: usize,
    /// Validation iterations of an epoch, 50.
    pub val_iterations: usize,
    /// Learning rate of the first epoch, 0.01; it falls to 0 polynomially.
    pub initial_lr: f64,
    /// Nesterov momentum, 0.99.
    pub momentum: f64,
    /// Weight decay of all parameters, 3e-5.
    pub weight_decay: f64,
    /// Largest 2-norm of the gradient, 12.
    pub clip: f64,
    /// Part of a batch that must contain foreground, 0.33.
    pub oversample: f64,
    /// Samples per batch; the configuration's where none is given.
    pub batch_size: Option<usize>,
    /// Seed of weights, patches and augmentation, 0. nnU-Net itself is never seeded.
    pub seed: u64,
    /// Threads that prepare batches, 2. They do not change the batches.
    pub loader_threads: usize,
    /// A checkpoint is kept every so many epochs, 50.
    pub checkpoint_every: usize,
    /// Whether any checkpoint is written, true.
    pub checkpoints: bool,
    /// Whether training patches are augmented, true. Without, nothing is mirrored at test time either.
    pub augmentation: bool,
    /// Whether augmentation mirrors, true. Without, nothing is mirrored at test time either.
    pub mirroring: bool,
    /// A checkpoint whose weights, but for the segmentation heads, a fresh training starts from.
    pub pretrained: Option<PathBuf>,
    /// The arithmetic of convolutions; weights, their gradients and the loss are in f32 in any case.
    #[serde(skip)]
    pub precision: Precision,
    /// Ends the training from outside, after the iteration at hand.
    #[serde(skip)]
    pub stop: StopToken,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 1000,
            iterations_per_epoch: 250,
            val_iterations: 50,
            initial_lr: 0.01,
            momentum: 0.99,
            weight_decay: 3e-5,
            clip: 12.0,
            oversample: 0.33,
            batch_size: None,
            seed: 0,
            loader_threads: 2,
            checkpoint_every: 50,
            checkpoints: true,
            augmentation: true,
            mirroring: true,
            pretrained: None,
            precision: Precision::Auto,
            stop: StopToken::default(),
        }
    }
}

impl TrainOptions {
    /// Refuses numbers with which no epoch could run.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("iterations_per_epoch", self.iterations_per_epoch),
            ("val_iterations", self.val_iterations),
            ("checkpoint_every", self.checkpoint_every),
            ("batch_size", self.batch_size.unwrap_or(1)),
        ];
        for (option, value) in counts {
            if value == 0 {
                return Err(TrainError::Option { option, found: "0".to_owned(), expected: "at least 1" });
            }
        }
        let numbers = [
            ("initial_lr", self.initial_lr),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
        ];
        for (option, value) in numbers {
            if !(value.is_finite() && value >= 0.0) {
                let found = value.to_string();
                return Err(TrainError::Option { option, found, expected: "a finite number, not negative" });
            }
        }
        if !(0.0..=1.0).contains(&self.oversample) {
            let found = self.oversample.to_string();
            return Err(TrainError::Option {
                option: "oversample",
                found,
                expected: "a number between 0 and 1",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_meaning_are_refused_by_name() {
        assert!(TrainOptions::default().check().is_ok());
        let broken = [
            (TrainOptions { iterations_per_epoch: 0, ..Default::default() }, "iterations_per_epoch"),
            (TrainOptions { batch_size: Some(0), ..Default::default() }, "batch_size"),
            (TrainOptions { initial_lr: f64::NAN, ..Default::default() }, "initial_lr"),
            (TrainOptions { oversample: 1.5, ..Default::default() }, "oversample"),
        ];
        for (options, name) in broken {
            assert!(options.check().unwrap_err().to_string().contains(name));
        }
    }
}
