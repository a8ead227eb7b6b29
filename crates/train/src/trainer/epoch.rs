use std::time::{Duration, Instant};

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use nnunet_nn::blocks::DrawKey;

use super::engine::Trainer;
use crate::checkpoint::Kind;
use crate::host::with_slice;
use crate::loader::{Batch, Loader, Phase};
use crate::metrics::{Confusion, ema, nan_mean};
use crate::record_files::{write_progress, write_progress_lines};
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
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &mut self.on_device {
            device.forget();
        }
        let lr = self.options.schedule.lr(self.options.initial_lr, epoch, self.options.epochs);
        self.say(&format!("Epoch {epoch}"), callback)?;
        self.say(&format!("Current learning rate: {}", round(lr, 5)), callback)?;
        for iteration in self.state.iteration..self.options.iterations_per_epoch {
            if self.options.cluster.any(self.options.stop.is_stopped())? {
                return Ok(false);
            }
            let info = self.train_iteration(loader, iteration, lr, callback)?;
            self.state.losses.push(info.loss);
            self.state.iteration = iteration + 1;
            callback.on_iteration(&info);
        }
        let (mut val_loss, mut confusion) = (0.0, Confusion::new(self.loss.rules.scored_classes()));
        for iteration in 0..self.options.val_iterations {
            if self.options.cluster.any(self.options.stop.is_stopped())? {
                return Ok(false);
            }
            let info = self.val_iteration(loader, iteration, &mut confusion)?;
            val_loss += info.loss;
            callback.on_iteration(&info);
        }
        self.options.cluster.sum_counts(&mut confusion.counts)?;
        self.check_weights()?;
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
        let end = now();
        self.state.history.push(&record, start, end);
        self.end_epoch(&record, callback)?;
        if let Some(events) = &mut self.events {
            events.epoch(&record, end)?;
        }
        let stop = self.options.cluster.any(callback.on_epoch_end(&record) == Control::Stop)?;
        Ok(!stop || self.state.epoch >= self.options.epochs)
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
        // The best one comes first: whoever resumes from the latest one finds the best one up to date.
        if best {
            let ema = round(f64::from(record.ema_fg_dice), 4);
            self.say(&format!("New best EMA pseudo Dice: {ema}"), callback)?;
            self.save(Kind::Best)?;
        }
        if epoch % self.options.checkpoint_every == 0 && epoch != epochs {
            self.save(Kind::Latest)?;
        }
        if !self.options.cluster.is_first() {
            return Ok(());
        }
        let records = self.state.history.records();
        write_progress(&self.folder.join("progress.csv"), &records)?;
        write_progress_lines(&self.folder.join("progress.jsonl"), &records)
    }

    fn train_iteration(
        &mut self,
        loader: &mut Loader<Batch>,
        iteration: usize,
        lr: f64,
        #[cfg_attr(not(any(feature = "cuda", feature = "emulator")), expect(unused_variables))]
        callback: &mut dyn TrainCallback,
    ) -> Result<IterationInfo, TrainError> {
        let mut clock = Clock::new();
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &mut self.on_device {
            let mut batch = device.take(|| next(loader))?;
            let wait = clock.lap();
            let cases = std::mem::take(&mut batch.cases);
            let step = device.begin(batch, lr)?;
            if iteration + 1 < self.options.iterations_per_epoch {
                device.take_ahead(|| next(loader));
            }
            let report = step.finish()?;
            let [value, norm] = [f64::from(report.loss), f64::from(report.gradient_norm)];
            let memory = device.memory_after_first_step()?;
            self.check_finite("the training loss", value, iteration, &cases)?;
            self.check_finite("the norm of the gradient", norm, iteration, &cases)?;
            let timing = Timing { wait, forward: clock.lap(), ..Timing::default() };
            if let Some(line) = memory {
                self.say(&line, callback)?;
            }
            return Ok(self.info(Phase::Train, iteration, cases.len(), [value, norm], timing));
        }
        let batch = next(loader)?;
        let wait = clock.lap();
        let cases = batch.cases.clone();
        let (input, targets) = batch.into_tensor(&self.device)?;
        let outputs = self.network.forward_training(&input, self.draws(iteration))?;
        let forward = clock.lap();
        let (loss, value) = self.loss.loss_of_batch(&outputs, &targets, &self.options.cluster)?;
        self.check_finite("the training loss", value, iteration, &cases)?;
        drop((outputs, targets));
        let in_loss = clock.lap();
        let mut gradients = loss.backward()?;
        drop(loss);
        self.add_up(&mut gradients)?;
        let backward = clock.lap();
        let norm = self.optimiser.gradient_norm(&gradients)?;
        self.check_finite("the norm of the gradient", norm, iteration, &cases)?;
        self.optimiser.step(&gradients, norm, lr)?;
        let timing = Timing { wait, forward, loss: in_loss, backward, optimiser: clock.lap() };
        Ok(self.info(Phase::Train, iteration, cases.len(), [value, norm], timing))
    }

    /// Names the random numbers that the network draws in an iteration.
    fn draws(&self, iteration: usize) -> DrawKey {
        let (epoch, iteration) = (self.state.epoch as u64, iteration as u64);
        DrawKey { seed: self.options.seed, epoch, iteration, first_sample: self.maker.share.start as u64 }
    }

    /// Adds the gradients of all ranks.
    fn add_up(&self, gradients: &mut GradStore) -> Result<(), TrainError> {
        let cluster = &self.options.cluster;
        if cluster.is_alone() {
            return Ok(());
        }
        let vars = self.parameters.vars().iter();
        let trained: Vec<_> = vars.filter(|var| gradients.get(var).is_some()).collect();
        let mut values = Vec::new();
        for gradient in trained.iter().filter_map(|var| gradients.get(var)) {
            with_slice(gradient, |slopes| values.extend_from_slice(slopes))?;
        }
        cluster.sum(&mut values)?;
        let mut rest = values.as_slice();
        for var in trained {
            let (mine, others) = rest.split_at(var.elem_count());
            gradients.insert(var, Tensor::from_slice(mine, var.shape(), &self.device)?);
            rest = others;
        }
        Ok(())
    }

    /// Ranks that have drifted apart train different networks.
    fn check_weights(&self) -> Result<(), TrainError> {
        if self.options.cluster.is_alone() {
            return Ok(());
        }
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &self.on_device {
            let norm = f64::from(device.weight_norm()?);
            return self.options.cluster.must_agree("norms of the weights", &[norm]);
        }
        let mut sum = 0.0;
        for var in self.parameters.vars() {
            sum +=
                with_slice(var, |values| values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>())?;
        }
        self.options.cluster.must_agree("squares of the weights", &[sum])
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
        let cases = batch.cases.clone();
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &self.on_device {
            let (value, logits) = device.evaluate(&batch)?;
            let forward = clock.lap();
            self.check_finite("the validation loss", value, iteration, &cases)?;
            if let Some(targets) = batch.targets.first() {
                confusion.add(&logits, targets, &self.loss.rules)?;
            }
            let timing = Timing { wait, forward, loss: clock.lap(), ..Timing::default() };
            return Ok(self.info(Phase::Validate, iteration, cases.len(), [value, 0.0], timing));
        }
        let (input, targets) = batch.into_tensor(&self.device)?;
        let outputs = self.network.forward_deep(&input)?;
        let forward = clock.lap();
        let value = self.loss.value_of_batch(&outputs, &targets, &self.options.cluster)?;
        self.check_finite("the validation loss", value, iteration, &cases)?;
        if let (Some(logits), Some(targets)) = (outputs.first(), targets.first()) {
            confusion.add(logits, targets, &self.loss.rules)?;
        }
        let timing = Timing { wait, forward, loss: clock.lap(), ..Timing::default() };
        Ok(self.info(Phase::Validate, iteration, cases.len(), [value, 0.0], timing))
    }

    fn info(
        &self,
        phase: Phase,
        iteration: usize,
        samples: usize,
        [loss, gradient_norm]: [f64; 2],
        timing: Timing,
    ) -> IterationInfo {
        let iterations = match phase {
            Phase::Train => self.options.iterations_per_epoch,
            Phase::Validate => self.options.val_iterations,
        };
        let (epoch, epochs) = (self.state.epoch, self.options.epochs);
        IterationInfo { epoch, epochs, phase, iteration, iterations, samples, loss, gradient_norm, timing }
    }

    fn check_finite(
        &self,
        what: &'static str,
        value: f64,
        iteration: usize,
        cases: &[String],
    ) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let (epoch, mut cases) = (self.state.epoch, cases.to_vec());
        cases.sort_unstable();
        cases.dedup();
        Err(TrainError::NotFinite { epoch, iteration, what, value, cases })
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
