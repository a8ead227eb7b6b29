//! DICOM series through a model.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array4, ArrayView4, Axis};
use nnunet_fingerprint::{Class, DatasetJson, json};
use nnunet_image::{
    DicomFolder, DicomSelector, DicomSeries, DicomSource, Geometry, ImageError, LabelMap, Progress,
    SegOptions, dicom_seg_step, place_labels, read_dicom_seg, reader_by_name, write_dicom_rtstruct,
    write_dicom_seg, write_dicom_seg_steps,
};
use nnunet_infer::{BatchOptions, CaseInput, CaseSink, InferError, Predictor};

use super::segments::Terms;
use super::{DicomOutput, DicomPredictRequest};
use crate::predicting::{arguments, cases, open};
use crate::project::create_folder;
use crate::{Error, LabelTable, PredictReport, PredictRequest, embed_label_table};

/// A study and the series of its channels.
struct Case {
    name: String,
    files: Vec<Vec<PathBuf>>,
}

/// Whether the input is one folder without cases for the model, in which or below which DICOM series lie.
pub fn holds_dicom(request: &PredictRequest) -> bool {
    let [folder] = request.inputs.as_slice() else { return false };
    let Ok(dataset) = DatasetJson::read(&request.model.join("dataset.json")) else { return false };
    folder.is_dir()
        && cases(&request.inputs, &dataset.file_ending).is_err()
        // What is wrong with a series is told when it is to be predicted.
        && DicomFolder::any_below(folder).unwrap_or(true)
}

/// Predicts DICOM series: one case per study of a folder, named after the folder that its series lies in.
///
/// # Errors
/// The model cannot be loaded or was made for pictures, the folder holds no series, or output cannot be written. A study that has
/// not the series that are asked for, or whose series cannot be read, does not stop the others; it is in the report.
pub fn predict_dicom(
    request: &DicomPredictRequest,
    log: &dyn Fn(&str),
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<PredictReport, Error> {
    let asked = &request.predict;
    if asked.num_parts == 0 || asked.part_id >= asked.num_parts {
        return Err(Error::Invalid("DICOM series: the part must be below the number of parts".to_owned()));
    }
    if request.fractional && !request.outputs.contains(&DicomOutput::Seg) {
        return Err(Error::Invalid("fractional segmentations come with DICOM SEG output alone".to_owned()));
    }
    let folds = (!asked.folds.is_empty()).then_some(asked.folds.as_slice());
    let checkpoint = asked.checkpoint.as_deref();
    let predictor = open(&asked.model, folds, checkpoint, asked.options.clone(), &asked.device, log)?;
    check_model(&predictor, asked)?;
    let mut report = PredictReport { predicted: 0, failed: Vec::new() };
    let channels = predictor.dataset().channel_names.len();
    let mut cases = studies(&asked.inputs, &request.series, channels, &mut report)?;
    cases = cases.into_iter().skip(asked.part_id).step_by(asked.num_parts).collect();
    let writer = Writer::new(&predictor, request)?;
    create_folder(&asked.output)?;
    for name in ["dataset.json", "plans.json"] {
        let value: serde_json::Value = json::read(&asked.model.join(name))?;
        json::write(&asked.output.join(name), &value)?;
    }
    json::write(&asked.output.join("predict_from_raw_data_args.json"), &arguments(asked))?;
    run(&predictor, &cases, asked, &writer, &mut report, progress);
    Ok(report)
}

fn check_model(predictor: &Predictor, asked: &PredictRequest) -> Result<(), Error> {
    let reader = &predictor.plans().image_reader_writer;
    if ["Tiff3DIO", "NaturalImage2DIO"].contains(&reader.as_str()) {
        return Err(Error::Invalid(format!(
            "DICOM series: the model reads images with {reader}, not of patients"
        )));
    }
    match (predictor.previous_stage(), &asked.previous_stage) {
        (Some(previous), None) => {
            let previous = previous.to_owned();
            let configuration = predictor.configuration_name().to_owned();
            Err(InferError::PreviousStage { configuration, previous }.into())
        }
        _ => Ok(()),
    }
}

/// Reads, predicts and writes cases.
fn run(
    predictor: &Predictor,
    cases: &[Case],
    asked: &PredictRequest,
    writer: &Writer<'_>,
    report: &mut PredictReport,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) {
    let options = BatchOptions {
        save_probabilities: asked.save_probabilities,
        probabilities_as_nifti: asked.probabilities_as_nifti,
        keep_existing: asked.keep_existing,
        cancel: asked.cancel.clone(),
        ..BatchOptions::default()
    };
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let input = |number: usize| -> Result<CaseInput, InferError> {
        let Case { name, files } = &cases[number];
        let previous = match &asked.previous_stage {
            Some(folder) => Some(previous(folder, name, &predictor.dataset().file_ending)?),
            None => None,
        };
        let (input, source) = predictor.dicom_input(files, previous)?;
        writer.expect(name, source, &input.image.geometry);
        Ok(input)
    };
    let take = |name: &str, slab: ArrayView4<'_, f32>| {
        writer.take(name, slab);
        Ok(())
    };
    let sink = CaseSink {
        labels: &|name, labels| writer.write(name, &labels),
        probabilities: if writer.fractional { Some(&take) } else { None },
        exists: &|name| writer.files(name).iter().all(|file| file.is_file()),
    };
    let results = predictor.predict_inputs(&names, &input, &asked.output, &options, &sink, progress);
    for (case, result) in cases.iter().zip(results) {
        match result {
            Ok(()) => report.predicted += 1,
            Err(error) => report.failed.push((case.name.clone(), error.into())),
        }
    }
}

/// The previous stage's segmentation of a case: an image in the model's format or NIfTI, or a DICOM SEG file.
fn previous(folder: &Path, name: &str, ending: &str) -> Result<LabelMap, InferError> {
    let file = |ending: &str| folder.join(format!("{name}{ending}"));
    for ending in [ending, ".nii.gz"] {
        if file(ending).is_file() {
            return Ok(reader_by_name("SimpleITKIO")?.read_labels(&file(ending))?);
        }
    }
    if file(".dcm").is_file() {
        return Ok(read_dicom_seg(&file(".dcm"))?.to_labels()?);
    }
    let reason =
        "not found, nor the same as .dcm; the previous stage's segmentation of the case should be there";
    Err(ImageError::Format { path: file(".nii.gz"), reason: reason.to_owned() }.into())
}

/// What is known of a case that is on its way.
struct Waiting {
    source: DicomSource,
    /// The grid of the case as the model sees it.
    geometry: Geometry,
    /// Probabilities in steps of 1/255, one list per channel that is written.
    steps: Vec<Vec<u8>>,
}

/// Writes what comes of cases.
struct Writer<'a> {
    request: &'a DicomPredictRequest,
    fractional: bool,
    /// The labels as segments, and channels of the network as segments.
    segments: SegOptions,
    fractions: (Vec<usize>, SegOptions),
    /// What NIfTI files say of their labels.
    table: Option<LabelTable>,
    waiting: Mutex<HashMap<String, Waiting>>,
}

impl<'a> Writer<'a> {
    fn new(predictor: &Predictor, request: &'a DicomPredictRequest) -> Result<Self, Error> {
        let rules = predictor.label_rules();
        let terms = Terms::read(Some(predictor.dataset()), request.codes.as_deref())?;
        let labels = rules.regions_class_order().unwrap_or(rules.foreground_labels());
        let mut segments: Vec<_> =
            labels.iter().filter(|&&label| label > 0).map(|&label| terms.of(label)).collect();
        segments.sort_by_key(|segment| segment.label);
        segments.dedup_by_key(|segment| segment.label);
        // Regions have a channel each, exclusive labels one after that of the background.
        let first = usize::from(!rules.has_regions());
        let classes: &[Class] = rules.foreground_classes();
        let of_channels = (1..).zip(classes).map(|(number, class)| terms.of_class(class, number)).collect();
        let mut fractions = SegOptions::new(of_channels);
        fractions.description = "Segmentation probabilities".to_owned();
        fractions.number += 1;
        let table = request.codes.as_ref().map(|_| LabelTable::new(rules, terms.mapping()));
        Ok(Self {
            request,
            fractional: request.fractional,
            segments: SegOptions::new(segments),
            fractions: ((first..first + classes.len()).collect(), fractions),
            table,
            waiting: Mutex::default(),
        })
    }

    fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.request.predict.output.join(format!("{name}{ending}"))
    }

    /// All files of a case but those of its probabilities that [`Predictor`] writes.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        let ending = |&output: &DicomOutput| match output {
            DicomOutput::Nifti => ".nii.gz",
            DicomOutput::Seg => ".dcm",
            DicomOutput::Structures => "_rtstruct.dcm",
        };
        let mut endings: Vec<&str> = self.request.outputs.iter().map(ending).collect();
        endings.extend(self.fractional.then_some("_probabilities.dcm"));
        endings.into_iter().map(|ending| self.file(name, ending)).collect()
    }

    fn expect(&self, name: &str, source: DicomSource, geometry: &Geometry) {
        let steps = vec![Vec::new(); self.fractions.0.len()];
        let waiting = Waiting { source, geometry: geometry.clone(), steps };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), waiting);
    }

    fn take(&self, name: &str, slab: ArrayView4<'_, f32>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = waiting.get_mut(name) else { return };
        for (&channel, steps) in self.fractions.0.iter().zip(&mut waiting.steps) {
            let values = slab.index_axis(Axis(0), channel);
            steps.extend(values.iter().map(|&p| dicom_seg_step(p)));
        }
    }

    /// The segmentation comes last, so that where it is, all is.
    fn write(&self, name: &str, labels: &LabelMap) -> Result<(), InferError> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(Waiting { source, geometry, steps }) = waiting else { return Ok(()) };
        if self.fractional {
            let (z, y, x) = labels.data.dim();
            let path = self.file(name, "_probabilities.dcm");
            let all = Array4::from_shape_vec((steps.len(), z, y, x), steps.concat());
            let all =
                all.map_err(|error| ImageError::Format { path: path.clone(), reason: error.to_string() })?;
            write_dicom_seg_steps(&path, all.view(), &geometry, &source, &self.fractions.1)?;
        }
        let labels = place_labels(labels, source.geometry(), source.shape())?;
        for &output in &self.request.outputs {
            match output {
                DicomOutput::Nifti => {
                    let path = self.file(name, ".nii.gz");
                    reader_by_name("SimpleITKIO")?.write_labels(&path, &labels)?;
                    if let Some(table) = &self.table {
                        embed_label_table(&path, table)
                            .map_err(|error| ImageError::Format { path, reason: error.to_string() })?;
                    }
                }
                DicomOutput::Seg => {
                    write_dicom_seg(&self.file(name, ".dcm"), &labels, &source, &self.segments)?;
                }
                DicomOutput::Structures => {
                    let path = self.file(name, "_rtstruct.dcm");
                    write_dicom_rtstruct(&path, &labels, &source, &self.segments)?;
                }
            }
        }
        Ok(())
    }
}

/// The series of each study; studies that lack them, or have broken files beside them, are failures.
fn studies(
    inputs: &[PathBuf],
    series: &[DicomSelector],
    channels: usize,
    report: &mut PredictReport,
) -> Result<Vec<Case>, Error> {
    let [folder] = inputs else {
        return Err(Error::Invalid(format!(
            "DICOM series: expected one folder, found {} inputs",
            inputs.len()
        )));
    };
    let wanted: Vec<Option<&DicomSelector>> =
        if series.is_empty() { vec![None] } else { series.iter().map(Some).collect() };
    if wanted.len() != channels {
        let found = wanted.len();
        return Err(Error::Invalid(format!(
            "the model has {channels} channels, {found} series are asked for"
        )));
    }
    let found = DicomFolder::read_below(folder)?;
    let mut studies = BTreeMap::<String, Vec<DicomSeries>>::new();
    for series in &found.series {
        studies.entry(series.study.clone()).or_default().push(series.clone());
    }
    if studies.is_empty() && found.broken.is_empty() {
        return Err(Error::Invalid(format!("{}: there is no DICOM series in this folder", folder.display())));
    }
    let mut cases: Vec<Case> = Vec::new();
    for list in studies.values() {
        let place = |series: &DicomSeries| series.files.first().and_then(|f| f.parent()).map(Path::to_owned);
        let chosen: Result<Vec<&DicomSeries>, _> =
            wanted.iter().map(|wanted| DicomSeries::choose(list, *wanted, folder)).collect();
        let first = chosen.as_ref().ok().and_then(|list| list.first().copied()).or(list.first());
        let name = name(folder, first.and_then(place), &cases);
        let whole = chosen.and_then(|chosen| {
            let broken = chosen.iter().find_map(|series| found.broken_beside(&series.files));
            broken.map_or(Ok(chosen), Err)
        });
        match whole {
            Ok(chosen) => cases.push(Case { name, files: chosen.iter().map(|s| s.files.clone()).collect() }),
            Err(error) => report.failed.push((name, error.into())),
        }
    }
    // Where nothing can be read there is no study that a broken file could belong to.
    for (path, error) in found.broken {
        let beside = |series: &DicomSeries| series.files.iter().any(|file| file.parent() == path.parent());
        if !found.series.iter().any(beside) {
            let name = name(folder, path.parent().map(Path::to_owned), &cases);
            if report.failed.iter().all(|(other, _)| *other != name) {
                report.failed.push((name, error.into()));
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// The folder of a series below `folder` as a name, or that of `folder` itself; with a number where it is taken.
fn name(folder: &Path, place: Option<PathBuf>, taken: &[Case]) -> String {
    let parts = |path: &Path| {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        parts.join("_")
    };
    let below = place.as_deref().and_then(|place| place.strip_prefix(folder).ok()).map(parts);
    let own = || folder.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned());
    let base = below.filter(|name| !name.is_empty()).or_else(own).unwrap_or_else(|| "case".to_owned());
    let free = |name: &String| taken.iter().all(|case| case.name != *name);
    let numbered = (2..).map(|number| format!("{base}_{number}"));
    std::iter::once(base.clone()).chain(numbered).find(free).unwrap_or(base)
}
