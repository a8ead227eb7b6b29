use std::ops::Range;

use candle_core::{Device, Tensor};
use ndarray::{Array3, Array4, ArrayView4, Axis, concatenate};
use nnunet_augment::{Parameters, Pipeline, Sample, Window, Workspace, deep_supervision_targets, sample_rng};
use rand_chacha::ChaCha8Rng;

use super::{Job, Phase};
use crate::sampling::Sampler;
use crate::{LossRules, Targets, TrainError};

/// Validation samples draw from streams of their own.
const VALIDATION_STREAM: u64 = 1 << 48;

/// Patches and labels of one iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Cases of the samples.
    pub cases: Vec<String>,
    /// `[batch, z, y, x, channel]`.
    pub shape: [usize; 5],
    /// Values in C order of `shape`: channels last, as the network computes.
    pub data: Vec<f32>,
    /// Label maps, highest resolution first.
    pub targets: Vec<Targets>,
    /// Images that are still to be augmented, one per sample, if that is done elsewhere; `data` is empty then.
    pub unfinished: Vec<Unfinished>,
}

/// An image as it was loaded, and what is to be done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfinished {
    /// `[channel, z, y, x]`, the part of the loaded patch that is read.
    pub image: Array4<f32>,
    /// Which part that is.
    pub window: Window,
    /// What was drawn.
    pub parameters: Parameters,
    /// The labels of the finished patch with −1 outside, if channels are masked.
    pub mask: Option<Vec<i16>>,
}

impl Batch {
    /// Moves the values into a tensor `(batch, channel, z, y, x)` whose memory stays channels-last, and hands out the
    /// targets. No copy is made on the CPU.
    ///
    /// # Errors
    /// If the device cannot take the tensor.
    pub fn into_tensor(self, device: &Device) -> Result<(Tensor, Vec<Targets>), TrainError> {
        let tensor = Tensor::from_vec(self.data, self.shape.as_slice(), device)?;
        Ok((tensor.permute([0, 4, 1, 2, 3])?, self.targets))
    }
}

/// How batches of one phase are made.
pub struct BatchPlan {
    /// Draws cases and patches.
    pub sampler: Sampler,
    /// Turns a loaded patch into a sample of the network's patch size.
    pub pipeline: Pipeline,
}

/// Makes the batch of a job. The result depends on the seed and the job alone.
pub struct BatchMaker {
    /// Training batches.
    pub train: BatchPlan,
    /// Validation batches.
    pub validate: BatchPlan,
    /// Samples per batch, those of all ranks together.
    pub batch_size: usize,
    /// Which of them are made here.
    pub share: Range<usize>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Resolutions of the targets relative to the patch, highest first.
    pub scales: Vec<[f64; 3]>,
    /// Labels that may occur.
    pub rules: LossRules,
    /// The channels of images, if training images are augmented by who trains: batches hold them unfinished.
    pub elsewhere: Option<usize>,
}

impl BatchMaker {
    /// Draws, loads and augments the samples of a batch.
    ///
    /// # Errors
    /// If a case cannot be read or augmented or has an unknown label; the error names the case.
    pub fn make(&self, job: Job) -> Result<Batch, TrainError> {
        let mut building = Building::default();
        for index in self.share.clone() {
            if let (Some(channels), Phase::Train) = (self.elsewhere, job.phase) {
                let (case, labels, unfinished) = self.unfinished(job, index, channels)?;
                let (_, z, y, x) = labels.dim();
                building.shape = Some([z, y, x, unfinished.image.dim().0]);
                building.push_labels(case, labels.view(), self)?;
                building.unfinished.push(unfinished);
            } else {
                let (case, sample) = self.sample(job, index)?;
                building.push(case, &sample, self)?;
            }
        }
        building.finish(self.share.len())
    }

    /// The random numbers of a sample.
    fn rng(&self, job: Job, stream: u64, index: usize) -> ChaCha8Rng {
        sample_rng(self.seed, job.epoch as u64, stream + (job.iteration * self.batch_size + index) as u64)
    }

    /// Draws and loads a training sample and augments its labels alone.
    fn unfinished(
        &self,
        job: Job,
        index: usize,
        channels: usize,
    ) -> Result<(String, Array4<i16>, Unfinished), TrainError> {
        let (plan, mut rng) = (&self.train, self.rng(job, 0, index));
        let drawn = plan.sampler.draw(index, &mut rng)?;
        let fail = |e| TrainError::case(&drawn.case, e);
        let (source, loaded) = (plan.sampler.source(), plan.sampler.loaded());
        let parameters = plan.pipeline.draw(channels, &mut rng);
        let window = plan.pipeline.source_window(&parameters, loaded).map_err(fail)?;
        let lower = std::array::from_fn(|axis| drawn.lower[axis] + window.start[axis] as i64);
        let (image, labels) = source.read_patch(&drawn.case, lower, window.shape)?;
        let labels = labels.insert_axis(Axis(0));
        let labels = plan
            .pipeline
            .apply_to_labels(labels, &window, &parameters, &mut Workspace::default())
            .map_err(fail)?;
        let masked = plan.pipeline.config().mask_channels.contains(&true);
        let mask = masked.then(|| labels.iter().copied().collect());
        let unfinished = Unfinished { image, window, parameters, mask };
        Ok((drawn.case, labels.mapv(|label| label.max(0)), unfinished))
    }

    fn sample(&self, job: Job, index: usize) -> Result<(String, Sample), TrainError> {
        let (plan, stream) = match job.phase {
            Phase::Train => (&self.train, 0),
            Phase::Validate => (&self.validate, VALIDATION_STREAM),
        };
        let mut rng = self.rng(job, stream, index);
        let drawn = plan.sampler.draw(index, &mut rng)?;
        let source = plan.sampler.source();
        let (image, labels) = source.read_patch(&drawn.case, drawn.lower, plan.sampler.loaded())?;
        let labels = match plan.pipeline.config().cascade {
            None => labels.insert_axis(Axis(0)),
            Some(_) => {
                let previous = source.read_previous(&drawn.case, drawn.lower, plan.sampler.loaded())?;
                with_previous(&drawn.case, labels, previous)?
            }
        };
        let sample = Sample { image, labels };
        let sample = plan.pipeline.run(sample, &mut rng).map_err(|e| TrainError::case(&drawn.case, e))?;
        Ok((drawn.case, sample))
    }
}

/// The labels of both stages as the channels of one array.
fn with_previous(
    case: &str,
    labels: Array3<i16>,
    previous: Option<Array3<i16>>,
) -> Result<Array4<i16>, TrainError> {
    let wrong = |message: String| TrainError::Case { case: case.to_owned(), message, source: None };
    let previous = previous.ok_or_else(|| wrong("no segmentation of the previous stage".to_owned()))?;
    let [labels, previous] = [labels, previous].map(|labels| labels.insert_axis(Axis(0)));
    concatenate(Axis(0), &[labels.view(), previous.view()]).map_err(|e| wrong(e.to_string()))
}

/// A batch under construction.
#[derive(Default)]
struct Building {
    cases: Vec<String>,
    /// `[z, y, x, channel]` of the first sample.
    shape: Option<[usize; 4]>,
    data: Vec<f32>,
    targets: Vec<([usize; 3], Vec<i16>)>,
    unfinished: Vec<Unfinished>,
}

impl Building {
    fn push(&mut self, case: String, sample: &Sample, maker: &BatchMaker) -> Result<(), TrainError> {
        let (c, z, y, x) = sample.image.dim();
        let shape = [z, y, x, c];
        let expected = *self.shape.get_or_insert(shape);
        if shape != expected {
            let message = format!("a patch of [z, y, x, channel] {shape:?}, other samples have {expected:?}");
            return Err(TrainError::Case { case, message, source: None });
        }
        if self.data.is_empty() {
            self.data.reserve_exact(shape.iter().product::<usize>() * maker.share.len());
        }
        append_channels_last(&mut self.data, sample.image.view());
        self.push_labels(case, sample.labels.view(), maker)
    }

    fn push_labels(
        &mut self,
        case: String,
        labels: ArrayView4<'_, i16>,
        maker: &BatchMaker,
    ) -> Result<(), TrainError> {
        let targets = deep_supervision_targets(labels, &maker.scales);
        for (level, target) in targets.iter().enumerate() {
            let (_, z, y, x) = target.dim();
            if self.targets.len() == level {
                self.targets.push(([z, y, x], Vec::with_capacity(z * y * x * maker.share.len())));
            }
            self.targets[level].1.extend(target.index_axis(Axis(0), 0).iter());
        }
        let latest = self
            .targets
            .first()
            .map_or(&[][..], |(size, labels)| &labels[labels.len() - size.iter().product::<usize>()..]);
        if let Some(label) = maker.rules.unknown_label(latest) {
            let message = TrainError::Label { label, channels: maker.rules.channels() }.to_string();
            return Err(TrainError::Case { case, message, source: None });
        }
        self.cases.push(case);
        Ok(())
    }

    fn finish(self, batch: usize) -> Result<Batch, TrainError> {
        let [z, y, x, c] = self.shape.unwrap_or_default();
        let targets = self.targets.into_iter();
        let targets = targets
            .map(|([z, y, x], labels)| Targets::new([batch, z, y, x], labels))
            .collect::<Result<_, _>>()?;
        let (cases, shape) = (self.cases, [batch, z, y, x, c]);
        Ok(Batch { cases, shape, data: self.data, targets, unfinished: self.unfinished })
    }
}

/// Appends `[channel, z, y, x]` in the order `[z, y, x, channel]`.
fn append_channels_last(data: &mut Vec<f32>, image: ArrayView4<'_, f32>) {
    data.extend(image.permuted_axes([1, 2, 3, 0]).iter());
}
