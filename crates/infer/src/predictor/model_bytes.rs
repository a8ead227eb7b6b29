use nnunet_fingerprint::DatasetJson;
use nnunet_nn::checkpoint_from_bytes;
use nnunet_plan::Plans;

use candle_core::Device;

use super::Predictor;
use super::single::{configuration_alone, load};
use crate::{InferError, PredictorOptions};

/// The files of a model folder, in memory.
#[derive(Debug, Clone, Default)]
pub struct ModelBytes {
    /// `plans.json`.
    pub plans: Vec<u8>,
    /// `dataset.json`.
    pub dataset: Vec<u8>,
    /// The checkpoint of each fold, `.safetensors` or `.pth`, with a name for errors.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Name of the configuration, for checkpoints that do not tell; not needed if the plans have one alone.
    pub configuration: Option<String>,
}

impl Predictor {
    /// As [`Predictor::open`], from files in memory: where there is no file system, or the model is part of the program.
    ///
    /// # Errors
    /// Bytes that are not what they should be, weights that do not fit the plans, or options out of range.
    pub fn from_bytes(
        model: ModelBytes,
        options: PredictorOptions,
        device: Device,
    ) -> Result<Self, InferError> {
        options.check()?;
        let dataset = DatasetJson::from_bytes(&model.dataset)?;
        let plans = Plans::from_bytes(&model.plans)?;
        let name = model.configuration.or_else(|| configuration_alone(&plans));
        let checkpoints = model
            .checkpoints
            .into_iter()
            .map(|(name, bytes)| Ok(checkpoint_from_bytes(std::path::Path::new(&name), bytes)?));
        load(plans, dataset, name, checkpoints, options, &device)
    }
}
