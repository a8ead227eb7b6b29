use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use nnunet_augment::{Cascade, Pipeline};
use nnunet_fingerprint::{DatasetJson, Split};
use nnunet_nn::{Parameters, UNet, read_checkpoint};
use nnunet_plan::{Configuration, LabelRules, NetworkSpec, NormKind, Plans};

use crate::loader::{BatchMaker, BatchPlan};
use crate::optim::Optimiser;
use crate::sampling::{CaseSource, Sampler};
use crate::{AugmentSet, DeepLoss, LossRules, TrainError, TrainOptions};

/// Everything a training needs to know.
pub struct TrainSetup {
    /// The plans.
    pub plans: Plans,
    /// Name of the configuration in the plans.
    pub configuration: String,
    /// The data set.
    pub dataset: DatasetJson,
    /// The preprocessed cases.
    pub source: Arc<dyn CaseSource>,
    /// Which cases train and which validate.
    pub split: Split,
    /// The fold's folder, in the model folder.
    pub folder: PathBuf,
    /// How to train.
    pub options: TrainOptions,
    /// Where the network runs.
    pub device: Device,
}

/// The parts of a training that the setup decides.
pub(super) struct Parts {
    pub(super) network: UNet,
    pub(super) parameters: Parameters,
    pub(super) optimiser: Optimiser,
    pub(super) loss: DeepLoss,
    pub(super) maker: BatchMaker,
    pub(super) mirror_axes: Option<Vec<usize>>,
}

impl TrainSetup {
    pub(super) fn parts(&self) -> Result<Parts, TrainError> {
        self.options.check()?;
        let configuration = self.plans.configuration(&self.configuration)?;
        let spec = configuration.architecture.for_trainer(&self.options.trainer)?.resolve()?;
        self.check_ranks(&spec)?;
        let labels = self.dataset.label_rules()?;
        let cascade = self.cascade(&configuration, &labels);
        let heads = labels.num_heads();
        let channels =
            self.dataset.channel_names.len() + cascade.as_ref().map_or(0, |cascade| cascade.labels.len());
        let rules = LossRules::of_dataset(&labels, configuration.batch_dice).with_terms(self.options.loss);
        self.options.loss.check(&rules)?;
        let parameters = Parameters::new(&spec, channels, heads, self.options.seed, &self.device)?;
        let network = UNet::new(&spec, channels, heads, &parameters)?;
        let network =
            network.with_precision(self.options.precision).with_recomputation(self.options.recompute);
        let mut scales = spec.deep_supervision_scales();
        let outputs = if self.options.deep_supervision { scales.len() } else { 1 };
        let loss = DeepLoss::new(rules, outputs);
        scales.truncate(loss.targets_needed());
        let (maker, mirror_axes) = self.maker(&configuration, &loss.rules, cascade, scales)?;
        Ok(Parts { network, optimiser: self.optimiser(&parameters), parameters, loss, maker, mirror_axes })
    }

    /// Batch norms take the statistics of a whole batch, of which each of several ranks has a part.
    fn check_ranks(&self, spec: &NetworkSpec) -> Result<(), TrainError> {
        let batch_norm = spec.norm.is_some() && matches!(spec.parts().norm, NormKind::Batch { .. });
        if batch_norm && !self.options.cluster.is_alone() {
            let found = "several ranks for a network with batch norms".to_owned();
            return Err(TrainError::Option {
                option: "cluster",
                found,
                expected: "one rank, or other norms",
            });
        }
        Ok(())
    }

    /// What a second stage sees of the first.
    fn cascade(&self, configuration: &Configuration, labels: &LabelRules) -> Option<Cascade> {
        configuration.previous_stage.as_ref()?;
        let mut cascade = Cascade::nnunet(labels.foreground_labels().to_vec());
        let augmentation = &self.options.augmentation;
        if augmentation.set == AugmentSet::Da5 || augmentation.nearest_labels {
            // nnU-Net's trainers with these settings draw for the sample alone.
            (cascade.p_operator_per_label, cascade.p_removal_per_label) = (1.0, 1.0);
        }
        Some(cascade)
    }

    fn optimiser(&self, parameters: &Parameters) -> Optimiser {
        let TrainOptions { optimiser, weight_decay, clip, .. } = self.options;
        let named = parameters.names().iter().cloned().zip(parameters.vars().iter().cloned());
        Optimiser::new(named.collect(), optimiser, weight_decay, clip)
    }

    fn maker(
        &self,
        configuration: &Configuration,
        rules: &LossRules,
        cascade: Option<Cascade>,
        scales: Vec<[f64; 3]>,
    ) -> Result<(BatchMaker, Option<Vec<usize>>), TrainError> {
        let options = &self.options;
        let batch_size = options.batch_size.unwrap_or(configuration.batch_size);
        let share = options.cluster.share(batch_size);
        if batch_size < options.cluster.size() {
            let (found, expected) = (batch_size.to_string(), "at least one sample for each rank");
            return Err(TrainError::Option { option: "batch_size", found, expected });
        }
        let patch = configuration.patch_3d();
        let mut augmented =
            options.augmentation.pipeline(&configuration.patch_size, &configuration.use_mask_for_norm);
        augmented.cascade = cascade;
        // Mirrored axes are counted among the axes that the patch has.
        let offset = 3 - configuration.patch_size.len().min(3);
        let mirrored: Vec<usize> = augmented.mirror_axes.iter().map(|axis| axis - offset).collect();
        let plain = augmented.clone();
        let plan = |cases: &[String], pipeline: Pipeline, loaded| -> Result<BatchPlan, TrainError> {
            let sampler = Sampler::new(
                self.source.clone(),
                cases.to_vec(),
                patch,
                loaded,
                batch_size,
                options.oversample,
                rules.ignore().is_some(),
            )?;
            Ok(BatchPlan { sampler: sampler.with_oversampling(options.oversampling), pipeline })
        };
        let train = if options.augmentation.is_on() {
            let loaded = augmented.initial_patch_size();
            plan(&self.split.train, Pipeline::training(augmented), loaded)?
        } else {
            plan(&self.split.train, Pipeline::validation(augmented), patch)?
        };
        let elsewhere = self.elsewhere(&train.pipeline)?;
        let validate = plan(&self.split.val, Pipeline::validation(plain), patch)?;
        let (seed, rules) = (options.seed, rules.clone());
        let maker = BatchMaker { train, validate, batch_size, share, seed, scales, rules, elsewhere };
        Ok((maker, (!mirrored.is_empty()).then_some(mirrored)))
    }

    /// The channels of images that the accelerator augments, if it does.
    fn elsewhere(&self, pipeline: &Pipeline) -> Result<Option<usize>, TrainError> {
        if !self.options.augment_on_device || !self.options.augmentation.is_on() {
            return Ok(None);
        }
        let refused = |found: &str, expected| {
            let (option, found) = ("augment_on_device", found.to_owned());
            Err(TrainError::Option { option, found, expected })
        };
        if self.options.accelerator.is_none() {
            return refused(
                "true without a device",
                "a device; with --device cpu the loader threads augment",
            );
        }
        if !pipeline.is_plain() {
            let found = "true with elastic deformation, DA5's set, nearest images or a cascade";
            return refused(found, "nnU-Net's own augmentation; the loader threads do the others");
        }
        Ok(Some(self.dataset.channel_names.len()))
    }

    /// Weights of `options.pretrained` for everything but the segmentation heads.
    pub(super) fn load_pretrained(&self, parameters: &Parameters) -> Result<Option<String>, TrainError> {
        let Some(path) = &self.options.pretrained else { return Ok(None) };
        let wrong = |message: String| TrainError::Checkpoint { path: path.clone(), message };
        let given = read_checkpoint(path)?.weights;
        let mut weights = parameters.to_map();
        for (name, weight) in &mut weights {
            if name.contains(".seg_layers.") {
                // A copy: the parameter cannot be set to itself.
                *weight = weight.copy()?;
                continue;
            }
            let new = given.get(name).ok_or_else(|| wrong(format!("no weights for {name}")))?;
            if new.dims() != weight.dims() {
                let (found, expected) = (new.dims(), weight.dims());
                return Err(wrong(format!("{name} has the shape {found:?}, the network has {expected:?}")));
            }
            *weight = new.clone();
        }
        parameters.load(&weights)?;
        Ok(Some(format!("Weights but for the segmentation heads come from {}", path.display())))
    }
}
