//! Prediction and evaluation of folders, and single cases through the preprocessing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nnunet_fingerprint::{DatasetJson, Fingerprint, Fold, json, list_cases};
use nnunet_image::npz::{NpzArray, write_npz};
use nnunet_image::{Progress, reader_by_name, reader_for};
use nnunet_infer::{
    BatchOptions, CancelToken, ExtendedOptions, ExtendedSummary, InferError, Predictor, PredictorOptions,
    Summary, evaluate_folder, evaluate_folder_extended,
};
use nnunet_nn::{Compute, DeviceSpec, NnError, device};
use nnunet_plan::{Choice, PlannerOptions, Plans, explain_plans, plan_experiment};

use crate::{Error, project::create_folder};

/// What to predict, with which model, and where to.
#[derive(Debug, Clone)]
pub struct PredictRequest {
    /// One folder, or files named `CASE_0000.nii.gz`, `CASE_0001.nii.gz`, ….
    pub inputs: Vec<PathBuf>,
    /// Folder for the segmentations.
    pub output: PathBuf,
    /// Model folder in nnU-Net's layout.
    pub model: PathBuf,
    /// Folds to average; empty for all that are there.
    pub folds: Vec<Fold>,
    /// Name of the checkpoint; `checkpoint_final` if none.
    pub checkpoint: Option<String>,
    /// Sliding window, mirroring and accumulation.
    pub options: PredictorOptions,
    /// Where the network runs.
    pub device: DeviceSpec,
    /// Write the probabilities, too.
    pub save_probabilities: bool,
    /// Write the probabilities as one NIfTI image per channel.
    pub probabilities_as_nifti: bool,
    /// Leave cases alone whose segmentation exists.
    pub keep_existing: bool,
    /// Folder with the segmentations of the previous stage, for the second stage of a cascade.
    pub previous_stage: Option<PathBuf>,
    /// Accept channels whose files say that they lie elsewhere than the first one.
    pub allow_misplaced_channels: bool,
    /// Ends the predictions early.
    pub cancel: CancelToken,
    /// Among how many runs the cases are shared.
    pub num_parts: usize,
    /// Which share this run takes, from 0.
    pub part_id: usize,
}

impl PredictRequest {
    /// All cases of `inputs` with the final checkpoints of all folds of `model`, with nnU-Net's defaults.
    pub fn new(inputs: &[PathBuf], model: &Path, output: &Path) -> Self {
        Self {
            inputs: inputs.to_vec(),
            output: output.to_owned(),
            model: model.to_owned(),
            folds: Vec::new(),
            checkpoint: None,
            options: PredictorOptions::default(),
            device: DeviceSpec::Auto,
            save_probabilities: false,
            probabilities_as_nifti: false,
            keep_existing: false,
            previous_stage: None,
            allow_misplaced_channels: false,
            cancel: CancelToken::new(),
            num_parts: 1,
            part_id: 0,
        }
    }
}

/// What a prediction gave.
#[derive(Debug)]
pub struct PredictReport {
    /// Cases predicted.
    pub predicted: usize,
    /// Cases that failed, each with its error; the others were predicted all the same.
    pub failed: Vec<(String, Error)>,
}

/// Opens a model on a device; where `auto` found one that the network cannot run on, on the CPU.
pub(crate) fn open(
    model: &Path,
    folds: Option<&[Fold]>,
    checkpoint: Option<&str>,
    options: PredictorOptions,
    spec: &DeviceSpec,
    log: &dyn Fn(&str),
) -> Result<Predictor, Error> {
    let Compute { device, accelerator, message } = device(spec)?;
    let picked = accelerator.is_some() && *spec == DeviceSpec::Auto;
    let options = PredictorOptions { accelerator, ..options };
    match Predictor::open(model, folds, checkpoint, options.clone(), device.clone()) {
        Err(InferError::Network(error)) if picked && matches!(*error, NnError::HostOnly(_)) => {
            log(&format!("running on the CPU: {error}"));
            let options = PredictorOptions { accelerator: None, ..options };
            Ok(Predictor::open(model, folds, checkpoint, options, device)?)
        }
        opened => {
            log(&message);
            Ok(opened?)
        }
    }
}

/// Predicts all cases of a folder or list of files.
///
/// # Errors
/// The model cannot be loaded, the input has no case, or the output folder cannot be written. A case that fails does
/// not stop the others; it is in the report.
pub fn predict(
    request: &PredictRequest,
    log: &dyn Fn(&str),
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<PredictReport, Error> {
    if request.num_parts == 0 || request.part_id >= request.num_parts {
        let (part, parts) = (request.part_id, request.num_parts);
        return Err(Error::Invalid(format!(
            "part {part} of {parts}: the part must be below the number of parts"
        )));
    }
    let dataset = DatasetJson::read(&request.model.join("dataset.json"))?;
    let cases = cases(&request.inputs, &dataset.file_ending)?;
    let folds = (!request.folds.is_empty()).then_some(request.folds.as_slice());
    let checkpoint = request.checkpoint.as_deref();
    let predictor = open(&request.model, folds, checkpoint, request.options.clone(), &request.device, log)?;
    if let (Some(previous), None) = (predictor.previous_stage(), &request.previous_stage) {
        let previous = previous.to_owned();
        let configuration = predictor.configuration_name().to_owned();
        return Err(InferError::PreviousStage { configuration, previous }.into());
    }
    create_folder(&request.output)?;
    let cases: Vec<_> = cases.into_iter().skip(request.part_id).step_by(request.num_parts).collect();
    let options = BatchOptions {
        save_probabilities: request.save_probabilities,
        probabilities_as_nifti: request.probabilities_as_nifti,
        keep_existing: request.keep_existing,
        previous_stage: request.previous_stage.clone(),
        allow_misplaced_channels: request.allow_misplaced_channels,
        cancel: request.cancel.clone(),
    };
    for name in ["dataset.json", "plans.json"] {
        let value: serde_json::Value = json::read(&request.model.join(name))?;
        json::write(&request.output.join(name), &value)?;
    }
    json::write(&request.output.join("predict_from_raw_data_args.json"), &arguments(request))?;
    let results = predictor.predict_files(&cases, &request.output, &options, progress);
    let mut report = PredictReport { predicted: 0, failed: Vec::new() };
    for (case, result) in results {
        match result {
            Ok(()) => report.predicted += 1,
            Err(error) => report.failed.push((case, error.into())),
        }
    }
    Ok(report)
}

/// What was asked for, as it is noted beside the predictions.
pub(crate) fn arguments(request: &PredictRequest) -> serde_json::Value {
    let folds: Vec<String> = request.folds.iter().map(|fold| fold.folder_name()).collect();
    serde_json::json!({
        "accumulator": format!("{:?}", request.options.accumulator).to_lowercase(),
        "checkpoint_name": request.checkpoint.as_deref().unwrap_or("checkpoint_final"),
        "device": request.device.to_string(),
        "folder_with_segs_from_prev_stage": request.previous_stage,
        "input": request.inputs,
        "model_folder": request.model,
        "num_parts": request.num_parts,
        "output_folder": request.output,
        "overwrite": !request.keep_existing,
        "part_id": request.part_id,
        "precision": request.options.precision.to_string(),
        "save_probabilities": request.save_probabilities,
        "tile_step_size": request.options.tile_step_size,
        "use_folds": folds,
        "use_mirroring": request.options.use_mirroring,
    })
}

/// Cases of one folder, or of files grouped by their names.
pub(crate) fn cases(inputs: &[PathBuf], ending: &str) -> Result<Vec<(String, Vec<PathBuf>)>, Error> {
    if let [folder] = inputs
        && folder.is_dir()
    {
        let cases = list_cases(folder, ending)?;
        if cases.iter().all(|(_, files)| files.is_empty()) {
            let expected = format!("{}: no file named CASE_0000{ending}", folder.display());
            // A folder of segmentations, say, has files with the ending and without a channel number.
            let other = std::fs::read_dir(folder).ok().and_then(|mut entries| {
                entries.find_map(|entry| {
                    entry.ok()?.file_name().into_string().ok().filter(|n| n.ends_with(ending))
                })
            });
            let text = other.map_or(expected.clone(), |name| format!("{expected}, only files like {name}"));
            return Err(Error::Invalid(text));
        }
        return Ok(cases);
    }
    let mut grouped = BTreeMap::<String, Vec<PathBuf>>::new();
    for file in inputs {
        if !file.is_file() {
            return Err(Error::Invalid(format!("{}: not a file", file.display())));
        }
        let id = case_id(file, ending).ok_or_else(|| {
            Error::Invalid(format!("{}: expected a name like CASE_0000{ending}", file.display()))
        })?;
        grouped.entry(id).or_default().push(file.clone());
    }
    grouped.values_mut().for_each(|files| files.sort());
    Ok(grouped.into_iter().collect())
}

/// `CASE_0000.nii.gz` → `CASE`.
fn case_id(file: &Path, ending: &str) -> Option<String> {
    let name = file.file_name()?.to_str()?.strip_suffix(ending)?;
    let (id, channel) = name.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|b| b.is_ascii_digit());
    (digits && !id.is_empty()).then(|| id.to_owned())
}

/// Scores a folder of predictions against a folder of references and writes the summary.
///
/// With `strict`, every reference must have a prediction.
///
/// # Errors
/// A missing or unreadable file, or shapes that differ.
pub fn evaluate(
    reference: &Path,
    prediction: &Path,
    dataset_json: &Path,
    strict: bool,
    output: &Path,
) -> Result<Summary, Error> {
    let dataset = DatasetJson::read(dataset_json)?;
    let reader = reader_for(&dataset.file_ending, None)?;
    let rules = dataset.label_rules()?;
    let summary =
        evaluate_folder(reference, prediction, &rules, reader.as_ref(), &dataset.file_ending, strict)?;
    json::write(output, &summary)?;
    Ok(summary)
}

/// Surface distances and lesion counts of a folder of predictions, written to `output`.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_extended(
    reference: &Path,
    prediction: &Path,
    dataset_json: &Path,
    options: &ExtendedOptions,
    output: &Path,
) -> Result<ExtendedSummary, Error> {
    let dataset = DatasetJson::read(dataset_json)?;
    let reader = reader_for(&dataset.file_ending, None)?;
    let rules = dataset.label_rules()?;
    let ending = &dataset.file_ending;
    let summary = evaluate_folder_extended(reference, prediction, &rules, reader.as_ref(), ending, options)?;
    json::write(output, &summary)?;
    Ok(summary)
}

/// Plans from the two files alone, with no images at hand.
///
/// # Errors
/// A file that cannot be read, or a fingerprint that nothing can be planned from.
pub fn plan_from_files(
    dataset_json: &Path,
    fingerprint: &Path,
    options: &PlannerOptions,
) -> Result<Plans, Error> {
    let dataset = DatasetJson::read(dataset_json)?;
    let fingerprint: Fingerprint = json::read(fingerprint)?;
    let mut options = options.clone();
    if options.image_reader_writer.is_empty() {
        options.image_reader_writer = reader_for(&dataset.file_ending, None)
            .map_or_else(|_| "SimpleITKIO".to_owned(), |reader| reader.name().to_owned());
    }
    Ok(plan_experiment(&fingerprint, &dataset, &options)?)
}

/// Why [`plan_from_files`] chooses what it does.
///
/// # Errors
/// As [`plan_from_files`].
pub fn explain_from_files(
    dataset_json: &Path,
    fingerprint: &Path,
    options: &PlannerOptions,
) -> Result<Vec<Choice>, Error> {
    let fingerprint: Fingerprint = json::read(fingerprint)?;
    Ok(explain_plans(&fingerprint, &DatasetJson::read(dataset_json)?, options)?)
}

/// Preprocesses one case (one file per channel) into an `.npz` with `data` (c, z, y, x; f32) and, if a segmentation is
/// given, `seg` (1, z, y, x; i16). Returns the shape of `data`.
///
/// # Errors
/// A file that cannot be read, or an image that does not fit plans or `dataset.json`.
pub fn preprocess_case_to_npz(
    plans: &Path,
    dataset_json: &Path,
    configuration: &str,
    images: &[PathBuf],
    segmentation: Option<&Path>,
    output: &Path,
) -> Result<[usize; 4], Error> {
    let plans = Plans::read(plans)?;
    let configuration = plans.configuration(configuration)?;
    let dataset = DatasetJson::read(dataset_json)?;
    let rules = dataset.label_rules()?;
    let expected = dataset.channel_names.len();
    if images.len() != expected {
        let text = format!("{} image files given, dataset.json names {expected} channels", images.len());
        return Err(Error::Invalid(text));
    }
    let reader = reader_by_name(&plans.image_reader_writer)?;
    let image = reader.read_images(images)?;
    let labels = segmentation.map(|path| reader.read_labels(path)).transpose()?;
    let with_labels = labels.is_some();
    let case = nnunet_preprocess::preprocess_case(image, labels, &plans, &configuration, &rules)?;
    let shape = case.data.dim();
    let mut arrays = vec![("data", NpzArray::F32(case.data.into_dyn()))];
    if with_labels {
        arrays.push(("seg", NpzArray::I16(case.seg.insert_axis(ndarray::Axis(0)).into_dyn())));
    }
    write_npz(output, &arrays)?;
    Ok(shape.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_names_lose_channel_and_ending() {
        assert_eq!(case_id(Path::new("/a/liver_7_0001.nii.gz"), ".nii.gz").as_deref(), Some("liver_7"));
        assert_eq!(case_id(Path::new("/a/liver_7.nii.gz"), ".nii.gz"), None);
        assert_eq!(case_id(Path::new("/a/liver_0000.nii"), ".nii.gz"), None);
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let error = cases(&[PathBuf::from("/nowhere/a_0000.nii.gz")], ".nii.gz").unwrap_err().to_string();
        assert!(error.contains("/nowhere/a_0000.nii.gz"), "{error}");
    }

    #[test]
    fn a_folder_of_segmentations_is_not_one_of_images() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [folder.path().to_owned()];
        let error = || cases(&inputs, ".nii.gz").unwrap_err().to_string();
        assert!(error().ends_with("no file named CASE_0000.nii.gz"), "{}", error());
        std::fs::write(folder.path().join("liver_7.nii.gz"), "").unwrap();
        assert!(error().ends_with("only files like liver_7.nii.gz"), "{}", error());
        std::fs::write(folder.path().join("liver_7_0000.nii.gz"), "").unwrap();
        assert!(cases(&inputs, ".nii.gz").is_ok());
    }
}
