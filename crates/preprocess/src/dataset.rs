//! All cases of a data set.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nnunet_fingerprint::{Case, Dataset};
use nnunet_image::{CaseReader, Progress, fs::write_atomic};
use nnunet_plan::{Configuration, LabelRules, Plans};
use rayon::prelude::*;

use crate::{PreprocessError, Store, preprocess_case, store};

/// Preprocesses all cases for one configuration into `out_dir/<data identifier>`, and copies the segmentations to
/// `out_dir/gt_segmentations`.
///
/// One case per thread is in memory at a time. An existing store is replaced when the new one is complete; a run that fails
/// or is killed leaves it as it was.
///
/// # Errors
/// A case that cannot be read or does not fit the plans (the error names it), or a folder that cannot be written.
pub fn preprocess_dataset(
    dataset: &Dataset,
    reader: &dyn CaseReader,
    plans: &Plans,
    configuration: &str,
    out_dir: &Path,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Store, PreprocessError> {
    let configuration = plans.configuration(configuration)?;
    let rules = dataset.json.label_rules()?;
    let target = out_dir.join(&configuration.data_identifier);
    let building = out_dir.join(format!(".{}.part", configuration.data_identifier));
    remove(&building)?;
    std::fs::create_dir_all(&building).map_err(|e| PreprocessError::io(&building, e))?;
    let job = Job { dataset, reader, plans, configuration: &configuration, rules: &rules, folder: &building };
    let result = job.run(progress).and_then(|()| swap(&building, &target));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&building);
    }
    result?;
    copy_segmentations(dataset, &out_dir.join("gt_segmentations"))?;
    Store::open(&target)
}

struct Job<'a> {
    dataset: &'a Dataset,
    reader: &'a dyn CaseReader,
    plans: &'a Plans,
    configuration: &'a Configuration,
    rules: &'a LabelRules,
    folder: &'a Path,
}

impl Job<'_> {
    fn run(&self, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<(), PreprocessError> {
        let (done, total) = (AtomicUsize::new(0), self.dataset.cases.len());
        self.dataset.cases.par_iter().try_for_each(|case| {
            self.case(case).map_err(|e| e.in_case(&case.id))?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total, item: &case.id });
            Ok::<_, PreprocessError>(())
        })?;
        let mut ids: Vec<String> = self.dataset.cases.iter().map(|case| case.id.clone()).collect();
        ids.sort();
        Store::finish(self.folder, ids, store::settings(self.plans, self.configuration)?)
    }

    fn case(&self, case: &Case) -> Result<(), PreprocessError> {
        if case.images.is_empty() {
            return Err(PreprocessError::Mismatch("there is no image file".to_owned()));
        }
        let image = self.reader.read_images(&case.images)?;
        let labels = self.reader.read_labels(&case.label)?;
        let done = preprocess_case(image, Some(labels), self.plans, self.configuration, self.rules)?;
        Store::write(self.folder, &case.id, &done)
    }
}

fn remove(folder: &Path) -> Result<(), PreprocessError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(PreprocessError::io(folder, e)),
        _ => Ok(()),
    }
}

/// Puts the finished folder in the place of an older one.
fn swap(building: &Path, target: &Path) -> Result<(), PreprocessError> {
    let mut old: Option<PathBuf> = None;
    if target.exists() {
        let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let aside = target.with_file_name(format!(".{name}.old"));
        remove(&aside)?;
        std::fs::rename(target, &aside).map_err(|e| PreprocessError::io(target, e))?;
        old = Some(aside);
    }
    std::fs::rename(building, target).map_err(|e| PreprocessError::io(target, e))?;
    old.map_or(Ok(()), |aside| remove(&aside))
}

/// Copies segmentations that are newer than their copies.
fn copy_segmentations(dataset: &Dataset, folder: &Path) -> Result<(), PreprocessError> {
    std::fs::create_dir_all(folder).map_err(|e| PreprocessError::io(folder, e))?;
    for case in &dataset.cases {
        let target = folder.join(format!("{}{}", case.id, dataset.json.file_ending));
        let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
        let current = match (modified(&case.label), modified(&target)) {
            (Ok(source), Ok(copy)) => copy >= source,
            _ => false,
        };
        if !current {
            let bytes = std::fs::read(&case.label).map_err(|e| PreprocessError::io(&case.label, e))?;
            write_atomic(&target, |out| out.write_all(&bytes))
                .map_err(|e| PreprocessError::io(&target, e))?;
        }
    }
    Ok(())
}
