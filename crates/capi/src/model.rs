//! Models.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};

use candle_core::Device;
use nnunet_infer::{InferError, ModelBytes, Predictor, PredictorOptions};

use crate::edge::{Failure, Status, call, path, target, values};
use crate::handles::Handles;
use crate::options::{Checked, Options, checked};

/// A trained model that stays loaded. Several threads may use it at a time.
#[derive(Debug)]
pub struct Model {
    _opaque: (),
}

pub(crate) static MODELS: Handles<Loaded> = Handles::new("model");

/// What a handle of a model stands for.
pub(crate) struct Loaded {
    pub(crate) predictor: Predictor,
    pool: Option<rayon::ThreadPool>,
    description: CString,
}

impl Loaded {
    fn new(
        options: Checked,
        open: impl FnOnce(PredictorOptions) -> Result<Predictor, InferError> + Send,
    ) -> Result<Self, Failure> {
        let pool = pool(options.threads)?;
        let predictor = within(pool.as_ref(), || open(options.predictor)).map_err(Failure::model)?;
        let description = CString::new(describe(&predictor)).unwrap_or_default();
        Ok(Self { predictor, pool, description })
    }

    /// Runs on the model's own threads, if it has some.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce(&Predictor) -> T + Send) -> T {
        within(self.pool.as_ref(), || work(&self.predictor))
    }
}

fn within<T: Send>(pool: Option<&rayon::ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

fn pool(threads: usize) -> Result<Option<rayon::ThreadPool>, Failure> {
    if threads == 0 || cfg!(target_arch = "wasm32") {
        return Ok(None);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map(Some).map_err(|e| Failure { status: Status::Internal, text: format!("{threads} threads: {e}") })
}

/// What a program may want to show or check, as JSON.
fn describe(predictor: &Predictor) -> String {
    let (dataset, plans) = (predictor.dataset(), predictor.plans());
    let configuration = plans.configuration(predictor.configuration_name()).ok();
    serde_json::json!({
        "dataset": plans.dataset_name,
        "configuration": predictor.configuration_name(),
        "channels": dataset.channel_names.values().collect::<Vec<_>>(),
        "labels": predictor.label_rules().names(),
        "classes": predictor.label_rules().num_heads(),
        "patch_size": configuration.as_ref().map(|c| c.patch_3d()),
        "spacing": configuration.as_ref().map(|c| &c.spacing),
        "file_ending": dataset.file_ending,
    })
    .to_string()
}

/// Loads a model folder in nnU-Net's layout, with the final checkpoints of all its folds.
///
/// `options` may be null for nnU-Net's defaults. `model` is to be freed with `nnunet_model_free`.
///
/// # Safety
/// `folder` is null or text in UTF-8 that ends with a zero; `options` is null or can be read; `model` is null or can be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_model_open(
    folder: *const c_char,
    options: *const Options,
    model: *mut *mut Model,
) -> Status {
    call(|| {
        // SAFETY: the caller's.
        let (folder, options, model) =
            unsafe { (path(folder, "folder")?, checked(options)?, target(model, "model")?) };
        *model = std::ptr::null_mut();
        let open = |options| Predictor::open(&folder, None, None, options, Device::Cpu);
        *model = MODELS.add(Loaded::new(options, open)?);
        Ok(())
    })
}

/// Loads a model from the bytes of its files: `plans.json`, `dataset.json` and one checkpoint, `.safetensors` or `.pth`.
///
/// The bytes are copied. `options` may be null for nnU-Net's defaults. `model` is to be freed with `nnunet_model_free`.
///
/// # Safety
/// Each pointer to bytes is null or can be read for the length behind it; `options` is null or can be read; `model` is null
/// or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_model_from_bytes(
    plans: *const u8,
    plans_length: usize,
    dataset: *const u8,
    dataset_length: usize,
    checkpoint: *const u8,
    checkpoint_length: usize,
    options: *const Options,
    model: *mut *mut Model,
) -> Status {
    call(|| {
        // SAFETY: the caller's.
        let (plans, dataset, checkpoint, options, model) = unsafe {
            (
                values(plans, plans_length, "plans")?.to_vec(),
                values(dataset, dataset_length, "dataset")?.to_vec(),
                values(checkpoint, checkpoint_length, "checkpoint")?.to_vec(),
                checked(options)?,
                target(model, "model")?,
            )
        };
        *model = std::ptr::null_mut();
        let checkpoints = vec![("checkpoint".to_owned(), checkpoint)];
        let files = ModelBytes { plans, dataset, checkpoints, configuration: None };
        let open = |options| Predictor::from_bytes(files, options, Device::Cpu);
        *model = MODELS.add(Loaded::new(options, open)?);
        Ok(())
    })
}

/// Number of channels that the model's images have.
///
/// # Safety
/// `channels` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_model_channels(model: *const Model, channels: *mut usize) -> Status {
    call(|| {
        let model = MODELS.get(model)?;
        // SAFETY: the caller's.
        *unsafe { target(channels, "channels") }? = model.predictor.dataset().channel_names.len();
        Ok(())
    })
}

/// What the model is, as JSON: names of `dataset`, `configuration`, `channels` and `labels` with their values, the number of
/// `classes` that probabilities are given for, `patch_size` (z, y, x) and `spacing` in millimetres.
///
/// The text belongs to the model and is freed with it.
///
/// # Safety
/// `json` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_model_describe(model: *const Model, json: *mut *const c_char) -> Status {
    call(|| {
        let model = MODELS.get(model)?;
        // SAFETY: the caller's.
        *unsafe { target(json, "json") }? = model.description.as_ptr();
        Ok(())
    })
}

/// Frees a model; predictions that are on their way end as usual. Null is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_model_free(model: *mut Model) -> Status {
    call(|| MODELS.remove(model))
}
