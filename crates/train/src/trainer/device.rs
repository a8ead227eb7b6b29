//! Training on a device other than the CPU.

use candle_core::{Device, Tensor};
use nnunet_augment::Pipeline;
use nnunet_nn::cuda::ops::{LossTable, LossTarget, SgdRule};
use nnunet_nn::cuda::{DeviceNetwork, StagedBatch, Step};
use nnunet_nn::kernels::Dims;
use nnunet_nn::{Accelerator, Parameters, UNet};
use nnunet_plan::Planner;

use super::device_augment::augment;
use super::setup::TrainSetup;
use crate::loader::{Batch, BatchMaker};
use crate::optim::{Optimiser, OptimiserKind};
use crate::{DeepLoss, EntropyTerm, LossRules, Targets, TrainError};

/// A network, its loss and its optimiser on a device.
pub(super) struct OnDevice {
    network: DeviceNetwork,
    table: LossTable,
    weights: Vec<f64>,
    /// What augments on the device, if that is asked for.
    pipeline: Option<Pipeline>,
    rule: SgdRule,
    /// Free bytes before the network came; none once the first step was reported.
    free_before: Option<usize>,
    /// The planner and the memory that it aims at in GB.
    target: Option<(String, f64)>,
    /// The next batch, where it was taken while the device was at work.
    ahead: Option<Result<Ahead, TrainError>>,
}

/// A batch on its way to the device.
pub(super) struct Ahead {
    staged: StagedBatch,
    pub(super) cases: Vec<String>,
}

impl OnDevice {
    /// Copies weights and momenta to the device.
    ///
    /// # Errors
    /// A loss or optimiser that runs on the CPU alone, or the device has no room.
    pub(super) fn new(
        accelerator: &Accelerator,
        network: &UNet,
        parameters: &Parameters,
        optimiser: &Optimiser,
        loss: &DeepLoss,
        maker: &BatchMaker,
        setup: &TrainSetup,
    ) -> Result<Self, TrainError> {
        let (plans, options) = (&setup.plans, &setup.options);
        let OptimiserKind::Sgd { momentum } = options.optimiser else {
            return Err(host_only("optimiser", "Adam", "SGD; train with --device cpu"));
        };
        if options.recompute {
            return Err(host_only("recompute", "true", "false; recompute with --device cpu"));
        }
        if network.drops() {
            return Err(host_only("dropout", "a network with dropout", "none; train with --device cpu"));
        }
        let rule = SgdRule { momentum, weight_decay: options.weight_decay, clip: options.clip, lr: 0.0 };
        let engine = accelerator.engine();
        let (free_before, _) = engine.memory()?;
        let planner = plans.experiment_planner_used.parse::<Planner>().ok();
        let target = planner.map(|p| (plans.experiment_planner_used.clone(), p.memory_target_gb()));
        let kind = Accelerator::kind(options.precision);
        let mut device = DeviceNetwork::new(engine, network, kind)?;
        for (name, tensor) in optimiser.state()? {
            let name = name.strip_prefix("momentum.").unwrap_or(&name);
            device.set_momentum(parameters, name, &tensor.flatten_all()?.to_vec1::<f32>()?)?;
        }
        super::device_share::join(&mut device, &options.cluster, maker)?;
        Ok(Self {
            network: device,
            table: table(accelerator, &loss.rules)?,
            weights: loss.weights.clone(),
            pipeline: maker.elsewhere.map(|_| maker.train.pipeline.clone()),
            rule,
            free_before: Some(free_before),
            target,
            ahead: None,
        })
    }

    /// Begins to copy a batch to the device.
    fn stage(&self, batch: Batch) -> Result<Ahead, TrainError> {
        let (dims, targets) = (dims(&batch), targets(&batch, &self.weights));
        let network = &self.network;
        let staged = match &self.pipeline {
            Some(pipeline) => {
                let images = augment(network.engine(), pipeline, &batch.unfinished, network.kind())?;
                network.stage_array(images, dims, &targets, &self.table)?
            }
            None => network.stage(&batch.data, dims, &targets, &self.table)?,
        };
        Ok(Ahead { staged, cases: batch.cases })
    }

    /// The batch that was taken ahead, or the next one.
    ///
    /// # Errors
    /// What the loader says, or the device has no room or failed.
    pub(super) fn take(
        &mut self,
        next: impl FnOnce() -> Result<Batch, TrainError>,
    ) -> Result<Ahead, TrainError> {
        match self.ahead.take() {
            Some(ahead) => ahead,
            None => next().and_then(|batch| self.stage(batch)),
        }
    }

    /// Takes a batch while the device is at work; what goes wrong is told when it is its turn.
    pub(super) fn take_ahead(&mut self, next: impl FnOnce() -> Result<Batch, TrainError>) {
        self.ahead = Some(next().and_then(|batch| self.stage(batch)));
    }

    /// Forgets what was taken ahead.
    pub(super) fn forget(&mut self) {
        self.ahead = None;
    }

    /// Asks for one step of training.
    ///
    /// # Errors
    /// The device has no room or failed.
    pub(super) fn begin(&mut self, batch: Ahead, lr: f64) -> Result<Step, TrainError> {
        let rule = SgdRule { lr, ..self.rule };
        Ok(self.network.begin(batch.staged, &self.table, rule)?)
    }

    /// After the first step, a line that says how much memory training takes, beside what the planner aims at, and leaves.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn memory_after_first_step(&mut self) -> Result<Option<String>, TrainError> {
        let Some(before) = self.free_before.take() else { return Ok(None) };
        let (free, total) = self.network.engine().memory()?;
        let [used, free, total] = [before.saturating_sub(free), free, total].map(|bytes| bytes as f64 / 1e9);
        let target = self.target.take();
        let target = target
            .map_or(String::new(), |(name, gb)| format!(" ({name} aims at {gb} GB unless told otherwise)"));
        Ok(Some(format!(
            "training takes {used:.2} GB of the device's memory{target}; {free:.2} of {total:.2} GB are free"
        )))
    }

    /// The loss, and the logits of the full resolution.
    ///
    /// # Errors
    /// The device has no room or failed.
    pub(super) fn evaluate(&self, batch: &Batch) -> Result<(f64, Tensor), TrainError> {
        let (dims, targets) = (dims(batch), targets(batch, &self.weights));
        let output = self.network.evaluate(&batch.data, dims, &targets, &self.table)?;
        let [batch, z, y, x, _] = batch.shape;
        let shape = (batch, z, y, x, self.table.channels);
        Ok((f64::from(output.loss), Tensor::from_vec(output.logits, shape, &Device::Cpu)?))
    }

    /// The 2-norm of the weights.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn weight_norm(&self) -> Result<f32, TrainError> {
        Ok(self.network.weight_norm()?)
    }

    /// Copies weights and momenta back.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn store(&self, parameters: &Parameters, optimiser: &mut Optimiser) -> Result<(), TrainError> {
        self.network.store(parameters)?;
        for (name, momentum) in self.network.momenta(parameters)? {
            optimiser.set_state(&format!("momentum.{name}"), &momentum)?;
        }
        Ok(())
    }
}

fn dims(batch: &Batch) -> Dims {
    let [samples, z, y, x, channels] = batch.shape;
    Dims { batch: samples, space: [z, y, x], channels }
}

fn targets<'a>(batch: &'a Batch, weights: &[f64]) -> Vec<LossTarget<'a>> {
    let target = |(targets, &weight): (&'a Targets, &f64)| {
        let [samples, z, y, x] = targets.shape();
        LossTarget {
            dims: Dims { batch: samples, space: [z, y, x], channels: 1 },
            labels: targets.labels(),
            weight,
        }
    };
    batch.targets.iter().zip(weights).map(target).collect()
}

fn host_only(option: &'static str, found: &str, expected: &'static str) -> TrainError {
    TrainError::Option { option, found: found.to_owned(), expected }
}

/// The rules of a loss as the device takes them.
pub(super) fn table(accelerator: &Accelerator, rules: &LossRules) -> Result<LossTable, TrainError> {
    let terms = rules.terms();
    if terms.entropy.is_some_and(|term| term != EntropyTerm::PLAIN) {
        return Err(host_only(
            "loss",
            "top-k, focal or smoothed cross-entropy",
            "the plain one; train with --device cpu",
        ));
    }
    let (channels, ignore, batch_dice) = (rules.channels(), rules.ignore(), rules.batch_dice());
    let table = match rules.membership() {
        None => LossTable::labels(channels, ignore, batch_dice),
        Some(rows) => LossTable::regions(accelerator.engine(), rows, ignore, batch_dice)?,
    };
    Ok(table.with_terms(terms.dice, terms.entropy.is_some()))
}
