use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::{CaseSummary, InferError, Metrics, Summary};

/// Which number of a summary methods are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScoreKind {
    /// Dice.
    #[default]
    Dice,
    /// Intersection over union.
    Iou,
}

impl ScoreKind {
    fn of(self, metrics: &Metrics) -> f64 {
        match self {
            Self::Dice => metrics.dice,
            Self::Iou => metrics.iou,
        }
    }
}

/// What to do where a method has no prediction for a case that others have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingCases {
    /// An error that names method and case.
    #[default]
    Refuse,
    /// The worst score, 0, as challenges do.
    Worst,
}

/// One score per case and method.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreTable {
    /// The methods.
    pub methods: Vec<String>,
    /// File names of the predictions, in order.
    pub cases: Vec<String>,
    /// `scores[case][method]`, numbers from 0 to 1.
    pub scores: Vec<Vec<f64>>,
    /// Cases that were left out because none of their classes could be scored for all methods.
    pub left_out: Vec<String>,
}

impl ScoreTable {
    /// Collects the scores of several methods, matching cases by the file name of the prediction.
    ///
    /// The score of a case is that of `class` or, without one, the mean over the foreground classes. A class for which
    /// some method has no score in a case, because neither reference nor prediction holds it, is left out of that case
    /// for all methods, so that all are compared on the same ground.
    ///
    /// # Errors
    /// Fewer than two methods, two of one name, a class that a summary does not have, a case that is there twice, or one
    /// that a method lacks (with [`MissingCases::Refuse`]); no case left to compare.
    pub fn new(
        summaries: &IndexMap<String, Summary>,
        kind: ScoreKind,
        class: Option<&str>,
        missing: MissingCases,
    ) -> Result<Self, InferError> {
        if summaries.len() < 2 {
            let found = format!("{} methods", summaries.len());
            return Err(InferError::Option {
                option: "the list of summaries",
                found,
                expected: "at least 2",
            });
        }
        let by_case: Vec<BTreeMap<&str, &CaseSummary>> =
            summaries.iter().map(|(name, summary)| cases_of(name, summary)).collect::<Result<_, _>>()?;
        let names: BTreeSet<&str> = by_case.iter().flat_map(|cases| cases.keys().copied()).collect();
        let classes = classes(summaries, class)?;
        let mut table = Self {
            methods: summaries.keys().cloned().collect(),
            cases: Vec::new(),
            scores: Vec::new(),
            left_out: Vec::new(),
        };
        for name in names {
            let of_methods: Vec<Option<&CaseSummary>> =
                by_case.iter().map(|cases| cases.get(name).copied()).collect();
            if let (Some(method), MissingCases::Refuse) =
                (of_methods.iter().position(Option::is_none), missing)
            {
                let text = format!("{} has no case {name}, which another method has", table.methods[method]);
                return Err(InferError::Ranking(text));
            }
            match score(&of_methods, &classes, kind) {
                Some(scores) => {
                    table.cases.push(name.to_owned());
                    table.scores.push(scores);
                }
                None => table.left_out.push(name.to_owned()),
            }
        }
        if table.cases.is_empty() {
            let text = "no case has a class that can be scored for all methods".to_owned();
            return Err(InferError::Ranking(text));
        }
        Ok(table)
    }
}

/// Scores of one case for all methods; none if no class is scored for all.
fn score(methods: &[Option<&CaseSummary>], classes: &[String], kind: ScoreKind) -> Option<Vec<f64>> {
    let (mut sums, mut count) = (vec![0.0; methods.len()], 0usize);
    for class in classes {
        let of_class = |case: &&CaseSummary| case.metrics.get(class).map_or(f64::NAN, |m| kind.of(m));
        let values: Vec<f64> = methods.iter().map(|m| m.as_ref().map_or(0.0, of_class)).collect();
        if values.iter().any(|v| v.is_nan()) {
            continue;
        }
        sums.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value);
        count += 1;
    }
    (count > 0).then(|| sums.iter().map(|sum| sum / count as f64).collect())
}

fn cases_of<'a>(
    method: &str,
    summary: &'a Summary,
) -> Result<BTreeMap<&'a str, &'a CaseSummary>, InferError> {
    let mut cases = BTreeMap::new();
    for case in &summary.metric_per_case {
        let file = case.prediction_file.rsplit(['/', '\\']).next().unwrap_or_default();
        if cases.insert(file, case).is_some() {
            return Err(InferError::Ranking(format!("{method} has two cases named {file}")));
        }
    }
    Ok(cases)
}

/// The classes to score: the one asked for, or the foreground.
fn classes(summaries: &IndexMap<String, Summary>, class: Option<&str>) -> Result<Vec<String>, InferError> {
    let foreground = |summary: &Summary| -> Vec<String> {
        summary.mean.keys().filter(|key| *key != "0").cloned().collect()
    };
    let mut all = summaries.iter().map(|(name, summary)| (name, foreground(summary)));
    let Some((first, classes)) = all.next() else { return Ok(Vec::new()) };
    let wanted = class.map_or_else(|| classes.clone(), |class| vec![class.to_owned()]);
    for (name, found) in std::iter::once((first, classes.clone())).chain(all) {
        let fits = match class {
            Some(class) => found.iter().any(|key| key == class),
            None => found == classes,
        };
        if !fits {
            let text = format!("{name} has the classes {found:?}, expected {wanted:?} as {first} has");
            let text = if class.is_some() {
                format!("{name} has no class {wanted:?}, only {found:?}")
            } else {
                text
            };
            return Err(InferError::Ranking(text));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A summary with one class per column of Dice values; case k is `k.nii.gz`.
    pub(in crate::rank) fn summary(dice: &[&[f64]]) -> Summary {
        let metrics = |&dice: &f64| Metrics {
            dice,
            false_negatives: 0,
            false_positives: 0,
            iou: dice / (2.0 - dice),
            true_negatives: 0,
            true_positives: 0,
            n_pred: 0,
            n_ref: 0,
        };
        let zero = crate::MeanMetrics {
            dice: 0.0,
            false_negatives: 0.0,
            false_positives: 0.0,
            iou: 0.0,
            true_negatives: 0.0,
            true_positives: 0.0,
            n_pred: 0.0,
            n_ref: 0.0,
        };
        let key = |class: usize| (class + 1).to_string();
        let case = |(k, row): (usize, &&[f64])| CaseSummary {
            metrics: row.iter().enumerate().map(|(c, dice)| (key(c), metrics(dice))).collect(),
            prediction_file: format!("some/where/{k}.nii.gz"),
            reference_file: String::new(),
        };
        Summary {
            foreground_mean: zero,
            mean: (0..dice.first().map_or(0, |row| row.len())).map(|c| (key(c), zero)).collect(),
            metric_per_case: dice.iter().enumerate().map(case).collect(),
        }
    }

    fn table(
        methods: &[(&str, &[&[f64]])],
        class: Option<&str>,
        missing: MissingCases,
    ) -> Result<ScoreTable, InferError> {
        let summaries = methods.iter().map(|(name, dice)| ((*name).to_owned(), summary(dice))).collect();
        ScoreTable::new(&summaries, ScoreKind::Dice, class, missing)
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn classes_that_one_method_cannot_be_scored_on_count_for_none() {
        let (a, b): (&[&[f64]], &[&[f64]]) = (&[&[0.5, NAN], &[NAN, NAN]], &[&[0.7, 0.0], &[0.1, NAN]]);
        let table = table(&[("a", a), ("b", b)], None, MissingCases::Refuse).unwrap();
        assert_eq!(table.cases, ["0.nii.gz"]);
        assert_eq!(table.scores, [[0.5, 0.7]]);
        assert_eq!(table.left_out, ["1.nii.gz"]);
    }

    #[test]
    fn one_class_can_be_ranked_alone() {
        let rows: &[&[f64]] = &[&[0.5, 0.25]];
        let table = table(&[("a", rows), ("b", rows)], Some("2"), MissingCases::Refuse).unwrap();
        assert_eq!(table.scores, [[0.25, 0.25]]);
    }

    #[test]
    fn missing_cases_are_refused_by_name_or_count_as_the_worst() {
        let (a, b): (&[&[f64]], &[&[f64]]) = (&[&[0.5], &[0.6]], &[&[0.7]]);
        let methods = [("a", a), ("b", b)];
        let error = table(&methods, None, MissingCases::Refuse).unwrap_err().to_string();
        assert!(error.contains("b has no case 1.nii.gz"), "{error}");
        let table = table(&methods, None, MissingCases::Worst).unwrap();
        assert_eq!(table.scores, [[0.5, 0.7], [0.6, 0.0]]);
    }

    #[test]
    fn classes_must_agree() {
        let (a, b): (&[&[f64]], &[&[f64]]) = (&[&[0.5, 0.5]], &[&[0.7]]);
        let error = table(&[("a", a), ("b", b)], None, MissingCases::Refuse).unwrap_err().to_string();
        assert!(error.contains("b has the classes [\"1\"]"), "{error}");
        let error = table(&[("a", a), ("b", b)], Some("2"), MissingCases::Refuse).unwrap_err().to_string();
        assert!(error.contains("b has no class"), "{error}");
        assert!(table(&[("a", a)], None, MissingCases::Refuse).is_err());
    }
}
