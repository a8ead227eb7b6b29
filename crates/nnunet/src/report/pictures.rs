//! The best and the worst cases in three planes.

use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis};
use nnunet_fingerprint::Dataset;
use nnunet_image::{CaseReader, LabelMap, reader_by_name};

use super::ReportRequest;
use super::found::Model;
use super::html::{Page, number};
use super::scores::{Scored, scored};
use crate::Error;
use crate::plot::{label_colour, overlay_planes};

/// Shows the best and the worst cases and returns how many; what is missing is told in `left_out`.
pub(super) fn section(
    page: &mut Page,
    model: &Model,
    request: &ReportRequest,
    left_out: &mut Vec<String>,
) -> Result<usize, Error> {
    let mut cases: Vec<Scored<'_>> = scored(model).into_iter().filter(|case| !case.mean.is_nan()).collect();
    if cases.is_empty() || request.overlays == 0 {
        return Ok(0);
    }
    cases.sort_by(|a, b| a.mean.total_cmp(&b.mean).then_with(|| a.id.cmp(&b.id)));
    let reader = reader_by_name(&model.plans.image_reader_writer)?;
    let files = Files { model, raw: raw(model, request), request };
    let worst = request.overlays.min(cases.len());
    let best = request.overlays.min(cases.len() - worst);
    let mut drawn = 0;
    let mut missing = Vec::new();
    page.heading(3, "Worst and best cases");
    page.note(
        "Slices with the most reference, axial, coronal and sagittal: the reference above, the prediction below.",
    );
    key(page, model);
    let chosen = cases[..worst].iter().chain(cases[cases.len() - best..].iter().rev());
    page.begin_pictures();
    for case in chosen {
        match picture(&files, reader.as_ref(), case) {
            Ok((png, with_image)) => {
                let image = if with_image { "" } else { " (no image)" };
                let text = format!(
                    "{}, {}: Dice {}{image}",
                    case.id,
                    model.folds[case.fold].name,
                    number(case.mean)
                );
                page.picture(&png, &text);
                drawn += 1;
                if !with_image {
                    missing.push(case.id.clone());
                }
            }
            Err(error) => left_out.push(format!("{}: no picture of case {}: {error}", model.name, case.id)),
        }
    }
    page.end_pictures();
    if !missing.is_empty() {
        left_out.push(format!(
            "{}: images of {} not found below the raw folder (--raw): their pictures show labels alone",
            model.name,
            missing.join(", ")
        ));
    }
    Ok(drawn)
}

/// Colours of the labels that segmentations hold.
fn key(page: &mut Page, model: &Model) {
    let Ok(rules) = model.dataset.label_rules() else { return };
    let written: Vec<i16> = match rules.regions_class_order() {
        Some(order) => order.to_vec(),
        None => rules.foreground_labels().to_vec(),
    };
    let name = |label: i16| {
        let named = model.dataset.labels.iter().find(|(_, value)| value.labels() == [i64::from(label)]);
        named.map_or_else(|| format!("label {label}"), |(name, _)| name.clone())
    };
    let entries: Vec<(String, [u8; 3])> =
        written.iter().filter_map(|&label| Some((name(label), label_colour(label)?))).collect();
    page.key(&entries);
}

fn raw(model: &Model, request: &ReportRequest) -> Option<Dataset> {
    let folder = request.folders.raw.as_ref()?.join(&model.plans.dataset_name);
    Dataset::open(&folder).ok()
}

/// Where the files of a case may be.
struct Files<'a> {
    model: &'a Model,
    raw: Option<Dataset>,
    request: &'a ReportRequest,
}

impl Files<'_> {
    fn prediction(&self, case: &Scored<'_>) -> PathBuf {
        let name = format!("{}{}", case.id, self.model.dataset.file_ending);
        self.model.folds[case.fold].folder.join("validation").join(name)
    }

    /// The reference: where the summary says, or in the preprocessed or raw folder.
    fn reference(&self, case: &Scored<'_>) -> Result<PathBuf, Error> {
        let said = PathBuf::from(&case.case.reference_file);
        let name = format!("{}{}", case.id, self.model.dataset.file_ending);
        let preprocessed = self.request.folders.preprocessed.as_ref();
        let stored = preprocessed
            .map(|root| root.join(&self.model.plans.dataset_name).join("gt_segmentations").join(name));
        let listed = self.case(&case.id).map(|raw| raw.label.clone());
        let places: Vec<PathBuf> = [Some(said.clone()), stored, listed].into_iter().flatten().collect();
        let found = places.into_iter().find(|path| path.is_file());
        found.ok_or(Error::Missing {
            what: "reference segmentation",
            path: said,
            hint: "give --preprocessed or --raw with the data set's folder",
        })
    }

    fn case(&self, id: &str) -> Option<&nnunet_fingerprint::Case> {
        self.raw.as_ref()?.cases.iter().find(|case| case.id == id)
    }
}

/// A picture of a case, and whether its image is in it.
fn picture(files: &Files<'_>, reader: &dyn CaseReader, case: &Scored<'_>) -> Result<(Vec<u8>, bool), Error> {
    let prediction = labels(reader, &files.prediction(case))?;
    let reference = labels(reader, &files.reference(case)?)?;
    let image = match files.case(&case.id) {
        Some(raw) => Some(
            reader.read_images(raw.images.get(..1).unwrap_or_default())?.data.index_axis_move(Axis(0), 0),
        ),
        None => None,
    };
    let with_image = image.is_some();
    let image = image.unwrap_or_else(|| Array3::zeros(reference.data.dim()));
    let panels = [Some(reference.data.view()), Some(prediction.data.view())];
    Ok((overlay_planes(image.view(), reference.geometry.spacing, &panels)?, with_image))
}

fn labels(reader: &dyn CaseReader, path: &Path) -> Result<LabelMap, Error> {
    if !path.is_file() {
        return Err(Error::Missing {
            what: "segmentation",
            path: path.to_owned(),
            hint: "validate the fold again",
        });
    }
    Ok(reader.read_labels(path)?)
}
