use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use ndarray::{Array4, ArrayView4};
use nnunet_fingerprint::{DatasetJson, Fold};
use nnunet_image::{BoundingBox, Progress};
use nnunet_nn::{ModelCheckpoint, NnError, Parameters, UNet, read_checkpoint};
use nnunet_plan::{Configuration, LabelRules, NetworkSpec, Plans};
use nnunet_preprocess::{PreprocessedCase, preprocess_cascade_case, preprocess_case};
use rayon::prelude::*;

use super::blocks::{Need, blocks};
use super::case::CaseInput;
use super::model_folder::ModelFolder;
use super::network::Network;
use super::predicted::{GridOf, Kind, Predicted, Results};
use crate::export::{Block, Export, Shelf};
use crate::logits::Logits;
use crate::window::{Flip, Window, flips, slide};
use crate::{Accumulator, CancelToken, InferError, Prediction, PredictorOptions};

/// A trained model that stays loaded and segments images, from several threads if need be.
///
/// ```no_run
/// use candle_core::Device;
/// use nnunet_infer::{Predictor, PredictorOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = std::path::Path::new("nnUNetTrainer__nnUNetPlans__3d_fullres");
/// let predictor = Predictor::open(model, None, None, PredictorOptions::default(), Device::Cpu)?;
/// let reader = nnunet_image::reader_by_name("SimpleITKIO")?;
/// let image = reader.read_images(&["case_0000.nii.gz".into()])?;
/// let prediction = predictor.predict_image(image, false, &|_| {})?;
/// reader.write_labels(std::path::Path::new("case.nii.gz"), &prediction.labels)?;
/// # Ok(())
/// # }
/// ```
pub struct Predictor {
    pub(super) plans: Plans,
    pub(super) configuration: Configuration,
    pub(super) dataset: DatasetJson,
    pub(super) rules: LabelRules,
    networks: Vec<Network>,
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    on_device: Option<super::network::OnDevice>,
    flips: Vec<Flip>,
    pub(super) options: PredictorOptions,
    /// Name of the configuration.
    name: String,
    /// Channels of the network's input.
    channels: usize,
    /// Bytes that the network needs for a tile, about.
    tile_bytes: usize,
}

impl Predictor {
    /// Loads a model folder in nnU-Net's layout: `dataset.json`, `plans.json` and, per fold,
    /// `fold_K/<checkpoint>` as
    /// `.safetensors` or `.pth`, in this order.
    ///
    /// Several folds are averaged. Without `folds`, all numbered ones that have the checkpoint are used;
    /// without `checkpoint`,
    /// `checkpoint_final`. Configuration and mirrored axes are those of the first checkpoint.
    ///
    /// # Errors
    /// A file that is missing (the error lists what is there) or cannot be read, weights that do not fit the
    /// plans, or options out of range.
    pub fn open(
        model_dir: &Path,
        folds: Option<&[Fold]>,
        checkpoint: Option<&str>,
        options: PredictorOptions,
        device: Device,
    ) -> Result<Self, InferError> {
        options.check()?;
        let folder = ModelFolder::open(model_dir)?;
        let checkpoints = folder.checkpoints(folds, checkpoint)?;
        let name = folder.configuration_by_name();
        let checkpoints = checkpoints.into_iter().map(|path| Ok(read_checkpoint(&path)?));
        load(folder.plans, folder.dataset, name, checkpoints, options, &device)
    }

    /// A predictor of networks in memory, for instance right after training.
    ///
    /// `mirror_axes` are counted among the axes of the patch: 0 is y in 2-D and z in 3-D.
    ///
    /// # Errors
    /// A configuration that is not in the plans or cannot be run, no network, or options out of range.
    pub fn from_parts(
        plans: Plans,
        configuration: &str,
        dataset: DatasetJson,
        networks: Vec<UNet>,
        mirror_axes: Option<Vec<usize>>,
        options: PredictorOptions,
    ) -> Result<Self, InferError> {
        options.check()?;
        let config = Config::new(&plans, configuration, &dataset, "")?;
        Self::build(plans, dataset, config, networks, mirror_axes, options)
    }

    fn build(
        plans: Plans,
        dataset: DatasetJson,
        config: Config,
        networks: Vec<UNet>,
        mirror_axes: Option<Vec<usize>>,
        options: PredictorOptions,
    ) -> Result<Self, InferError> {
        if networks.is_empty() {
            return Err(InferError::NoNetwork);
        }
        let tile_bytes = config.tile_bytes();
        let Config { configuration, rules, channels, name, .. } = config;
        let axes = array_axes(&mirror_axes.unwrap_or_default(), configuration.patch_size.len())?;
        let flips = flips(if options.use_mirroring { &axes } else { &[] });
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        let on_device = super::network::OnDevice::prepare(&networks, &options)?;
        // What a device predicts needs no buffers on the CPU.
        let networks = if options.accelerator.is_some() { Vec::new() } else { networks };
        let networks =
            Network::prepare(networks, configuration.patch_3d(), options.precision, options.accumulator)?;
        Ok(Self {
            plans,
            configuration,
            dataset,
            rules,
            networks,
            #[cfg(any(feature = "cuda", feature = "emulator"))]
            on_device,
            flips,
            options,
            name,
            channels,
            tile_bytes,
        })
    }

    /// The labels that the model tells apart.
    pub fn label_rules(&self) -> &LabelRules {
        &self.rules
    }

    /// The plans of the model.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The description of the data that the model was trained with.
    pub fn dataset(&self) -> &DatasetJson {
        &self.dataset
    }

    /// Name of the model's configuration.
    pub fn configuration_name(&self) -> &str {
        &self.name
    }

    /// The configuration whose segmentations this model continues; none but for cascades.
    pub fn previous_stage(&self) -> Option<&str> {
        self.configuration.previous_stage.as_deref()
    }

    /// Segments an image as it was read: preprocessing, sliding window, export to the image's own grid.
    ///
    /// A [`CaseInput`] says more than an image alone: the previous stage's segmentation, a region of interest.
    /// `progress` counts tiles.
    ///
    /// # Errors
    /// The wrong number of channels, an image that cannot be preprocessed, logits that are not finite, too
    /// little memory, or a cascade without the previous stage.
    pub fn predict_image(
        &self,
        case: impl Into<CaseInput>,
        with_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Prediction, InferError> {
        let case = case.into();
        let (region, cancel) = (case.region, case.cancel.clone());
        let prepared = self.preprocess(case)?;
        let results = if with_probabilities { Results::Probabilities } else { Results::Labels };
        self.run(prepared, region, results, &cancel, progress)?.finish(self)
    }

    /// Logits `(channel, z, y, x)` of a preprocessed image `(channel, z, y, x)`, one channel per label or
    /// region.
    ///
    /// `progress` counts tiles.
    ///
    /// # Errors
    /// The wrong number of channels, no voxels, logits that are not finite, or too little memory.
    pub fn predict_logits(
        &self,
        preprocessed: ArrayView4<'_, f32>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Array4<f32>, InferError> {
        Ok(self.logits(preprocessed, None, &CancelToken::new(), progress)?.to_array())
    }

    pub(super) fn preprocess(&self, case: CaseInput) -> Result<PreprocessedCase, InferError> {
        let CaseInput { image, previous, .. } = case;
        self.check_channels(image.data.dim().0, self.dataset.channel_names.len())?;
        if let Some((channel, voxel, value)) = not_finite(&image.data) {
            let name = self.dataset.channel_names.values().nth(channel).cloned().unwrap_or_default();
            return Err(InferError::Voxel { channel, name, voxel, value });
        }
        let (plans, configuration, rules) = (&self.plans, &self.configuration, &self.rules);
        match (&configuration.previous_stage, previous) {
            (Some(_), Some(previous)) => {
                Ok(preprocess_cascade_case(image, previous, plans, configuration, rules)?)
            }
            (None, None) => Ok(preprocess_case(image, None, plans, configuration, rules)?),
            (Some(stage), None) => {
                let (configuration, previous) = (self.name.clone(), stage.clone());
                Err(InferError::PreviousStage { configuration, previous })
            }
            (None, Some(_)) => {
                let text =
                    format!("configuration {} does not continue another one's segmentations", self.name);
                Err(InferError::Model(text))
            }
        }
    }

    /// The network's part of a prediction.
    pub(super) fn run(
        &self,
        case: PreprocessedCase,
        region: Option<BoundingBox>,
        results: Results<'_>,
        cancel: &CancelToken,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Predicted, InferError> {
        let PreprocessedCase { data, properties, seg } = case;
        drop(seg);
        let (_, z, y, x) = data.dim();
        let grid = GridOf { properties: properties.clone(), shape: [z, y, x], results: results.kind() };
        let export = self.export(&grid)?;
        let out = match &region {
            Some(region) => export.within(region),
            None => Some(export.whole()),
        };
        let Some(out) = out else { return Ok(Predicted::Nothing(grid)) };
        let blocks = blocks(&export, out, self.need(&data, &export, results))?;
        if let [block] = blocks.as_slice() {
            let logits = self.logits(data.view(), Some(block.low), cancel, progress)?;
            return Ok(Predicted::Logits { logits, block: *block, grid });
        }
        let logits = |block: &Block| self.logits(data.view(), Some(block.low), cancel, progress);
        if let Results::Streamed(folder) = results {
            let half = self.options.accumulator == Accumulator::F16;
            let block = export.block(out);
            let shelf = Shelf::new(folder, block.low, self.rules.num_heads(), half)?;
            for block in &blocks {
                shelf.write(block.low, &logits(block)?)?;
            }
            return Ok(Predicted::Shelved { shelf, block, grid });
        }
        let mut canvas = export.canvas()?;
        for block in &blocks {
            export.fill(&mut canvas, block, &logits(block)?)?;
        }
        Ok(Predicted::Done(export.finish(canvas)))
    }

    pub(super) fn export<'a>(&'a self, grid: &GridOf) -> Result<Export<'a>, InferError> {
        let (plans, configuration) = (&self.plans, &self.configuration);
        let with_probabilities = grid.results != Kind::Labels;
        Export::new(&grid.properties, plans, configuration, &self.rules, with_probabilities, grid.shape)
    }

    fn need(&self, data: &Array4<f32>, export: &Export<'_>, results: Results<'_>) -> Need {
        let heads = self.rules.num_heads();
        let labels = export.voxels() * size_of::<i16>();
        let result = match results {
            Results::Labels => labels,
            Results::Probabilities => labels + export.voxels() * heads * size_of::<f32>(),
            Results::Streamed(_) => labels + export.stream_bytes(),
        };
        let image = data.len() * size_of::<f32>();
        let sums = match self.options.accumulator {
            Accumulator::F32 => heads * 4 + 4,
            // The mean of several folds is kept beside the sums of one.
            Accumulator::F16 if self.networks.len() > 1 || self.options.accelerator.is_some() => {
                heads * 4 + 2
            }
            Accumulator::F16 => heads * 2 + 2,
        };
        Need { fixed: image + result + self.tile_bytes, per_voxel: sums, limit: self.options.memory_bytes() }
    }

    fn logits(
        &self,
        image: ArrayView4<'_, f32>,
        region: Option<BoundingBox>,
        cancel: &CancelToken,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Logits, InferError> {
        self.check_channels(image.dim().0, self.channels)?;
        let window = Window {
            patch: self.configuration.patch_3d(),
            planar: self.configuration.is_2d(),
            heads: self.rules.num_heads(),
            flips: &self.flips,
            options: &self.options,
            region,
            cancel,
        };
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        if let Some(device) = &self.on_device {
            return crate::window::slide_on_device(&window, image, &device.networks, progress);
        }
        slide(&window, image, &self.networks, progress)
    }

    fn check_channels(&self, found: usize, expected: usize) -> Result<(), InferError> {
        if found == expected {
            return Ok(());
        }
        let names = &self.dataset.channel_names;
        let mut list: Vec<&str> = names.values().map(String::as_str).collect();
        if expected > names.len() {
            list.push("and one per label of the previous stage");
        }
        Err(InferError::Channels { found, expected, names: list.join(", ") })
    }
}

/// A predictor of checkpoints, of which one is in memory at a time. `name` is that of the configuration if they do not tell.
pub(super) fn load(
    plans: Plans,
    dataset: DatasetJson,
    name: Option<String>,
    checkpoints: impl Iterator<Item = Result<ModelCheckpoint, InferError>>,
    options: PredictorOptions,
    device: &Device,
) -> Result<Predictor, InferError> {
    let mut first: Option<(Config, Option<Vec<usize>>)> = None;
    let mut networks = Vec::new();
    for checkpoint in checkpoints {
        let ModelCheckpoint { path, weights, trainer_name, configuration, mirror_axes } = checkpoint?;
        if first.is_none() {
            let told = Some(configuration).filter(|name| !name.is_empty()).or_else(|| name.clone());
            let name = told.ok_or_else(|| {
                InferError::Model(format!("{} does not name its configuration", path.display()))
            })?;
            first = Some((Config::new(&plans, &name, &dataset, &trainer_name)?, mirror_axes));
        }
        let Some((config, _)) = &first else { continue };
        let failed = |source| InferError::Checkpoint { path: path.clone(), source: Box::new(source) };
        networks.push(config.network(&weights, device).map_err(failed)?);
    }
    let (config, mirror_axes) = first.ok_or(InferError::NoNetwork)?;
    Predictor::build(plans, dataset, config, networks, mirror_axes, options)
}

/// The name of the only configuration of the plans.
pub(super) fn configuration_alone(plans: &Plans) -> Option<String> {
    let mut all = plans.configurations.keys();
    all.next().filter(|_| plans.configurations.len() == 1).cloned()
}

/// A configuration of the plans and the labels that go with it.
struct Config {
    name: String,
    configuration: Configuration,
    rules: LabelRules,
    channels: usize,
    spec: NetworkSpec,
}

impl Config {
    /// `trainer` names the variant that trained the network, if that is known.
    fn new(plans: &Plans, name: &str, dataset: &DatasetJson, trainer: &str) -> Result<Self, InferError> {
        let configuration = plans.configuration(name)?;
        let spec = configuration.architecture.for_trainer(trainer)?.resolve()?;
        if spec.dims != configuration.patch_size.len() {
            let (dims, patch) = (spec.dims, &configuration.patch_size);
            return Err(InferError::Model(format!(
                "its network has {dims} dimensions, its patch size is {patch:?}"
            )));
        }
        let rules = dataset.label_rules()?;
        let mut channels = dataset.channel_names.len();
        if configuration.previous_stage.is_some() {
            channels += rules.foreground_labels().len();
        }
        Ok(Self { name: name.to_owned(), configuration, rules, channels, spec })
    }

    /// Bytes of a tile at work, about: the feature maps for the decoder, three of the largest, the logits
    /// where they are computed and handed over, and their mean.
    fn tile_bytes(&self) -> usize {
        let mut voxels: usize = self.configuration.patch_3d().iter().product();
        let largest = self.spec.features.first().copied().unwrap_or(0);
        let mut values = (3 * largest + 3 * self.rules.num_heads() + self.channels) * voxels;
        for (features, stride) in self.spec.features.iter().zip(&self.spec.strides) {
            voxels /= stride.iter().product::<usize>().max(1);
            values += features * voxels;
        }
        if !self.spec.is_standard() {
            // Layer by layer there are no buffers that are used again.
            let cost = self.spec.feature_map_cost(self.configuration.patch_3d(), self.rules.num_heads());
            values = values.max(usize::try_from(cost).unwrap_or(usize::MAX / 8));
        }
        values * size_of::<f32>()
    }

    /// The network that the configuration names, with these weights.
    fn network(&self, weights: &HashMap<String, Tensor>, device: &Device) -> Result<UNet, NnError> {
        let heads = self.rules.num_heads();
        let parameters = Parameters::new(&self.spec, self.channels, heads, 0, device)?;
        parameters.load(weights)?;
        UNet::new(&self.spec, self.channels, heads, &parameters)
    }
}

/// The first voxel that is infinite or not a number: its channel, place and value.
fn not_finite(image: &Array4<f32>) -> Option<(usize, [usize; 3], f32)> {
    // Sums of zeros are quick to compute; a search is needed only if one of them is none.
    let clean = |values: &[f32]| values.iter().fold(0.0, |sum, value| sum + value * 0.0) == 0.0;
    if image.as_slice().is_some_and(|values| values.par_chunks(1 << 16).all(clean)) {
        return None;
    }
    let ((channel, z, y, x), value) = image.indexed_iter().find(|(_, value)| !value.is_finite())?;
    Some((channel, [z, y, x], *value))
}

/// Axes among those of the patch → axes among z, y, x.
fn array_axes(axes: &[usize], dims: usize) -> Result<Vec<usize>, InferError> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != axes.len() || axes.iter().any(|&axis| axis >= dims) {
        return Err(InferError::Model(format!(
            "it mirrors along the axes {axes:?} of a {dims}-dimensional patch"
        )));
    }
    Ok(sorted.iter().map(|axis| axis + 3 - dims).collect())
}
