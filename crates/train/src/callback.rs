use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Phase;

/// Ends a training from another thread or a signal handler. Clones are the same token.
#[derive(Debug, Clone, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl StopToken {
    /// Asks the training to end after the iteration at hand; its state is kept for resuming.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether [`StopToken::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Whether to go on after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Train the next epoch.
    Continue,
    /// End here; the training can be resumed.
    Stop,
}

/// Where the time of an iteration went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for the batch.
    pub wait: Duration,
    /// Forward pass of the network.
    pub forward: Duration,
    /// Loss and, in training, its gradient.
    pub loss: Duration,
    /// Backward pass of the network.
    pub backward: Duration,
    /// Norm of the gradient and the step.
    pub optimiser: Duration,
}

/// One iteration that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IterationInfo {
    /// Counted from 0.
    pub epoch: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Training or validation.
    pub phase: Phase,
    /// Counted from 0 within epoch and phase.
    pub iteration: usize,
    /// Iterations of the epoch in this phase.
    pub iterations: usize,
    /// Samples of the batch.
    pub samples: usize,
    /// Loss of the batch.
    pub loss: f64,
    /// 2-norm of the gradient before clipping; 0 in validation.
    pub gradient_norm: f64,
    /// Where the time went.
    pub timing: Timing,
}

/// What an epoch gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 0.
    pub epoch: usize,
    /// Learning rate of the epoch.
    pub lr: f64,
    /// Mean loss of the training iterations.
    pub train_loss: f64,
    /// Mean loss of the validation iterations.
    pub val_loss: f64,
    /// Pseudo Dice per foreground class or region; NaN where it neither occurs nor was predicted.
    pub dice_per_class: Vec<f32>,
    /// Mean of `dice_per_class` without NaN.
    pub mean_fg_dice: f32,
    /// Moving average of `mean_fg_dice`.
    pub ema_fg_dice: f32,
    /// Duration of the epoch.
    pub seconds: f64,
}

/// What a training tells while it runs. `()` listens to nothing.
pub trait TrainCallback {
    /// Before the first iteration, with the epochs of the training that is resumed.
    fn on_start(&mut self, _records: &[EpochRecord]) {}

    /// After each iteration of training and validation.
    fn on_iteration(&mut self, _info: &IterationInfo) {}

    /// After each epoch, once its checkpoints are written.
    fn on_epoch_end(&mut self, _record: &EpochRecord) -> Control {
        Control::Continue
    }

    /// Each line of the text log.
    fn log(&mut self, _line: &str) {}
}

impl TrainCallback for () {}
