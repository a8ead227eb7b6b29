//! Training a fold and validating it, the two parts of nnU-Net's `train`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ndarray::ArrayView4;
use nnunet_fingerprint::{Fold, Split, json};
use nnunet_image::{Progress, reader_by_name};
use nnunet_infer::{PredictorOptions, SeeLogits, Summary, evaluate_folder};
use nnunet_nn::{Compute, DeviceSpec, device_for};
use nnunet_plan::Configuration;
use nnunet_preprocess::{CaseProperties, PreviousStage, Store};
use nnunet_train::{StoreSource, TrainCallback, TrainOptions, TrainSetup, TrainSummary, Trainer};

use crate::predicting::open;
use crate::stages::{NextStage, hand_over, load_with_previous};
use crate::{Error, Project, project::create_folder};

/// What to train, and how.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// Name of the plans, `nnUNetPlans` for the default planner.
    pub plans_name: String,
    /// Configuration of the plans, for instance `3d_fullres`.
    pub configuration: String,
    /// Which fold.
    pub fold: Fold,
    /// Epochs, iterations, learning rate and so on; the defaults are nnU-Net's.
    pub options: TrainOptions,
    /// Where the network runs.
    pub device: DeviceSpec,
    /// Continue from the last checkpoint; without one, training starts from the beginning.
    pub resume: bool,
    /// Skip training and validate the final checkpoint.
    pub validate_only: bool,
    /// Write the probabilities of the validation cases.
    pub save_probabilities: bool,
}

impl TrainRequest {
    /// nnU-Net's defaults for a configuration and fold of the default plans.
    pub fn new(configuration: &str, fold: Fold) -> Self {
        Self {
            plans_name: "nnUNetPlans".to_owned(),
            configuration: configuration.to_owned(),
            fold,
            options: TrainOptions::default(),
            device: DeviceSpec::Auto,
            resume: false,
            validate_only: false,
            save_probabilities: false,
        }
    }
}

/// What training and validation gave.
#[derive(Debug)]
pub struct TrainReport {
    /// The model folder, to be given to a predictor.
    pub model_folder: PathBuf,
    /// The fold's folder with checkpoints, logs and `validation/`.
    pub fold_folder: PathBuf,
    /// Epoch by epoch; none with `validate_only`.
    pub training: Option<TrainSummary>,
    /// Scores of the validation cases; none if training was stopped before its end, and on all ranks but the first.
    pub validation: Option<Summary>,
}

impl Project {
    /// Trains a fold, then predicts and scores its validation cases.
    ///
    /// The model folder is in nnU-Net's layout and can be predicted with as soon as training has ended. Where another
    /// configuration continues this one, validation also leaves what that one needs, in `predicted_next_stage/`.
    ///
    /// # Errors
    /// Missing plans or preprocessed cases, a fold folder that already holds a checkpoint (without `resume`), a loss
    /// that is not finite, or a validation case that cannot be predicted.
    pub fn train(
        &self,
        request: &TrainRequest,
        callback: &mut dyn TrainCallback,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<TrainReport, Error> {
        let plans = self.plans(&request.plans_name)?;
        let configuration = plans.configuration(&request.configuration)?;
        let dataset = self.dataset_json()?;
        let store_folder = self.preprocessed_folder()?.join(&configuration.data_identifier);
        let store = Store::open(&store_folder)?;
        store.check(&plans, &configuration)?;
        let split = self.split(&store, request.fold)?;
        let trainer = &request.options.trainer;
        let model_folder = self.model_folder_of(trainer, &request.plans_name, &request.configuration)?;
        let fold_folder = model_folder.join(request.fold.folder_name());
        let network = configuration.architecture.for_trainer(trainer)?.resolve()?;
        let Compute { device, accelerator, message } = device_for(&request.device, &network, true)?;
        callback.log(&message);

        let mut report = TrainReport { model_folder, fold_folder, training: None, validation: None };
        let previous = self.segmentations_before(request, &configuration, &split)?;
        if !request.validate_only {
            if request.options.cluster.is_first() {
                create_folder(&report.fold_folder)?;
                self.copy_fingerprint(&report.model_folder)?;
            }
            let source = source(store, previous.clone());
            let setup = TrainSetup {
                plans: plans.clone(),
                configuration: request.configuration.clone(),
                dataset,
                source: Arc::new(source),
                split: split.clone(),
                folder: report.fold_folder.clone(),
                options: TrainOptions { accelerator: accelerator.clone(), ..request.options.clone() },
                device,
            };
            let mut trainer = Trainer::from_setup(setup, request.resume)?;
            let summary = run(&mut trainer, request, &report.fold_folder, callback)?;
            let stopped = !summary.finished;
            report.training = Some(summary);
            if stopped {
                return Ok(report);
            }
        }
        if !request.options.cluster.is_first() {
            return Ok(report);
        }
        let stages =
            self.next_stages(&plans, &configuration, &report.model_folder, &mut |line| callback.log(line))?;
        let store = Store::open(&store_folder)?;
        let validation = Validation { store: &store, cases: &split.val, previous: previous.as_ref(), stages };
        let summary = self.validate(request, &report, &validation, progress)?;
        report.validation = Some(summary);
        Ok(report)
    }

    /// The previous stage's segmentations, if the configuration continues one.
    fn segmentations_before(
        &self,
        request: &TrainRequest,
        configuration: &Configuration,
        split: &Split,
    ) -> Result<Option<PreviousStage>, Error> {
        let Some(previous) = &configuration.previous_stage else { return Ok(None) };
        let cases = split.train.iter().chain(&split.val);
        let (trainer, plans) = (&request.options.trainer, &request.plans_name);
        self.previous_stage(trainer, plans, &request.configuration, previous, cases).map(Some)
    }

    fn copy_fingerprint(&self, model_folder: &Path) -> Result<(), Error> {
        let name = "dataset_fingerprint.json";
        let from = self.preprocessed_folder()?.join(name);
        let fingerprint: nnunet_fingerprint::Fingerprint = json::read(&from)?;
        Ok(json::write(&model_folder.join(name), &fingerprint)?)
    }

    /// Predicts the preprocessed validation cases into `validation/` and scores them against the raw labels.
    fn validate(
        &self,
        request: &TrainRequest,
        report: &TrainReport,
        validation: &Validation<'_>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Summary, Error> {
        let Validation { store, cases, previous, stages } = validation;
        let folds = [request.fold];
        let options = PredictorOptions::default();
        let predictor = open(&report.model_folder, Some(&folds), None, options, &request.device, &|_| {})?;
        let out = report.fold_folder.join("validation");
        create_folder(&out)?;
        let labels = predictor.label_rules().foreground_labels().to_vec();
        let load = |case: &str| match previous {
            None => Ok(store.load(case)?),
            Some(previous) => Ok(load_with_previous(store, previous, &labels, case)?),
        };
        let not_handed_over = Mutex::new(Vec::new());
        let seen = |case: &str, logits: ArrayView4<'_, f32>, properties: &CaseProperties| {
            if let Err(error) = hand_over(stages, &predictor, case, logits, properties)
                && let Ok(mut failed) = not_handed_over.lock()
            {
                failed.push((case.to_owned(), error.to_string()));
            }
        };
        let seen: Option<&SeeLogits<'_>> = if stages.is_empty() { None } else { Some(&seen) };
        let save = request.save_probabilities;
        let failed = predictor.predict_stored_and(&load, cases, &out, save, seen, progress);
        let failed = failed.into_iter().map(|(case, error)| (case, error.to_string()));
        let failed: Vec<_> = failed.chain(not_handed_over.into_inner().unwrap_or_default()).collect();
        if !failed.is_empty() {
            return Err(Error::Validation { failed, total: cases.len() });
        }
        let dataset = self.dataset_json()?;
        let reader = reader_by_name(&self.plans(&request.plans_name)?.image_reader_writer)?;
        let reference = self.preprocessed_folder()?.join("gt_segmentations");
        let rules = dataset.label_rules()?;
        let summary =
            evaluate_folder(&reference, &out, &rules, reader.as_ref(), &dataset.file_ending, false)?;
        json::write(&out.join("summary.json"), &summary)?;
        Ok(summary)
    }
}

fn source(store: Store, previous: Option<PreviousStage>) -> StoreSource {
    let source = StoreSource::new(store);
    match previous {
        Some(previous) => source.with_previous(previous),
        None => source,
    }
}

/// What the final validation works on.
struct Validation<'a> {
    store: &'a Store,
    cases: &'a [String],
    /// The previous stage's segmentations.
    previous: Option<&'a PreviousStage>,
    /// Stages that continue this one.
    stages: Vec<NextStage>,
}

/// Runs a training and, where pictures are built in, draws its progress.
fn run(
    trainer: &mut Trainer,
    request: &TrainRequest,
    folder: &Path,
    callback: &mut dyn TrainCallback,
) -> Result<TrainSummary, Error> {
    #[cfg(feature = "plot")]
    let mut picture = crate::progress_picture::ProgressPicture {
        inner: callback,
        points: Vec::new(),
        title: format!("{}, {}, fold {}", request.options.trainer, request.configuration, request.fold),
        path: folder.join("progress.png"),
    };
    #[cfg(feature = "plot")]
    let callback = &mut picture;
    #[cfg(not(feature = "plot"))]
    let _ = (request, folder);
    Ok(trainer.run(callback)?)
}
