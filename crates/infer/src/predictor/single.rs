use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use ndarray::{Array4, ArrayView4};
use nnunet_fingerprint::{DatasetJson, Fold};
use nnunet_image::{Image, Progress};
use nnunet_nn::{ModelCheckpoint, NnError, Parameters, UNet, read_checkpoint};
use nnunet_plan::{Configuration, LabelRules, NetworkSpec, Plans};
use nnunet_preprocess::{PreprocessedCase, preprocess_case};

use super::model_folder::ModelFolder;
use super::network::Network;
use crate::export::Export;
use crate::logits::Logits;
use crate::window::{Flip, Window, flips, slide};
use crate::{InferError, Prediction, PredictorOptions};

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
    flips: Vec<Flip>,
    options: PredictorOptions,
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
        let mut first: Option<(Config, Option<Vec<usize>>)> = None;
        let mut networks = Vec::new();
        for path in folder.checkpoints(folds, checkpoint)? {
            let ModelCheckpoint { weights, configuration, mirror_axes, .. } = read_checkpoint(&path)?;
            if first.is_none() {
                let name = Some(configuration).filter(|name| !name.is_empty());
                let name = name.or_else(|| folder.configuration_by_name()).ok_or_else(|| {
                    InferError::Model(format!("{} does not name its configuration", path.display()))
                })?;
                first = Some((Config::new(&folder.plans, &name, &folder.dataset)?, mirror_axes));
            }
            let Some((config, _)) = &first else { continue };
            let failed = |source| InferError::Checkpoint { path: path.clone(), source: Box::new(source) };
            networks.push(config.network(&weights, &device).map_err(failed)?);
        }
        let (config, mirror_axes) = first.ok_or(InferError::NoNetwork)?;
        Self::build(folder.plans, folder.dataset, config, networks, mirror_axes, options)
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
        device: Device,
    ) -> Result<Self, InferError> {
        options.check()?;
        if !device.is_cpu() {
            let found = format!("{device:?}");
            return Err(InferError::Option { option: "device", found, expected: "the CPU" });
        }
        let config = Config::new(&plans, configuration, &dataset)?;
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
        let Config { configuration, rules, .. } = config;
        let axes = array_axes(&mirror_axes.unwrap_or_default(), configuration.patch_size.len())?;
        let flips = flips(if options.use_mirroring { &axes } else { &[] });
        let networks = Network::prepare(networks, configuration.patch_3d(), options.precision)?;
        Ok(Self { plans, configuration, dataset, rules, networks, flips, options })
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

    /// Segments an image as it was read: preprocessing, sliding window, export to the image's own grid.
    ///
    /// `progress` counts tiles.
    ///
    /// # Errors
    /// The wrong number of channels, an image that cannot be preprocessed, logits that are not finite, or too
    /// little memory.
    pub fn predict_image(
        &self,
        image: Image,
        with_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Prediction, InferError> {
        let case = self.preprocess(image)?;
        self.predict_preprocessed(case, with_probabilities, progress)
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
        Ok(self.logits(preprocessed, progress)?.to_array())
    }

    pub(super) fn preprocess(&self, image: Image) -> Result<PreprocessedCase, InferError> {
        self.check_channels(image.data.dim().0)?;
        Ok(preprocess_case(image, None, &self.plans, &self.configuration, &self.rules)?)
    }

    pub(super) fn predict_preprocessed(
        &self,
        case: PreprocessedCase,
        with_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Prediction, InferError> {
        let PreprocessedCase { data, properties, seg } = case;
        drop(seg);
        let logits = self.logits(data.view(), progress)?;
        drop(data);
        let export = Export {
            properties: &properties,
            plans: &self.plans,
            configuration: &self.configuration,
            rules: &self.rules,
            with_probabilities,
        };
        export.run(logits)
    }

    fn logits(
        &self,
        image: ArrayView4<'_, f32>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Logits, InferError> {
        self.check_channels(image.dim().0)?;
        let window = Window {
            patch: self.configuration.patch_3d(),
            planar: self.configuration.is_2d(),
            heads: self.rules.num_heads(),
            flips: &self.flips,
            options: &self.options,
        };
        slide(&window, image, &self.networks, progress)
    }

    fn check_channels(&self, found: usize) -> Result<(), InferError> {
        let names = &self.dataset.channel_names;
        if found == names.len() {
            return Ok(());
        }
        let list: Vec<&str> = names.values().map(String::as_str).collect();
        Err(InferError::Channels { found, expected: names.len(), names: list.join(", ") })
    }
}

/// A configuration of the plans and the labels that go with it.
struct Config {
    configuration: Configuration,
    rules: LabelRules,
    channels: usize,
    spec: NetworkSpec,
}

impl Config {
    fn new(plans: &Plans, name: &str, dataset: &DatasetJson) -> Result<Self, InferError> {
        let configuration = plans.configuration(name)?;
        if let Some(previous) = &configuration.previous_stage {
            let text = format!(
                "configuration {name} continues the predictions of {previous}, which is not supported"
            );
            return Err(InferError::Model(text));
        }
        let spec = configuration.architecture.resolve()?;
        if spec.dims != configuration.patch_size.len() {
            let (dims, patch) = (spec.dims, &configuration.patch_size);
            return Err(InferError::Model(format!(
                "its network has {dims} dimensions, its patch size is {patch:?}"
            )));
        }
        Ok(Self { configuration, rules: dataset.label_rules()?, channels: dataset.channel_names.len(), spec })
    }

    /// The network that the configuration names, with these weights.
    fn network(&self, weights: &HashMap<String, Tensor>, device: &Device) -> Result<UNet, NnError> {
        let heads = self.rules.num_heads();
        let parameters = Parameters::new(&self.spec, self.channels, heads, 0, device)?;
        parameters.load(weights)?;
        UNet::new(&self.spec, self.channels, heads, &parameters)
    }
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
