use std::path::{Path, PathBuf};

use ndarray::ArrayView4;
use nnunet_image::{Progress, check_channel_places};
use nnunet_preprocess::{CaseProperties, PreprocessedCase, Store};

use super::Predictor;
use super::batch::{BatchOptions, Outcome, Prepared};
use super::case::CaseInput;
use super::output::{CaseSink, Output, previous_file};
use crate::InferError;

/// The share of one of several runs among which cases are distributed: every `num_parts`-th case, from number
/// `part_id`.
///
/// # Errors
/// `part_id` is not below `num_parts`.
///
/// ```
/// let cases = ["a", "b", "c", "d", "e"];
/// assert_eq!(nnunet_infer::select_part(&cases, 1, 2).unwrap(), ["b", "d"]);
/// assert!(nnunet_infer::select_part(&cases, 2, 2).is_err());
/// ```
pub fn select_part<T: Clone>(cases: &[T], part_id: usize, num_parts: usize) -> Result<Vec<T>, InferError> {
    if part_id >= num_parts {
        let found = format!("{part_id} with num_parts = {num_parts}");
        return Err(InferError::Option { option: "part_id", found, expected: "a number below num_parts" });
    }
    Ok(cases.iter().skip(part_id).step_by(num_parts).cloned().collect())
}

/// Looks at the name of a case, its logits `(channel, z, y, x)` on the network's grid, and what is known of it.
pub type SeeLogits<'a> = dyn Fn(&str, ArrayView4<'_, f32>, &CaseProperties) + Sync + 'a;

/// What happens to cases beside being written, or instead.
#[derive(Clone, Copy, Default)]
struct Hooks<'a> {
    seen: Option<&'a SeeLogits<'a>>,
    sink: Option<&'a CaseSink<'a>>,
}

/// Makes a case of its number ready for the network.
type Prepare<'a> = &'a (dyn Fn(&Output<'_>, usize) -> Result<Prepared, InferError> + Sync);

impl Predictor {
    /// Segments cases from files (one per channel, in order) into `out_dir`, which is created if need be.
    ///
    /// Each case leaves `<case><ending>`, written by the plans' reader, and what `options` ask for. While the
    /// network works on a case, the next one is read and preprocessed and the last one is written.
    /// `progress` counts cases.
    ///
    /// A case that fails does not stop the others: the result has one entry per case, in the order given.
    pub fn predict_files(
        &self,
        cases: &[(String, Vec<PathBuf>)],
        out_dir: &Path,
        options: &BatchOptions,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<(String, Result<(), InferError>)> {
        let ids: Vec<&str> = cases.iter().map(|(id, _)| id.as_str()).collect();
        let prepare = |output: &Output<'_>, case: usize| {
            let (id, files) = &cases[case];
            let previous = match &options.previous_stage {
                Some(folder) => {
                    Some(output.reader.read_labels(&previous_file(folder, id, output.ending)?)?)
                }
                None => None,
            };
            if !options.allow_misplaced_channels {
                check_channel_places(&*output.reader, files)?;
            }
            let image = output.reader.read_images(files)?;
            let case = CaseInput { image, previous, region: None, cancel: options.cancel.clone() };
            self.prepare(case).map_err(|error| match error {
                InferError::Voxel { channel, .. } if channel < files.len() => {
                    InferError::file(&files[channel], error.to_string())
                }
                error => error,
            })
        };
        let results = self.predict_cases(&ids, out_dir, options, &prepare, Hooks::default(), progress);
        cases.iter().map(|(id, _)| id.clone()).zip(results).collect()
    }

    /// Segments cases of these names that `input` reads by their number, as [`Predictor::predict_files`] does for files; what
    /// comes of them goes to `sink`, and the probabilities that `options` ask for into `out_dir`.
    ///
    /// A case that fails does not stop the others: there is one result per case, in order.
    pub fn predict_inputs(
        &self,
        ids: &[&str],
        input: &(dyn Fn(usize) -> Result<CaseInput, InferError> + Sync),
        out_dir: &Path,
        options: &BatchOptions,
        sink: &CaseSink<'_>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<Result<(), InferError>> {
        let prepare = |_: &Output<'_>, case: usize| {
            let input = input(case)?;
            self.prepare(CaseInput { cancel: options.cancel.clone(), ..input })
        };
        let hooks = Hooks { seen: None, sink: Some(sink) };
        self.predict_cases(ids, out_dir, options, &prepare, hooks, progress)
    }

    /// Segments preprocessed cases, as [`Predictor::predict_files`] does for files; what the final validation
    /// of a training needs.
    ///
    /// Returns the cases that failed.
    pub fn predict_store(
        &self,
        store: &Store,
        cases: &[String],
        out_dir: &Path,
        save_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<(String, InferError)> {
        self.predict_stored(&|case| Ok(store.load(case)?), cases, out_dir, save_probabilities, progress)
    }

    /// As [`Predictor::predict_store`], for cases that `load` makes ready for the network; a cascade's second stage adds
    /// the channels of the first.
    ///
    /// Returns the cases that failed.
    pub fn predict_stored(
        &self,
        load: &(dyn Fn(&str) -> Result<PreprocessedCase, InferError> + Sync),
        cases: &[String],
        out_dir: &Path,
        save_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<(String, InferError)> {
        self.predict_stored_and(load, cases, out_dir, save_probabilities, None, progress)
    }

    /// As [`Predictor::predict_stored`]; before a case is written, `seen` is shown its logits.
    ///
    /// Returns the cases that failed.
    pub fn predict_stored_and(
        &self,
        load: &(dyn Fn(&str) -> Result<PreprocessedCase, InferError> + Sync),
        cases: &[String],
        out_dir: &Path,
        save_probabilities: bool,
        seen: Option<&SeeLogits<'_>>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<(String, InferError)> {
        let ids: Vec<&str> = cases.iter().map(String::as_str).collect();
        let options = BatchOptions { save_probabilities, ..BatchOptions::default() };
        let prepare = |_: &Output<'_>, case: usize| {
            let case = load(ids[case])?;
            Ok(Prepared { case, region: None, cancel: options.cancel.clone() })
        };
        let hooks = Hooks { seen, sink: None };
        let results = self.predict_cases(&ids, out_dir, &options, &prepare, hooks, progress);
        cases.iter().cloned().zip(results).filter_map(|(id, result)| Some((id, result.err()?))).collect()
    }

    fn predict_cases(
        &self,
        ids: &[&str],
        out_dir: &Path,
        options: &BatchOptions,
        prepare: Prepare<'_>,
        hooks: Hooks<'_>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<Result<(), InferError>> {
        let output = match Output::new(self, out_dir, options, hooks.sink) {
            Ok(output) => output,
            Err(reason) => {
                let failed = || InferError::Output { folder: out_dir.to_owned(), reason: reason.clone() };
                return ids.iter().map(|_| Err(failed())).collect();
            }
        };
        let mut results: Vec<Result<(), InferError>> = ids.iter().map(|_| Ok(())).collect();
        let todo: Vec<usize> =
            (0..ids.len()).filter(|&case| !options.keep_existing || !output.exists(ids[case])).collect();
        let kept = ids.len() - todo.len();
        let report =
            |done: usize, item: &str| progress(Progress { done: kept + done, total: ids.len(), item });
        report(0, todo.first().map_or("", |&case| ids[case]));
        let mut cases = todo.iter();
        let mut next = || cases.next().map(|&case| (case, prepare(&output, case)));
        let mut done = 0;
        let mut finish = |case: usize, outcome: Outcome| {
            results[case] = outcome.and_then(|(predicted, properties)| {
                if let Some(seen) = hooks.seen
                    && let Some(logits) = predicted.logits()?
                {
                    seen(ids[case], logits.view(), &properties);
                }
                output.write(ids[case], self, predicted, &properties)
            });
            done += 1;
            report(done, ids[case]);
        };
        self.pipeline(output.wanted(), &mut next, &mut finish);
        results
    }
}
