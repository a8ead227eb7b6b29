use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use nnunet_fingerprint::{DatasetJson, Split};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::Plans;
use nnunet_preprocess::Store;

use super::TrainSetup;
use super::folder::{fold_name, write_model_files};
use super::setup::Parts;
use crate::checkpoint::{self, Identity, Kind, State};
use crate::events::EventFile;
use crate::loader::{Batch, BatchMaker, Loader, Schedule};
use crate::optim::Optimiser;
use crate::record_files::TextLog;
use crate::sampling::StoreSource;
use crate::{DeepLoss, EpochRecord, StopToken, TrainCallback, TrainError, TrainOptions};

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSummary {
    /// All epochs, those before a resumption included.
    pub records: Vec<EpochRecord>,
    /// Whether the training ended by itself, at its last epoch or early; otherwise it was stopped and can be resumed.
    pub finished: bool,
    /// Highest moving average of the pseudo Dice.
    pub best_ema: Option<f32>,
}

/// Trains the network of one fold.
///
/// Checkpoints, logs and curves go to the fold's folder, `plans.json` and `dataset.json` to the folder above it, so
/// that the model can be predicted with. With the same seed on the same machine, a training gives the same weights
/// whatever the number of loader threads and whether or not it was stopped and resumed.
pub struct Trainer {
    pub(super) options: TrainOptions,
    pub(super) folder: PathBuf,
    pub(super) device: Device,
    pub(super) network: UNet,
    pub(super) parameters: Parameters,
    pub(super) optimiser: Optimiser,
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(super) on_device: Option<super::device::OnDevice>,
    pub(super) loss: DeepLoss,
    pub(super) maker: Arc<BatchMaker>,
    pub(super) identity: Identity,
    pub(super) state: State,
    log: TextLog,
    pub(super) events: Option<EventFile>,
    first_lines: Vec<String>,
}

/// Where a training begins, and what is said of it.
fn begin(
    setup: &TrainSetup,
    parameters: &Parameters,
    restored: Option<(PathBuf, State)>,
    resume: bool,
) -> Result<(State, Vec<String>), TrainError> {
    if let Some((path, state)) = restored {
        let line = format!("Resuming from {} at epoch {}", path.display(), state.epoch);
        return Ok((state, vec![line]));
    }
    let nothing = "No checkpoint to resume from: starting from the beginning".to_owned();
    let lines = resume.then_some(nothing).into_iter().chain(setup.load_pretrained(parameters)?);
    Ok((State::default(), lines.collect()))
}

impl Trainer {
    /// A fresh training of a configuration into `folder`, the fold's folder in the model folder.
    ///
    /// # Errors
    /// If the folder already holds a checkpoint, the plans or options make no sense, or a file cannot be written.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing; TrainSetup names them")]
    pub fn new(
        plans: Plans,
        configuration: &str,
        dataset: DatasetJson,
        store: Store,
        split: Split,
        folder: &Path,
        options: TrainOptions,
        device: Device,
    ) -> Result<Self, TrainError> {
        let (configuration, folder) = (configuration.to_owned(), folder.to_owned());
        let source = Arc::new(StoreSource::new(store));
        let setup = TrainSetup { plans, configuration, dataset, source, split, folder, options, device };
        Self::from_setup(setup, false)
    }

    /// Goes on from the checkpoint in `folder`; without one, starts from the beginning.
    ///
    /// # Errors
    /// As [`Trainer::new`], but for the checkpoint, which must belong to this configuration.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing; TrainSetup names them")]
    pub fn resume(
        plans: Plans,
        configuration: &str,
        dataset: DatasetJson,
        store: Store,
        split: Split,
        folder: &Path,
        options: TrainOptions,
        device: Device,
    ) -> Result<Self, TrainError> {
        let (configuration, folder) = (configuration.to_owned(), folder.to_owned());
        let source = Arc::new(StoreSource::new(store));
        let setup = TrainSetup { plans, configuration, dataset, source, split, folder, options, device };
        Self::from_setup(setup, true)
    }

    /// A training from its setup, for cases that come from elsewhere than a store; fresh or resumed.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Trainer::resume`].
    pub fn from_setup(setup: TrainSetup, resume: bool) -> Result<Self, TrainError> {
        if let Some(path) = checkpoint::any_in(&setup.folder).filter(|_| !resume) {
            return Err(TrainError::CheckpointExists { path });
        }
        let Parts { network, parameters, mut optimiser, loss, maker, mirror_axes } = setup.parts()?;
        if setup.options.cluster.is_first() {
            write_model_files(&setup, mirror_axes.as_deref())?;
        }
        let init_args = serde_json::json!({
            "plans": setup.plans,
            "configuration": setup.configuration,
            "fold": fold_name(&setup.folder),
            "dataset_json": setup.dataset,
            "device": format!("{:?}", setup.device.location()),
        });
        let configuration = setup.configuration.clone();
        let trainer = setup.options.trainer.clone();
        let identity = Identity { trainer, configuration, mirror_axes, init_args };
        let restored = match resume {
            true => checkpoint::restore_from(&setup.folder, &parameters, &mut optimiser, &identity)?,
            false => None,
        };
        let (state, mut first_lines) = begin(&setup, &parameters, restored, resume)?;
        first_lines.extend(describe(&setup, &maker));
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        let on_device = match &setup.options.accelerator {
            None => None,
            Some(accelerator) => {
                let new = super::device::OnDevice::new;
                Some(new(accelerator, &network, &parameters, &optimiser, &loss, &maker, &setup)?)
            }
        };
        let TrainSetup { folder, options, device, .. } = setup;
        let (log, maker) = (TextLog::new(&folder), Arc::new(maker));
        Ok(Self {
            options,
            folder,
            device,
            network,
            parameters,
            optimiser,
            #[cfg(any(feature = "cuda", feature = "emulator"))]
            on_device,
            loss,
            maker,
            identity,
            state,
            log,
            events: None,
            first_lines,
        })
    }

    /// A token that ends [`Trainer::run`] from elsewhere.
    pub fn stop_token(&self) -> StopToken {
        self.options.stop.clone()
    }

    /// The weights, as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Trains to the last epoch or until stopped. A stopped training leaves `checkpoint_latest.safetensors`, from
    /// which it can be resumed at the very iteration.
    ///
    /// # Errors
    /// If a case cannot be read, the loss is not finite, or a file cannot be written. Checkpoints written before stay.
    pub fn run(&mut self, callback: &mut dyn TrainCallback) -> Result<TrainSummary, TrainError> {
        for line in std::mem::take(&mut self.first_lines) {
            self.say(&line, callback)?;
        }
        let mut silent = ();
        let callback = if self.options.cluster.is_first() { callback } else { &mut silent };
        callback.on_start(&self.state.history.records());
        let result = self.epochs(callback);
        if let Err(error) = &result {
            self.say(&format!("Training ended: {error}"), callback)?;
            self.options.cluster.leave(&error.to_string());
        }
        let finished = result?;
        let records = self.state.history.records();
        Ok(TrainSummary { records, finished, best_ema: self.state.best_ema })
    }

    fn epochs(&mut self, callback: &mut dyn TrainCallback) -> Result<bool, TrainError> {
        let schedule = Schedule {
            epochs: self.options.epochs,
            train: self.options.iterations_per_epoch,
            validate: self.options.val_iterations,
            first_epoch: self.state.epoch,
            first_iteration: self.state.iteration,
        };
        // Every rank has read its checkpoint before the first one writes the next.
        let at = [self.state.epoch as f64, self.state.iteration as f64];
        self.options.cluster.must_agree("epoch and iteration", &at)?;
        if self.options.cluster.is_first() {
            self.events = Some(EventFile::start(&self.folder, &self.state.history.with_ends())?);
        }
        let mut loader = self.start_loader(schedule)?;
        while self.state.epoch < self.options.epochs {
            if self.is_stalled() {
                let epoch = self.state.epoch;
                self.say(&format!("Stopped early at epoch {epoch}: the Dice no longer rises"), callback)?;
                break;
            }
            if !self.epoch(&mut loader, callback)? {
                self.save(Kind::Latest)?;
                self.say(&format!("Stopped at epoch {}; it can be resumed", self.state.epoch), callback)?;
                return Ok(false);
            }
        }
        self.save(Kind::Final)?;
        let latest = Kind::Latest.path(&self.folder);
        if self.options.cluster.is_first() && self.options.checkpoints && latest.exists() {
            std::fs::remove_file(&latest).map_err(|source| TrainError::Io { path: latest, source })?;
        }
        self.say("Training done.", callback)?;
        Ok(true)
    }

    /// Whether the moving average of the Dice has not risen for as long as early stopping waits.
    fn is_stalled(&self) -> bool {
        let since_best = self.state.history.epochs_since_best();
        self.options.early_stopping.is_some_and(|patience| since_best >= patience)
    }

    fn start_loader(&self, schedule: Schedule) -> Result<Loader<Batch>, TrainError> {
        let maker = self.maker.clone();
        let threads = self.options.loader_threads.max(1);
        Loader::start(schedule.len(), threads, threads + 1, move |index| maker.make(schedule.job(index)))
    }

    /// Writes a checkpoint, unless none are wanted; takes over the weights of a device in any case.
    pub(super) fn save(&mut self, kind: Kind) -> Result<(), TrainError> {
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &self.on_device {
            device.store(&self.parameters, &mut self.optimiser)?;
        }
        if !self.options.checkpoints || !self.options.cluster.is_first() {
            return Ok(());
        }
        let path = kind.path(&self.folder);
        checkpoint::write(&path, &self.parameters, &self.optimiser, &self.state, &self.identity)
    }

    /// A line for the text log and the listener.
    pub(super) fn say(&self, line: &str, callback: &mut dyn TrainCallback) -> Result<(), TrainError> {
        if !self.options.cluster.is_first() {
            return Ok(());
        }
        callback.log(line);
        self.log.line(line)
    }
}

/// What is trained on what, for the log.
fn describe(setup: &TrainSetup, maker: &BatchMaker) -> Vec<String> {
    let (train, val) = (setup.split.train.len(), setup.split.val.len());
    let shared = setup.split.train.iter().filter(|case| setup.split.val.contains(case)).count();
    let mut lines = vec![
        format!("Trainer {}", setup.options.trainer),
        format!("Configuration {}, batch size {}", setup.configuration, maker.batch_size),
        format!("This split has {train} training and {val} validation cases."),
    ];
    let ranks = setup.options.cluster.size();
    if ranks > 1 {
        lines.push(format!("{ranks} ranks share each batch."));
    }
    if shared > 0 {
        lines.push(format!("Warning: {shared} cases are both training and validation cases"));
    }
    lines
}
