use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use nnunet_image::Progress;
use nnunet_preprocess::{PreprocessedCase, Store};

use super::Predictor;
use super::output::Output;
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

impl Predictor {
    /// Segments cases from files (one per channel, in order) into `out_dir`, which is created if need be.
    ///
    /// Each case leaves `<case><ending>`, written by the plans' reader. With `save_probabilities` it also
    /// leaves `<case>.npz` with the array `probabilities` (32-bit floats, channel first, in the image's
    /// shape) and `<case>.json` with the properties of the case. With `keep_existing`, cases whose files are
    /// there are left alone. While the network works on a case, the next one is read and preprocessed.
    /// `progress` counts cases.
    ///
    /// A case that fails does not stop the others: the result has one entry per case, in the order given.
    pub fn predict_files(
        &self,
        cases: &[(String, Vec<PathBuf>)],
        out_dir: &Path,
        save_probabilities: bool,
        keep_existing: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<(String, Result<(), InferError>)> {
        let ids: Vec<&str> = cases.iter().map(|(id, _)| id.as_str()).collect();
        let prepare = |output: &Output<'_>, case: usize| {
            let image = output.reader.read_images(&cases[case].1)?;
            self.preprocess(image)
        };
        let results =
            self.predict_cases(&ids, out_dir, save_probabilities, keep_existing, &prepare, progress);
        cases.iter().map(|(id, _)| id.clone()).zip(results).collect()
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
        let ids: Vec<&str> = cases.iter().map(String::as_str).collect();
        let prepare = |_: &Output<'_>, case: usize| Ok(store.load(ids[case])?);
        let results = self.predict_cases(&ids, out_dir, save_probabilities, false, &prepare, progress);
        cases.iter().cloned().zip(results).filter_map(|(id, result)| Some((id, result.err()?))).collect()
    }

    fn predict_cases(
        &self,
        ids: &[&str],
        out_dir: &Path,
        save_probabilities: bool,
        keep_existing: bool,
        prepare: &(dyn Fn(&Output<'_>, usize) -> Result<PreprocessedCase, InferError> + Sync),
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<Result<(), InferError>> {
        let output = match Output::new(self, out_dir, save_probabilities) {
            Ok(output) => output,
            Err(reason) => {
                let failed = || InferError::Output { folder: out_dir.to_owned(), reason: reason.clone() };
                return ids.iter().map(|_| Err(failed())).collect();
            }
        };
        let mut results: Vec<Result<(), InferError>> = ids.iter().map(|_| Ok(())).collect();
        let todo: Vec<usize> =
            (0..ids.len()).filter(|&case| !keep_existing || !output.exists(ids[case])).collect();
        let kept = ids.len() - todo.len();
        let report =
            |done: usize, item: &str| progress(Progress { done: kept + done, total: ids.len(), item });
        report(0, todo.first().map_or("", |&case| ids[case]));
        std::thread::scope(|scope| {
            // A channel without room: one case waits, ready, while another is predicted.
            let (sender, receiver) = sync_channel(0);
            let (todo, output) = (&todo, &output);
            scope.spawn(move || {
                for &case in todo {
                    if sender.send(prepare(output, case)).is_err() {
                        return;
                    }
                }
            });
            for (number, (&case, prepared)) in todo.iter().zip(receiver).enumerate() {
                results[case] = prepared.and_then(|prepared| self.predict_to(prepared, ids[case], output));
                report(number + 1, ids[case]);
            }
        });
        results
    }

    fn predict_to(&self, case: PreprocessedCase, id: &str, output: &Output<'_>) -> Result<(), InferError> {
        let properties = output.save_probabilities.then(|| case.properties.clone());
        let prediction = self.predict_preprocessed(case, output.save_probabilities, &|_| {})?;
        output.write(id, prediction, properties.as_ref())
    }
}
