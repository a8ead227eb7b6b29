//! All cases of a data set.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nnunet_fingerprint::{Case, Dataset, json};
use nnunet_image::fs::{sync_folder, write_unsynced};
use nnunet_image::{CaseReader, Progress};
use nnunet_plan::{Configuration, LabelRules, Plans};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::{PreprocessError, Store, StoreFormat, preprocess_case, store};

/// Preprocesses all cases for one configuration into `out_dir/<data identifier>`, and copies the segmentations to
/// `out_dir/gt_segmentations`.
///
/// One case per thread is in memory at a time. An existing store is replaced when the new one is complete; a run that fails
/// or is killed leaves it as it was. What a killed run has finished is taken over if the settings are still the same, the
/// files are older and the checksums right.
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
    preprocess_dataset_as(StoreFormat::default(), dataset, reader, plans, configuration, out_dir, progress)
}

/// [`preprocess_dataset`] into a store of this format.
///
/// # Errors
/// As [`preprocess_dataset`].
pub fn preprocess_dataset_as(
    format: StoreFormat,
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
    let settings = store::settings(plans, &configuration)?;
    let finished = resume(&building, dataset, &settings, format)?;
    let job = Job {
        format,
        dataset,
        reader,
        plans,
        configuration: &configuration,
        rules: &rules,
        folder: &building,
        finished,
        settings,
    };
    let result = job.run(progress).and_then(|()| swap(&building, &target));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&building);
    }
    result?;
    copy_segmentations(dataset, &out_dir.join("gt_segmentations"))?;
    Store::open(&target)
}

struct Job<'a> {
    format: StoreFormat,
    dataset: &'a Dataset,
    reader: &'a dyn CaseReader,
    plans: &'a Plans,
    configuration: &'a Configuration,
    rules: &'a LabelRules,
    folder: &'a Path,
    /// Cases that an earlier run has finished.
    finished: HashSet<String>,
    settings: Map<String, Value>,
}

impl Job<'_> {
    fn run(&self, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<(), PreprocessError> {
        let (done, total) = (AtomicUsize::new(0), self.dataset.cases.len());
        for_each_bounded(&self.dataset.cases, |case| {
            if !self.finished.contains(&case.id) {
                self.case(case).map_err(|e| e.in_case(&case.id))?;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total, item: &case.id });
            Ok(())
        })?;
        let mut ids: Vec<String> = self.dataset.cases.iter().map(|case| case.id.clone()).collect();
        ids.sort();
        let settings = self.folder.join(SETTINGS);
        std::fs::remove_file(&settings).map_err(|e| PreprocessError::io(&settings, e))?;
        Store::finish(self.folder, self.format, ids, self.settings.clone())
    }

    fn case(&self, case: &Case) -> Result<(), PreprocessError> {
        if case.images.is_empty() {
            return Err(PreprocessError::Mismatch("there is no image file".to_owned()));
        }
        let image = self.reader.read_images(&case.images)?;
        let labels = self.reader.read_labels(&case.label)?;
        let done = preprocess_case(image, Some(labels), self.plans, self.configuration, self.rules)?;
        let flat = self.configuration.patch_size.len() == 2;
        Store::write(self.folder, &case.id, &done, self.format, flat)
    }
}

/// Calls `work` for every item until one fails, with no more items in work at a time than there are threads.
///
/// The items have threads of their own: a thread of the pool that waits for a part of its item would take up another item
/// meanwhile, and hold both in memory. What is parallel within an item still runs in the pool.
fn for_each_bounded<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), PreprocessError> + Sync,
) -> Result<(), PreprocessError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                if let Ok(mut failed) = failed.lock() {
                    failed.get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(items.len()) {
            scope.spawn(worker);
        }
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), Err)
}

/// The settings that a folder under construction is made with.
const SETTINGS: &str = "settings.json";

/// Prepares the folder under construction; gives the cases in it that an earlier run has finished with these settings.
fn resume(
    folder: &Path,
    dataset: &Dataset,
    settings: &Map<String, Value>,
    format: StoreFormat,
) -> Result<HashSet<String>, PreprocessError> {
    let file = folder.join(SETTINGS);
    let wanted = serde_json::json!({"settings": settings, "format": format!("{format:?}")});
    let same = json::read::<Value>(&file).is_ok_and(|found| found == wanted);
    if !same {
        remove(folder)?;
        std::fs::create_dir_all(folder).map_err(|e| PreprocessError::io(folder, e))?;
        json::write(&file, &wanted)?;
        return Ok(HashSet::new());
    }
    let store = Store::unfinished(folder, format);
    let usable = |case: &&Case| is_newer(folder, case) && store.verify(&case.id).is_ok();
    let finished: HashSet<String> =
        dataset.cases.par_iter().filter(usable).map(|case| case.id.clone()).collect();
    let mut wanted: HashSet<String> = finished.iter().flat_map(|id| Store::files(id, format)).collect();
    wanted.insert(SETTINGS.to_owned());
    for entry in std::fs::read_dir(folder).map_err(|e| PreprocessError::io(folder, e))? {
        let entry = entry.map_err(|e| PreprocessError::io(folder, e))?;
        if !wanted.contains(&*entry.file_name().to_string_lossy()) {
            let path = entry.path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|e| PreprocessError::io(&path, e))?;
        }
    }
    Ok(finished)
}

/// Whether a case was finished after its files were last changed.
fn is_newer(folder: &Path, case: &Case) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
    let Ok(finished) = modified(&folder.join(format!("{}.json", case.id))) else { return false };
    case.images.iter().chain([&case.label]).all(|path| modified(path).is_ok_and(|changed| changed < finished))
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
            write_unsynced(&target, |out| out.write_all(&bytes))
                .map_err(|e| PreprocessError::io(&target, e))?;
        }
    }
    sync_folder(folder).map_err(|e| PreprocessError::io(folder, e))
}
