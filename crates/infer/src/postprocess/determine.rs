use std::path::Path;

use nnunet_fingerprint::{Class, LabelRules, json};
use nnunet_image::CaseReader;
use rayon::prelude::*;
use serde::Serialize;

use super::file::FUNCTION;
use super::{KeepLargest, Postprocessing};
use crate::evaluate::evaluate_pair;
use crate::folder::{copy, create, files};
use crate::{InferError, MeanMetrics, Summary, evaluate_folder};

/// What was decided, and what it changes.
#[derive(Debug, Clone, PartialEq)]
pub struct PostprocessingReport {
    /// The steps that were accepted; often none.
    pub postprocessing: Postprocessing,
    /// Scores of the predictions as they are.
    pub before: Summary,
    /// Scores with the accepted steps.
    pub after: Summary,
}

/// Finds out on predictions of the training cases whether keeping only the largest component improves them.
///
/// Tried are, first, all foreground labels as one: accepted if the mean Dice of the foreground rises and that of no class
/// falls; then, if there are several, each label or region on its own, on top of what was accepted before: accepted if its
/// own mean Dice rises.
///
/// Leaves `postprocessing.json` and `postprocessing.pkl` in the folder of predictions, and the segmentations with their
/// scores in its subfolder `postprocessed`. A `summary.json` that is there is trusted, otherwise it is written.
///
/// # Errors
/// No prediction, a prediction without reference, a file that cannot be read or written, or shapes that differ.
pub fn determine_postprocessing(
    predictions: &Path,
    references: &Path,
    rules: &LabelRules,
    reader: &dyn CaseReader,
    file_ending: &str,
) -> Result<PostprocessingReport, InferError> {
    let trial = Trial { predictions, references, rules, reader, file_ending };
    let before = trial.before()?;
    let mut accepted = Postprocessing::default();
    let mut best = before.clone();

    let labels = rules.foreground_labels().iter().copied().map(Class::Label).collect();
    let all = Postprocessing { steps: vec![KeepLargest::OfAll(labels)] };
    let with_all = trial.score(&all, predictions)?;
    if improves(&with_all, &before) {
        (accepted, best) = (all, with_all);
    }
    let classes = rules.foreground_classes();
    for class in classes.iter().filter(|_| classes.len() > 1) {
        let mut one_more = accepted.clone();
        one_more.steps.push(KeepLargest::Of(class.clone()));
        let scores = trial.score(&one_more, predictions)?;
        if dice(&scores, class) > dice(&best, class) {
            (accepted, best) = (one_more, scores);
        }
    }
    let report = PostprocessingReport { postprocessing: accepted, before, after: best };
    trial.write(&report)?;
    Ok(report)
}

fn dice(summary: &Summary, class: &Class) -> f64 {
    summary.mean.get(&class.to_string()).map_or(f64::NAN, |metrics| metrics.dice)
}

/// Whether the foreground's mean rises and no class falls. What is not a number neither rises nor falls.
fn improves(after: &Summary, before: &Summary) -> bool {
    let falls = |(class, metrics): (&String, &MeanMetrics)| {
        before.mean.get(class).is_some_and(|before| metrics.dice < before.dice)
    };
    after.foreground_mean.dice > before.foreground_mean.dice && !after.mean.iter().any(falls)
}

struct Trial<'a> {
    predictions: &'a Path,
    references: &'a Path,
    rules: &'a LabelRules,
    reader: &'a dyn CaseReader,
    file_ending: &'a str,
}

impl Trial<'_> {
    fn before(&self) -> Result<Summary, InferError> {
        let file = self.predictions.join("summary.json");
        if file.is_file() {
            return Ok(json::read(&file)?);
        }
        let summary = evaluate_folder(
            self.references,
            self.predictions,
            self.rules,
            self.reader,
            self.file_ending,
            false,
        )?;
        json::write(&file, &summary)?;
        Ok(summary)
    }

    fn names(&self) -> Result<Vec<String>, InferError> {
        let names = files(self.predictions, self.file_ending)?;
        if names.is_empty() {
            let (folder, ending) = (self.predictions.to_owned(), self.file_ending.to_owned());
            return Err(InferError::NoPredictions { folder, ending });
        }
        Ok(names)
    }

    /// Scores with these steps; `folder` is where the summary says that the segmentations are.
    fn score(&self, steps: &Postprocessing, folder: &Path) -> Result<Summary, InferError> {
        let one = |name: &String| {
            let mut prediction = self.reader.read_labels(&self.predictions.join(name))?.data;
            steps.apply(prediction.view_mut());
            let reference = self.references.join(name);
            evaluate_pair(&reference, &folder.join(name), prediction, self.rules, self.reader)
        };
        let cases = self.names()?.par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        Ok(Summary::new(self.rules.foreground_classes(), cases))
    }

    fn write(&self, report: &PostprocessingReport) -> Result<(), InferError> {
        let folder = self.predictions.join("postprocessed");
        create(&folder)?;
        if report.postprocessing.steps.is_empty() {
            for name in files(self.predictions, "")? {
                copy(&self.predictions.join(&name), &folder.join(&name))?;
            }
        } else {
            let quiet = |_: nnunet_image::Progress<'_>| {};
            let failed = report.postprocessing.apply_to_folder(
                self.predictions,
                &folder,
                self.reader,
                self.file_ending,
                &quiet,
            )?;
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(error);
            }
            let mut summary = report.after.clone();
            for case in &mut summary.metric_per_case {
                let name = Path::new(&case.prediction_file).file_name().unwrap_or_default().to_owned();
                case.prediction_file = folder.join(name).to_string_lossy().into_owned();
            }
            json::write(&folder.join("summary.json"), &summary)?;
        }
        report.postprocessing.write_pickle(&self.predictions.join("postprocessing.pkl"))?;
        let description = Description {
            input_folder: Scores::of(&report.before),
            postprocessed: Scores::of(&report.after),
            postprocessing_fns: vec![FUNCTION; report.postprocessing.steps.len()],
            postprocessing_kwargs: report.postprocessing.arguments(),
        };
        Ok(json::write(&self.predictions.join("postprocessing.json"), &description)?)
    }
}

/// `postprocessing.json`.
#[derive(Serialize)]
struct Description<'a> {
    input_folder: Scores<'a>,
    postprocessed: Scores<'a>,
    postprocessing_fns: Vec<&'a str>,
    postprocessing_kwargs: Vec<serde_json::Value>,
}

#[derive(Serialize)]
struct Scores<'a> {
    foreground_mean: MeanMetrics,
    mean: &'a indexmap::IndexMap<String, MeanMetrics>,
}

impl<'a> Scores<'a> {
    fn of(summary: &'a Summary) -> Self {
        Self { foreground_mean: summary.foreground_mean, mean: &summary.mean }
    }
}
