use std::path::PathBuf;

use nnunet_nn::{Accelerator, Precision};
use serde::Serialize;

use crate::{
    AugmentOptions, Cluster, LossTerms, LrSchedule, OptimiserKind, Oversampling, StopToken, TrainError,
};

/// How a network is trained. The defaults are nnU-Net's; [`TrainOptions::named`] gives those of its trainer variants.
#[derive(Debug, Clone, Serialize)]
pub struct TrainOptions {
    /// Name under which nnU-Net knows this training, `nnUNetTrainer`; model folders and checkpoints carry it.
    pub trainer: String,
    /// Number of epochs, 1000.
    pub epochs: usize,
    /// Training iterations of an epoch, 250.
    pub iterations_per_epoch: usize,
    /// Validation iterations of an epoch, 50.
    pub val_iterations: usize,
    /// Learning rate of the schedule's peak, 0.01.
    pub initial_lr: f64,
    /// How the learning rate falls, polynomially.
    pub schedule: LrSchedule,
    /// The optimiser, SGD with a Nesterov momentum of 0.99.
    pub optimiser: OptimiserKind,
    /// Weight decay of all parameters, 3e-5.
    pub weight_decay: f64,
    /// Largest 2-norm of the gradient, 12.
    pub clip: f64,
    /// Terms of the loss, soft Dice plus cross-entropy.
    pub loss: LossTerms,
    /// Whether lower resolutions of the decoder are trained too, true.
    pub deep_supervision: bool,
    /// Part of the samples that must contain foreground, 0.33.
    pub oversample: f64,
    /// How these samples are chosen, as the last of each batch.
    pub oversampling: Oversampling,
    /// Samples per batch; the configuration's where none is given.
    pub batch_size: Option<usize>,
    /// Seed of weights, patches and augmentation, 0. nnU-Net itself is never seeded.
    pub seed: u64,
    /// Threads that prepare batches, 2. They do not change the batches.
    pub loader_threads: usize,
    /// The latest checkpoint is written every so many epochs, 1. nnU-Net itself writes it every 50.
    pub checkpoint_every: usize,
    /// Whether any checkpoint is written, true.
    pub checkpoints: bool,
    /// Training ends once the moving average of the pseudo Dice has not risen for so many epochs; none: never early.
    pub early_stopping: Option<usize>,
    /// What happens to training patches, nnU-Net's augmentation.
    pub augmentation: AugmentOptions,
    /// A checkpoint whose weights, but for the segmentation heads, a fresh training starts from.
    pub pretrained: Option<PathBuf>,
    /// The arithmetic of convolutions; weights, their gradients and the loss are in f32 in any case.
    #[serde(skip)]
    pub precision: Precision,
    /// Whether most activations are made again for the gradients instead of being kept, false: less memory, more time, the same
    /// numbers to the last bit. On the CPU alone.
    #[serde(skip)]
    pub recompute: bool,
    /// Whether images are augmented on the accelerator instead of by the loader threads, false. The noise has the same distribution
    /// and other values.
    pub augment_on_device: bool,
    /// The device that the network runs on; the CPU if none.
    #[serde(skip)]
    pub accelerator: Option<Accelerator>,
    /// Ends the training from outside, after the iteration at hand.
    #[serde(skip)]
    pub stop: StopToken,
    /// The ranks that share each batch; by default a training on its own.
    #[serde(skip)]
    pub cluster: Cluster,
}

/// Name of nnU-Net's default trainer.
pub const DEFAULT_TRAINER: &str = "nnUNetTrainer";

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            trainer: DEFAULT_TRAINER.to_owned(),
            epochs: 1000,
            iterations_per_epoch: 250,
            val_iterations: 50,
            initial_lr: 0.01,
            schedule: LrSchedule::Poly,
            optimiser: OptimiserKind::default(),
            weight_decay: 3e-5,
            clip: 12.0,
            loss: LossTerms::default(),
            deep_supervision: true,
            oversample: 0.33,
            oversampling: Oversampling::default(),
            batch_size: None,
            seed: 0,
            loader_threads: 2,
            checkpoint_every: 1,
            checkpoints: true,
            early_stopping: None,
            augmentation: AugmentOptions::default(),
            pretrained: None,
            precision: Precision::Auto,
            recompute: false,
            augment_on_device: false,
            accelerator: None,
            stop: StopToken::default(),
            cluster: Cluster::default(),
        }
    }
}

impl TrainOptions {
    /// Refuses numbers with which no epoch could run.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        if self.trainer.is_empty() || self.trainer.contains(['/', '\\']) || self.trainer.contains("__") {
            let (option, found) = ("trainer", self.trainer.clone());
            return Err(TrainError::Option { option, found, expected: "a name that folders can carry" });
        }
        let counts = [
            ("iterations_per_epoch", self.iterations_per_epoch),
            ("val_iterations", self.val_iterations),
            ("checkpoint_every", self.checkpoint_every),
            ("early_stopping", self.early_stopping.unwrap_or(1)),
            ("batch_size", self.batch_size.unwrap_or(1)),
        ];
        for (option, value) in counts {
            if value == 0 {
                return Err(TrainError::Option { option, found: "0".to_owned(), expected: "at least 1" });
            }
        }
        let [first, second] = match self.optimiser {
            OptimiserKind::Sgd { momentum } => [momentum, 0.0],
            OptimiserKind::Adam { betas, .. } => betas,
        };
        let numbers = [
            ("initial_lr", self.initial_lr),
            ("optimiser", first),
            ("optimiser", second),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
        ];
        for (option, value) in numbers {
            if !(value.is_finite() && value >= 0.0 && (option != "optimiser" || value < 1.0)) {
                let (found, below) = (value.to_string(), option == "optimiser");
                let expected =
                    if below { "a number from 0 to below 1" } else { "a finite number, not negative" };
                return Err(TrainError::Option { option, found, expected });
            }
        }
        let parts = [("oversample", self.oversample), ("augmentation", self.augmentation.p_elastic)];
        for (option, value) in parts {
            if !(0.0..=1.0).contains(&value) {
                let found = value.to_string();
                return Err(TrainError::Option { option, found, expected: "a number between 0 and 1" });
            }
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
        let adam = OptimiserKind::Adam { betas: [0.9, 1.0], amsgrad: false, decoupled: false };
        let broken = [
            (TrainOptions { iterations_per_epoch: 0, ..Default::default() }, "iterations_per_epoch"),
            (TrainOptions { batch_size: Some(0), ..Default::default() }, "batch_size"),
            (TrainOptions { initial_lr: f64::NAN, ..Default::default() }, "initial_lr"),
            (TrainOptions { oversample: 1.5, ..Default::default() }, "oversample"),
            (TrainOptions { optimiser: adam, ..Default::default() }, "optimiser"),
            (TrainOptions { early_stopping: Some(0), ..Default::default() }, "early_stopping"),
            (TrainOptions { trainer: "../up".to_owned(), ..Default::default() }, "trainer"),
        ];
        for (options, name) in broken {
            assert!(options.check().unwrap_err().to_string().contains(name));
        }
    }
}
