//! One page about trained models: fingerprint, plans, curves, scores, overlays.

mod charts;
mod curves;
mod fingerprint;
mod found;
mod html;
mod pictures;
mod plans;
mod scores;
mod training;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::{Error, Folders};
use found::Model;
use html::Page;

/// Which results to report on.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// A model folder, the folder of a data set's models, or a folder of several of those.
    pub results: PathBuf,
    /// Where raw images, labels and fingerprints are looked for; what is not set is left out of the page.
    pub folders: Folders,
    /// How many of the best and of the worst cases are shown as pictures, each.
    pub overlays: usize,
}

impl ReportRequest {
    /// A report on `results` with three of the best and three of the worst cases, on the folders of the environment variables.
    pub fn new(results: &Path) -> Self {
        Self { results: results.to_owned(), folders: Folders::default().or_environment(), overlays: 3 }
    }
}

/// What a report holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportContent {
    /// Data sets reported on.
    pub datasets: usize,
    /// Models reported on.
    pub models: usize,
    /// Folds with curves or scores.
    pub folds: usize,
    /// Cases shown as pictures.
    pub overlays: usize,
    /// What is not in the page, and why.
    pub left_out: Vec<String>,
}

/// Writes one HTML file that needs nothing else: the fingerprint as plots, the plans explained, training curves, Dice per
/// case and label, and the best and worst cases as overlays in three planes.
///
/// Folders of nnU-Net itself will do: curves are then read from its text logs.
///
/// # Errors
/// No model folder is found, a file of one is not as it should be, or the page cannot be written.
pub fn report(request: &ReportRequest, output: &Path) -> Result<ReportContent, Error> {
    let models = found::find_models(&request.results)?;
    let mut datasets: IndexMap<String, Vec<Model>> = IndexMap::new();
    for model in models {
        datasets.entry(model.plans.dataset_name.clone()).or_default().push(model);
    }
    let mut content = ReportContent { datasets: datasets.len(), ..ReportContent::default() };
    let title = datasets.keys().cloned().collect::<Vec<_>>().join(", ");
    let mut page = Page::new(&title);
    for (name, models) in &datasets {
        page.heading(1, name);
        dataset(&mut page, &mut content, request, models)?;
    }
    let text = page.finish();
    nnunet_image::fs::write_atomic(output, |out| out.write_all(text.as_bytes()))
        .map_err(|source| Error::io(output, source))?;
    Ok(content)
}

fn dataset(
    page: &mut Page,
    content: &mut ReportContent,
    request: &ReportRequest,
    models: &[Model],
) -> Result<(), Error> {
    scores::overview(page, models);
    let Some(first) = models.first() else { return Ok(()) };
    match found::fingerprint_of(models, &request.folders)? {
        Some(fingerprint) => {
            fingerprint::section(page, &fingerprint, &first.dataset)?;
            plans::section(page, models, Some(&fingerprint))?;
        }
        None => {
            let name = &first.plans.dataset_name;
            content.left_out.push(format!(
                "{name}: no dataset_fingerprint.json beside the models or in the folder of preprocessed data, so neither the \
                 fingerprint nor why the plans are as they are"
            ));
            plans::section(page, models, None)?;
        }
    }
    for model in models {
        content.models += 1;
        page.heading(2, &format!("Model {}", model.name));
        training::section(page, model)?;
        scores::section(page, model)?;
        content.overlays += pictures::section(page, model, request, &mut content.left_out)?;
        for fold in &model.folds {
            content.folds += usize::from(!fold.epochs.is_empty() || fold.summary.is_some());
            if fold.summary.is_none() {
                content.left_out.push(format!(
                    "{}: no validation/summary.json, so no scores of this fold",
                    fold.folder.display()
                ));
            }
        }
    }
    Ok(())
}
