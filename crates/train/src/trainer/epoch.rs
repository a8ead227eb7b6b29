use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::engine::Trainer;
use crate::checkpoint::Kind;
use crate::loader::{Batch, Loader, Phase};
use crate::metrics::{Confusion, ema, nan_mean};
use crate::record_files::write_progress;
use crate::schedule::poly_lr;
use crate::time::now;
use crate::{Control, EpochRecord, IterationInfo, Timing, TrainCallback, TrainError};

impl Trainer {
    /// Runs the epoch at hand, from the iteration at hand. False if the training is to stop.
    pub(super) fn epoch(
        &mut self,
        loader: &mut Loader<Batch>,
        callback: &mut dyn TrainCallback,
    ) -> Result<bool, TrainError> {
        let (begun, start, epoch) = (Instant::now(), now(), self.state.epoch);
        let lr = poly_lr(self.options.initial_lr, epoch, self.options.epochs);
        self.say(&format!("Epoch {epoch}"), callback)?;
        self.say(&format!("Current learning rate: {}", round(lr, 5)), callback)?;
        for iteration in self.state.iteration..self.options.iterations_per_epoch {
            if self.options.stop.is_stopped() {
                return Ok(false);
            }
            let info = self.train_iteration(loader, iteration, lr)?;
            self.state.losses.push(info.loss);
            self.state.iteration = iteration + 1;
            callback.on_iteration(&info);
        }
        let (mut val_loss, mut confusion) = (0.0, Confusion::new(self.loss.rules.scored_classes()));
        for iteration in 0..self.options.val_iterations {
            if self.options.stop.is_stopped() {
                return Ok(false);
            }
            let info = self.val_iteration(loader, iteration, &mut confusion)?;
            val_loss += info.loss;
            callback.on_iteration(&info);
        }
        let dice_per_class = confusion.dice();
        let mean_fg_dice = nan_mean(&dice_per_class);
        let record = EpochRecord {
            epoch,
            lr,
            train_loss: mean(&self.state.losses),
            val_loss: val_loss / self.options.val_iterations as f64,
            mean_fg_dice,
            ema_fg_dice: ema(self.state.history.last_ema(), mean_fg_dice),
            dice_per_class,
            seconds: begun.elapsed().as_secs_f64(),
        };
        self.state.history.push(&record, start, now());
        self.end_epoch(&record, callback)?;
        Ok(callback.on_epoch_end(&record) == Control::Continue || self.state.epoch >= self.options.epochs)
    }

    fn end_epoch(
        &mut self,
        record: &EpochRecord,
        callback: &mut dyn TrainCallback,
    ) -> Result<(), TrainError> {
        self.state.epoch += 1;
        self.state.iteration = 0;
        self.state.losses.clear();
        let dice: Vec<f64> = record.dice_per_class.iter().map(|&dice| round(f64::from(dice), 4)).collect();
        self.say(&format!("train_loss {}", round(record.train_loss, 4)), callback)?;
        self.say(&format!("val_loss {}", round(record.val_loss, 4)), callback)?;
        self.say(&format!("Pseudo dice {dice:?}"), callback)?;
        self.say(&format!("Epoch time: {} s", round(record.seconds, 2)), callback)?;
        let (epoch, epochs) = (self.state.epoch, self.options.epochs);
        let best = self.state.best_ema.is_none_or(|best| record.ema_fg_dice > best);
        if best {
            self.state.best_ema = Some(record.ema_fg_dice);
        }
        if epoch % self.options.checkpoint_every == 0 && epoch != epochs {
            self.save(Kind::Latest)?;
        }
        if best {
            let ema = round(f64::from(record.ema_fg_dice), 4);
            self.say(&format!("New best EMA pseudo Dice: {ema}"), callback)?;
            self.save(Kind::Best)?;
        }
        let path: PathBuf = self.folder.join("progress.csv");
        write_progress(&path, &self.state.history.records())
    }

    fn train_iteration(
        &mut self,
        loader: &mut Loader<Batch>,
        iteration: usize,
        lr: f64,
    ) -> Result<IterationInfo, TrainError> {
        let mut clock = Clock::new();
        let batch = next(loader)?;
        let wait = clock.lap();
        let (input, targets) = batch.into_tensor(&self.device)?;
        let outputs = self.network.forward_deep(&input)?;
        let forward = clock.lap();
        let (loss, value) = self.loss.loss(&outputs, &targets)?;
        self.check_finite("the training loss", value, iteration)?;
        drop((outputs, targets));
        let in_loss = clock.lap();
        let gradients = loss.backward()?;
        drop(loss);
        let backward = clock.lap();
        let norm = self.optimiser.gradient_norm(&gradients)?;
        self.check_finite("the norm of the gradient", norm, iteration)?;
        self.optimiser.step(&gradients, norm, lr)?;
        let timing = Timing { wait, forward, loss: in_loss, backward, optimiser: clock.lap() };
        Ok(self.info(Phase::Train, iteration, value, norm, timing))
    }

    fn val_iteration(
        &mut self,
        loader: &mut Loader<Batch>,
        iteration: usize,
        confusion: &mut Confusion,
    ) -> Result<IterationInfo, TrainError> {
        let mut clock = Clock::new();
        let batch = next(loader)?;
        let wait = clock.lap();
        let (input, targets) = batch.into_tensor(&self.device)?;
        let outputs = self.network.forward_deep(&input)?;
        let forward = clock.lap();
        let value = self.loss.value(&outputs, &targets)?;
        self.check_finite("the validation loss", value, iteration)?;
        if let (Some(logits), Some(targets)) = (outputs.first(), targets.first()) {
            confusion.add(logits, targets, &self.loss.rules)?;
        }
        let timing = Timing { wait, forward, loss: clock.lap(), ..Timing::default() };
        Ok(self.info(Phase::Validate, iteration, value, 0.0, timing))
    }

    fn info(
        &self,
        phase: Phase,
        iteration: usize,
        loss: f64,
        gradient_norm: f64,
        timing: Timing,
    ) -> IterationInfo {
        let iterations = match phase {
            Phase::Train => self.options.iterations_per_epoch,
            Phase::Validate => self.options.val_iterations,
        };
        let (epoch, epochs) = (self.state.epoch, self.options.epochs);
        IterationInfo { epoch, epochs, phase, iteration, iterations, loss, gradient_norm, timing }
    }

    fn check_finite(&self, what: &'static str, value: f64, iteration: usize) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainError::NotFinite { epoch: self.state.epoch, iteration, what, value })
    }
}

fn next(loader: &mut Loader<Batch>) -> Result<Batch, TrainError> {
    loader.next().unwrap_or_else(|| Err(TrainError::Loader("there are no more batches".to_owned())))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// Times consecutive parts.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
