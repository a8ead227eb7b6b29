//! DICOM series through a model, and to and from other files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nnunet_fingerprint::{DatasetJson, json};
use nnunet_image::{
    AxisCode, DicomSegment, DicomSelector, DicomSeries, DicomSource, Image, ImageError, LabelMap, Progress,
    SegOptions, dicom_series_below, place_labels, read_dicom_seg, read_dicom_source, read_dicom_volume,
    reader_by_name, reorient_image, segment_terms, write_dicom_seg, write_image,
};
use nnunet_infer::{CaseInput, InferError, Predictor, PredictorOptions};
use nnunet_nn::{Compute, device};

use crate::predicting::{arguments, cases};
use crate::{Error, PredictReport, PredictRequest, project::create_folder};

/// What is written about a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DicomOutput {
    /// `<case>.nii.gz`.
    Nifti,
    /// `<case>.dcm`, a DICOM SEG file.
    Seg,
}

/// Which series to segment and what to write about them.
#[derive(Debug, Clone)]
pub struct DicomPredictRequest {
    /// Model and options; its input is one folder with DICOM series, itself or below.
    pub predict: PredictRequest,
    /// The series of each study, one per channel of the model in order; none if every study has one image series alone.
    pub series: Vec<DicomSelector>,
    /// What is written.
    pub outputs: Vec<DicomOutput>,
    /// Coded terms per label; see [`segment_terms`].
    pub codes: Option<PathBuf>,
}

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
        && dicom_series_below(folder).map_or(true, |list| !list.is_empty())
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
    let lacking = [
        (asked.save_probabilities || asked.probabilities_as_nifti, "probabilities are not written"),
        (asked.previous_stage.is_some(), "the second stage of a cascade is not run"),
        (
            asked.num_parts == 0 || asked.part_id >= asked.num_parts,
            "the part must be below the number of parts",
        ),
    ];
    if let Some((_, what)) = lacking.iter().find(|(lacking, _)| *lacking) {
        return Err(Error::Invalid(format!("DICOM series: {what}")));
    }
    let Compute { device, accelerator, message } = device(&asked.device)?;
    log(&message);
    let folds = (!asked.folds.is_empty()).then_some(asked.folds.as_slice());
    let options = PredictorOptions { accelerator, ..asked.options.clone() };
    let predictor = Predictor::open(&asked.model, folds, asked.checkpoint.as_deref(), options, device)?;
    let reader = &predictor.plans().image_reader_writer;
    if ["Tiff3DIO", "NaturalImage2DIO"].contains(&reader.as_str()) {
        return Err(Error::Invalid(format!(
            "DICOM series: the model reads images with {reader}, not of patients"
        )));
    }
    let segments = segments(&predictor, request.codes.as_deref())?;
    let mut report = PredictReport { predicted: 0, failed: Vec::new() };
    let channels = predictor.dataset().channel_names.len();
    let mut cases = studies(&asked.inputs, &request.series, channels, &mut report)?;
    cases = cases.into_iter().skip(asked.part_id).step_by(asked.num_parts).collect();
    create_folder(&asked.output)?;
    for name in ["dataset.json", "plans.json"] {
        let value: serde_json::Value = json::read(&asked.model.join(name))?;
        json::write(&asked.output.join(name), &value)?;
    }
    json::write(&asked.output.join("predict_from_raw_data_args.json"), &arguments(asked))?;
    let file = |name: &str, output: DicomOutput| {
        let ending = if output == DicomOutput::Nifti { "nii.gz" } else { "dcm" };
        asked.output.join(format!("{name}.{ending}"))
    };
    if asked.keep_existing {
        cases.retain(|case| !request.outputs.iter().all(|&output| file(&case.name, output).is_file()));
    }
    run(&predictor, &cases, asked, progress, &mut report, &|name, labels, source| {
        for &output in &request.outputs {
            match output {
                DicomOutput::Nifti => {
                    reader_by_name("SimpleITKIO")?.write_labels(&file(name, output), labels)?
                }
                DicomOutput::Seg => {
                    let options = SegOptions::new(segments.clone());
                    write_dicom_seg(&file(name, output), labels, source, &options)?;
                }
            }
        }
        Ok(())
    });
    Ok(report)
}

type Write<'a> = &'a (dyn Fn(&str, &LabelMap, &DicomSource) -> Result<(), Error> + Sync);

/// Reads, predicts and writes cases.
fn run(
    predictor: &Predictor,
    cases: &[Case],
    asked: &PredictRequest,
    progress: &(dyn Fn(Progress<'_>) + Sync),
    report: &mut PredictReport,
    write: Write<'_>,
) {
    let turn = predictor.plans().image_reader_writer.ends_with("WithReorient");
    let sources = Mutex::new(HashMap::<String, DicomSource>::new());
    let images = cases.iter().map(|case| {
        let input = image(&case.files).and_then(|(image, source)| {
            let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.insert(case.name.clone(), source);
            let image = if turn { reorient_image(image, AxisCode::RAS)? } else { image };
            Ok(CaseInput { cancel: asked.cancel.clone(), ..CaseInput::from(image) })
        });
        (case.name.clone(), input)
    });
    let mut done = 0;
    predictor.predict_each(images, false, &mut |name, result| {
        let source = sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let written = result.map_err(Error::from).and_then(|prediction| {
            let Some(source) = source else { return Ok(()) };
            let labels = place_labels(&prediction.labels, source.geometry(), source.shape())?;
            write(&name, &labels, &source)
        });
        match written {
            Ok(()) => report.predicted += 1,
            Err(error) => report.failed.push((name.clone(), error)),
        }
        done += 1;
        progress(Progress { done, total: cases.len(), item: &name });
    });
}

/// The channels of a case as one image.
fn image(channels: &[Vec<PathBuf>]) -> Result<(Image, DicomSource), InferError> {
    let mut volumes = channels.iter().map(|files| Ok((files, read_dicom_volume(files)?)));
    let Some(first) = volumes.next() else { return Err(InferError::NoNetwork) };
    let (files, first) = first.map_err(|error: ImageError| error)?;
    let mut image = first.image;
    for volume in volumes {
        let (other, volume) = volume.map_err(|error: ImageError| error)?;
        let (a, b) = (&image.geometry, &volume.image.geometry);
        let same = volume.source.shape() == first.source.shape() && a.same_spacing(b) && a.same_frame(b);
        if let (false, Some(file), Some(expected)) = (same, other.first(), files.first()) {
            let reason = format!("the series has other voxels than that of {}", expected.display());
            return Err(ImageError::Format { path: file.clone(), reason }.into());
        }
        let joined = ndarray::concatenate(ndarray::Axis(0), &[image.data.view(), volume.image.data.view()]);
        if let Ok(data) = joined {
            image.data = data;
        }
    }
    Ok((image, first.source))
}

/// The series of each study; studies that lack them are failures.
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
    let mut studies = BTreeMap::<String, Vec<DicomSeries>>::new();
    for found in dicom_series_below(folder)? {
        studies.entry(found.study.clone()).or_default().push(found);
    }
    if studies.is_empty() {
        return Err(Error::Invalid(format!("{}: there is no DICOM series in this folder", folder.display())));
    }
    let mut cases: Vec<Case> = Vec::new();
    for list in studies.values() {
        let place = |series: &DicomSeries| series.files.first().and_then(|f| f.parent()).map(Path::to_owned);
        let chosen: Result<Vec<&DicomSeries>, _> =
            wanted.iter().map(|wanted| DicomSeries::choose(list, *wanted, folder)).collect();
        let first = chosen.as_ref().ok().and_then(|list| list.first().copied()).or(list.first());
        let name = name(folder, first.and_then(place), &cases);
        match chosen {
            Ok(chosen) => cases.push(Case { name, files: chosen.iter().map(|s| s.files.clone()).collect() }),
            Err(error) => report.failed.push((name, error.into())),
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

/// The labels that a model writes, with the terms of a file where it has them.
fn segments(predictor: &Predictor, codes: Option<&Path>) -> Result<Vec<DicomSegment>, Error> {
    let rules = predictor.label_rules();
    let labels = rules.regions_class_order().unwrap_or(rules.foreground_labels());
    let terms = codes.map(segment_terms).transpose()?.unwrap_or_default();
    let names = &predictor.dataset().labels;
    let segment = |&label: &i16| {
        let known = terms.iter().find(|segment| segment.label == label);
        known.cloned().unwrap_or_else(|| {
            let named = names.iter().find(|(_, value)| value.labels() == [i64::from(label)]);
            let name = named.map_or_else(|| format!("label {label}"), |(name, _)| name.clone());
            DicomSegment::new(label, &name.chars().take(64).collect::<String>())
        })
    };
    let mut segments: Vec<DicomSegment> = labels.iter().filter(|&&label| label > 0).map(segment).collect();
    segments.sort_by_key(|segment| segment.label);
    Ok(segments)
}

fn chosen(folder: &Path, series: Option<&DicomSelector>) -> Result<Vec<PathBuf>, Error> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    Ok(DicomSeries::choose(&dicom_series_below(folder)?, series, folder)?.files.clone())
}

/// Writes a DICOM series as an image file.
///
/// # Errors
/// No or several such series in the folder or below, or one that cannot be read; an output that cannot be written.
pub fn dicom_to_image(folder: &Path, series: Option<&DicomSelector>, output: &Path) -> Result<(), Error> {
    let volume = read_dicom_volume(&chosen(folder, series)?)?;
    Ok(write_image(output, &volume.image)?)
}

/// Writes a segmentation as a DICOM SEG file about a series. Labels without a term get a plain one.
///
/// # Errors
/// As [`dicom_to_image`], or labels with other voxels than the series.
pub fn labels_to_seg(
    labels: &Path,
    folder: &Path,
    series: Option<&DicomSelector>,
    codes: Option<&Path>,
    output: &Path,
) -> Result<(), Error> {
    let source = read_dicom_source(&chosen(folder, series)?)?;
    let labels = reader_by_name("SimpleITKIO")?.read_labels(labels)?;
    let mut segments = codes.map(segment_terms).transpose()?.unwrap_or_default();
    let present: std::collections::BTreeSet<i16> =
        labels.data.iter().copied().filter(|&label| label > 0).collect();
    for label in present {
        if segments.iter().all(|segment| segment.label != label) {
            segments.push(DicomSegment::new(label, &format!("label {label}")));
        }
    }
    if segments.is_empty() {
        segments.push(DicomSegment::new(1, "label 1"));
    }
    segments.sort_by_key(|segment| segment.label);
    Ok(write_dicom_seg(output, &labels, &source, &SegOptions::new(segments))?)
}

/// Writes a DICOM SEG file as a segmentation on the grid of a series, or on the smallest that holds it. With `dataset`, segments
/// have the labels that `dataset.json` gives their names; otherwise labels are segment numbers.
///
/// # Errors
/// Files that cannot be read, segments of other voxels or, with `dataset`, of another name.
pub fn seg_to_labels(
    seg: &Path,
    series: Option<(&Path, Option<&DicomSelector>)>,
    dataset: Option<&Path>,
    output: &Path,
) -> Result<(), Error> {
    let mut read = read_dicom_seg(seg)?;
    if let Some(dataset) = dataset {
        let names = DatasetJson::read(dataset)?.labels;
        for segment in &mut read.segments {
            let value = names.get(&segment.name).and_then(|value| match value.labels() {
                [label] => i16::try_from(*label).ok(),
                _ => None,
            });
            segment.label = value.ok_or_else(|| {
                let name = &segment.name;
                let known: Vec<&str> = names.keys().map(String::as_str).collect();
                let place = "(0062,0005) Segment Label";
                Error::Invalid(format!("{}: {place}: {name:?} is none of {known:?}", seg.display()))
            })?;
        }
    }
    let labels = match series {
        Some((folder, series)) => {
            let source = read_dicom_source(&chosen(folder, series)?)?;
            read.to_labels_on(source.geometry(), source.shape())?
        }
        None => read.to_labels()?,
    };
    Ok(reader_by_name("SimpleITKIO")?.write_labels(output, &labels)?)
}
