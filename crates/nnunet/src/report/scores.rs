//! Dice per case and label.

use std::path::Path;

use nnunet_fingerprint::{Class, DatasetJson, LabelValue};
use nnunet_infer::CaseSummary;

use super::charts::{Group, dots, median};
use super::found::Model;
use super::html::{Page, number};
use crate::Error;

/// One validated case.
pub(super) struct Scored<'a> {
    pub(super) id: String,
    /// Index of its fold in the model.
    pub(super) fold: usize,
    pub(super) case: &'a CaseSummary,
    /// Mean Dice over the classes; classes that are in neither segmentation do not count.
    pub(super) mean: f64,
}

/// All validated cases of a model, fold by fold.
pub(super) fn scored(model: &Model) -> Vec<Scored<'_>> {
    let mut cases = Vec::new();
    for (fold, found) in model.folds.iter().enumerate() {
        for case in found.summary.iter().flat_map(|summary| &summary.metric_per_case) {
            let file = Path::new(&case.prediction_file).file_name().map(|n| n.to_string_lossy().into_owned());
            let file = file.unwrap_or_default();
            let id = file.strip_suffix(&model.dataset.file_ending).unwrap_or(&file).to_owned();
            let dice: Vec<f64> = case.metrics.values().map(|m| m.dice).collect();
            cases.push(Scored { id, fold, case, mean: mean(&dice) });
        }
    }
    cases
}

fn mean(values: &[f64]) -> f64 {
    let numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// The classes as summaries name them, each with its name in `dataset.json`.
pub(super) fn classes(dataset: &DatasetJson) -> Result<Vec<(String, String)>, Error> {
    let rules = dataset.label_rules()?;
    let name_of = |class: &Class| {
        let same = |value: &LabelValue| {
            value.labels().iter().copied().eq(class.labels().iter().map(|&label| i64::from(label)))
        };
        let named = dataset.labels.iter().find(|(_, value)| same(value));
        named.map_or_else(String::new, |(name, _)| name.clone())
    };
    Ok(rules.foreground_classes().iter().map(|class| (class.to_string(), name_of(class))).collect())
}

/// One line per model: mean Dice of the folds.
pub(super) fn overview(page: &mut Page, models: &[Model]) {
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            let dice: Vec<f64> = model
                .folds
                .iter()
                .filter_map(|f| f.summary.as_ref())
                .map(|s| s.foreground_mean.dice)
                .collect();
            let folds: Vec<String> = model
                .folds
                .iter()
                .map(|f| {
                    let dice = f.summary.as_ref().map_or(f64::NAN, |s| s.foreground_mean.dice);
                    format!("{}: {}", f.name, number(dice))
                })
                .collect();
            vec![model.name.clone(), number(mean(&dice)), folds.join("  ")]
        })
        .collect();
    page.table(&["model", "mean Dice of the folds", "fold by fold"], &rows);
}

pub(super) fn section(page: &mut Page, model: &Model) -> Result<(), Error> {
    page.heading(3, "Dice per label");
    let cases = scored(model);
    if cases.is_empty() {
        page.note("No fold has been validated (validation/summary.json).");
        return Ok(());
    }
    let classes = classes(&model.dataset)?;
    let dice = |case: &Scored<'_>, key: &str| case.case.metrics.get(key).map_or(f64::NAN, |m| m.dice);
    let groups: Vec<Group> = classes
        .iter()
        .map(|(key, name)| Group {
            name: if name.is_empty() { key.clone() } else { name.clone() },
            values: cases.iter().map(|case| dice(case, key)).collect(),
        })
        .collect();
    let width = (140 + 160 * groups.len() as u32).clamp(420, 1000);
    if let Some(svg) = dots(&groups, "Dice", width, true)? {
        page.chart(&svg, "Dice of each validation case; the bar is the median");
    }
    let rows: Vec<Vec<String>> = classes
        .iter()
        .zip(&groups)
        .map(|((key, name), group)| {
            let finite: Vec<f64> = group.values.iter().copied().filter(|v| !v.is_nan()).collect();
            let low = finite.iter().copied().fold(f64::NAN, f64::min);
            let high = finite.iter().copied().fold(f64::NAN, f64::max);
            vec![
                format!("{key} {name}"),
                finite.len().to_string(),
                number(mean(&group.values)),
                number(median(&group.values).unwrap_or(f64::NAN)),
                number(low),
                number(high),
            ]
        })
        .collect();
    page.table(&["label", "cases with it", "mean", "median", "lowest", "highest"], &rows);
    page.folded("Dice of every case", |page| every_case(page, model, &cases, &classes));
    Ok(())
}

fn every_case(page: &mut Page, model: &Model, cases: &[Scored<'_>], classes: &[(String, String)]) {
    let mut head = vec!["case".to_owned(), "fold".to_owned()];
    head.extend(classes.iter().map(|(key, name)| format!("{key} {name}")));
    head.push("mean".to_owned());
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| {
            let mut row = vec![case.id.clone(), model.folds[case.fold].name.clone()];
            let dice = |key: &str| case.case.metrics.get(key).map_or(f64::NAN, |m| m.dice);
            row.extend(classes.iter().map(|(key, _)| number(dice(key))));
            row.push(number(case.mean));
            row
        })
        .collect();
    page.table(&head, &rows);
}
