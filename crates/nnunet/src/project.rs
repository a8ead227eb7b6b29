//! One data set on its way through the method: raw images, fingerprint, plans, preprocessed cases.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnunet_fingerprint::{
    Dataset, DatasetJson, Finding, Fingerprint, Fold, Severity, Split, create_splits, dataset_name,
    extract_fingerprint, json, split_for_fold, verify, verify_layout,
};
use nnunet_image::{CaseReader, Progress, reader_by_name, reader_for};
use nnunet_plan::{Choice, PlannerOptions, Plans, explain_plans, plan_experiment};
use nnunet_preprocess::{Store, StoreFormat, preprocess_dataset_as};

use crate::{Error, Folders};

/// Name of the trainer that model folders carry.
pub const TRAINER: &str = "nnUNetTrainer";

/// A data set and the folders that its steps read and write.
///
/// Each step finds what the previous one left on disk, so that steps can run in one process or in several.
#[derive(Debug, Clone)]
pub struct Project {
    folders: Folders,
    name: String,
}

impl Project {
    /// Finds a data set by number (`4`), name (`Dataset004_Hippocampus`) or the path of its folder.
    ///
    /// A path also sets the raw folder where that is unset.
    ///
    /// # Errors
    /// No or more than one data set answers to `spec`.
    pub fn find(spec: &str, mut folders: Folders) -> Result<Self, Error> {
        let path = Path::new(spec);
        if path.join("dataset.json").is_file() {
            let path = path.canonicalize().map_err(|source| Error::io(path, source))?;
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.parent().is_some() {
                folders.raw = path.parent().map(Path::to_owned);
                return Ok(Self { folders, name });
            }
        }
        let name = dataset_name(spec, &folders.existing())?;
        Ok(Self { folders, name })
    }

    /// `DatasetNNN_Name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Folder of the raw data set.
    ///
    /// # Errors
    /// The raw folder is not set.
    pub fn raw_folder(&self) -> Result<PathBuf, Error> {
        Ok(self.folders.need_raw()?.join(&self.name))
    }

    /// Folder of everything derived from the raw data set before training.
    ///
    /// # Errors
    /// The folder of preprocessed data is not set.
    pub fn preprocessed_folder(&self) -> Result<PathBuf, Error> {
        Ok(self.folders.need_preprocessed()?.join(&self.name))
    }

    /// Folder of the data set's trained models.
    ///
    /// # Errors
    /// The results folder is not set.
    pub fn results_folder(&self) -> Result<PathBuf, Error> {
        Ok(self.folders.need_results()?.join(&self.name))
    }

    /// Folder of a trained model, in nnU-Net's layout.
    ///
    /// # Errors
    /// The results folder is not set.
    pub fn model_folder(&self, plans_name: &str, configuration: &str) -> Result<PathBuf, Error> {
        self.model_folder_of(TRAINER, plans_name, configuration)
    }

    /// Folder of a model that another trainer than the default one trains.
    ///
    /// # Errors
    /// The results folder is not set.
    pub fn model_folder_of(
        &self,
        trainer: &str,
        plans_name: &str,
        configuration: &str,
    ) -> Result<PathBuf, Error> {
        let model = format!("{trainer}__{plans_name}__{configuration}");
        Ok(self.folders.need_results()?.join(&self.name).join(model))
    }

    /// Opens the raw data set and the reader for its files.
    ///
    /// # Errors
    /// `dataset.json` or the image folders are missing or not as they should be; no reader for the file ending.
    pub fn open_raw(&self) -> Result<(Dataset, Arc<dyn CaseReader>), Error> {
        let dataset = Dataset::open(&self.raw_folder()?)?;
        let reader = choose_reader(&dataset)?;
        Ok((dataset, reader))
    }

    /// Checks the raw data set and returns all findings, none if it is sound.
    ///
    /// # Errors
    /// The raw folder is not set.
    pub fn verify(&self, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<Vec<Finding>, Error> {
        let folder = self.raw_folder()?;
        let mut findings = verify_layout(&folder);
        let dataset = match Dataset::open(&folder) {
            Ok(dataset) => dataset,
            Err(problem) if findings.is_empty() => return Err(problem.into()),
            Err(_) => return Ok(findings),
        };
        let reader = match choose_reader(&dataset) {
            Ok(reader) => reader,
            Err(problem) => {
                let example = dataset.cases.first();
                findings.push(Finding {
                    case: example.map(|case| case.id.clone()),
                    file: example.and_then(|case| case.images.first().cloned()),
                    message: problem.to_string(),
                    severity: Severity::Error,
                });
                return Ok(findings);
            }
        };
        findings.extend(verify(&dataset, reader.as_ref(), progress));
        Ok(findings)
    }

    /// The fingerprint that is there already, if it is one of as many cases as the raw data set has.
    ///
    /// # Errors
    /// The folders are not set, or the raw data set cannot be opened.
    pub fn existing_fingerprint(&self) -> Result<Option<Fingerprint>, Error> {
        let found = json::read::<Fingerprint>(&self.preprocessed_folder()?.join("dataset_fingerprint.json"));
        let cases = Dataset::open(&self.raw_folder()?)?.cases.len();
        Ok(found.ok().filter(|fingerprint| fingerprint.spacings.len() == cases))
    }

    /// Extracts the fingerprint and writes `dataset_fingerprint.json`; an existing one is replaced.
    ///
    /// # Errors
    /// A case that cannot be read, or a data set without any foreground.
    pub fn fingerprint(&self, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<Fingerprint, Error> {
        let folder = self.preprocessed_folder()?;
        create_folder(&folder)?;
        let (dataset, reader) = self.open_raw()?;
        let fingerprint = extract_fingerprint(&dataset, reader.as_ref(), progress)?;
        json::write(&folder.join("dataset_fingerprint.json"), &fingerprint)?;
        Ok(fingerprint)
    }

    /// Plans the configurations and writes `<plans name>.json`, `dataset.json` and, if absent, `splits_final.json`.
    ///
    /// `options` may leave the names of data set and reader empty; they are filled in. Configurations of an existing
    /// plans file that the planner does not produce are kept, as nnU-Net does.
    ///
    /// # Errors
    /// No fingerprint yet, or one that nothing can be planned from.
    pub fn plan(&self, options: &PlannerOptions) -> Result<Plans, Error> {
        let folder = self.preprocessed_folder()?;
        let fingerprint = self.read_fingerprint()?;
        let (dataset, reader) = self.open_raw()?;
        let options = PlannerOptions {
            dataset_name: self.name.clone(),
            image_reader_writer: reader.name().to_owned(),
            ..options.clone()
        };
        let mut plans = plan_experiment(&fingerprint, &dataset.json, &options)?;
        let file = folder.join(format!("{}.json", plans.plans_name));
        if file.is_file() {
            plans.keep_other_configurations(&Plans::read(&file)?);
        }
        copy(&dataset.folder.join("dataset.json"), &folder.join("dataset.json"))?;
        plans.write(&file)?;
        self.write_splits(&dataset)?;
        Ok(plans)
    }

    /// Why [`Project::plan`] chooses what it does.
    ///
    /// # Errors
    /// As [`Project::plan`].
    pub fn explain(&self, options: &PlannerOptions) -> Result<Vec<Choice>, Error> {
        Ok(explain_plans(&self.read_fingerprint()?, &self.open_raw()?.0.json, options)?)
    }

    fn read_fingerprint(&self) -> Result<Fingerprint, Error> {
        let path = self.preprocessed_folder()?.join("dataset_fingerprint.json");
        if !path.is_file() {
            let hint = "run `nnunet fingerprint` first";
            return Err(Error::Missing { what: "fingerprint", path, hint });
        }
        Ok(json::read(&path)?)
    }

    /// Takes over the splits of the raw folder, or makes five folds; existing splits stay.
    fn write_splits(&self, dataset: &Dataset) -> Result<(), Error> {
        let target = self.preprocessed_folder()?.join("splits_final.json");
        let given = dataset.folder.join("splits_final.json");
        if given.is_file() {
            let source: Vec<Split> = json::read(&given)?;
            if !target.is_file() {
                return Ok(json::write(&target, &source)?);
            }
            let present: Vec<Split> = json::read(&target)?;
            if same_folds(&source, &present).is_err() && self.is_untrained_default(dataset, &present) {
                return Ok(json::write(&target, &source)?);
            }
            return same_folds(&source, &present).map_err(|fold| Error::SplitsDiffer { fold, given, target });
        }
        let ids: Vec<String> = dataset.cases.iter().map(|case| case.id.clone()).collect();
        if !target.is_file() && ids.len() >= 5 {
            json::write(&target, &create_splits(&ids)?)?;
        }
        Ok(())
    }

    /// Whether splits are the five folds that planning made because there were none, and nothing has been trained on them.
    fn is_untrained_default(&self, dataset: &Dataset, splits: &[Split]) -> bool {
        let ids: Vec<String> = dataset.cases.iter().map(|case| case.id.clone()).collect();
        let trained = self.folders.need_results().is_ok_and(|results| results.join(&self.name).exists());
        !trained && create_splits(&ids).is_ok_and(|made| made == splits)
    }

    /// The plans of this data set.
    ///
    /// # Errors
    /// The file is missing or not as it should be.
    pub fn plans(&self, plans_name: &str) -> Result<Plans, Error> {
        let file = self.preprocessed_folder()?.join(format!("{plans_name}.json"));
        if !file.is_file() {
            return Err(Error::Missing { what: "plans", path: file, hint: "run `nnunet plan` first" });
        }
        Ok(Plans::read(&file)?)
    }

    /// The `dataset.json` that planning left beside the plans.
    ///
    /// # Errors
    /// The file is missing or not as it should be.
    pub fn dataset_json(&self) -> Result<DatasetJson, Error> {
        Ok(DatasetJson::read(&self.preprocessed_folder()?.join("dataset.json"))?)
    }

    /// Preprocesses all cases for one configuration into its store.
    ///
    /// # Errors
    /// A case that cannot be read or does not fit the plans; a folder that cannot be written.
    pub fn preprocess(
        &self,
        plans: &Plans,
        configuration: &str,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Store, Error> {
        self.preprocess_as(StoreFormat::default(), plans, configuration, progress)
    }

    /// [`Project::preprocess`] into a store of this format.
    ///
    /// # Errors
    /// As [`Project::preprocess`].
    pub fn preprocess_as(
        &self,
        format: StoreFormat,
        plans: &Plans,
        configuration: &str,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Store, Error> {
        let dataset = Dataset::open(&self.raw_folder()?)?;
        let reader = reader_by_name(&plans.image_reader_writer)?;
        let out = self.preprocessed_folder()?;
        Ok(preprocess_dataset_as(format, &dataset, reader.as_ref(), plans, configuration, &out, progress)?)
    }

    /// The cases that a fold trains on and validates on.
    ///
    /// Reads `splits_final.json` and writes it first where it is missing.
    ///
    /// # Errors
    /// Fewer than five cases to split, or a fold that cannot be made from them.
    pub fn split(&self, store: &Store, fold: Fold) -> Result<Split, Error> {
        let ids = store.identifiers();
        if fold == Fold::All {
            return Ok(split_for_fold(&[], ids, fold)?);
        }
        let file = self.preprocessed_folder()?.join("splits_final.json");
        if !file.is_file() {
            json::write(&file, &create_splits(ids)?)?;
        }
        let splits: Vec<Split> = json::read(&file)?;
        Ok(split_for_fold(&splits, ids, fold)?)
    }
}

/// The reader that `dataset.json` asks for, or the first that can read the first image.
fn choose_reader(dataset: &Dataset) -> Result<Arc<dyn CaseReader>, Error> {
    let wanted = dataset.json.overwrite_image_reader_writer.as_deref().filter(|name| *name != "None");
    if let Some(reader) = wanted.and_then(|name| reader_by_name(name).ok()) {
        return Ok(reader);
    }
    let example = dataset.cases.first().and_then(|case| case.images.first());
    Ok(reader_for(&dataset.json.file_ending, example.map(PathBuf::as_path))?)
}

/// Index of the first fold of `given` that `present` does not have in the same place.
fn same_folds(given: &[Split], present: &[Split]) -> Result<(), usize> {
    let set = |ids: &[String]| ids.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    for (fold, split) in given.iter().enumerate() {
        let same = present.get(fold).is_some_and(|other| {
            set(&other.train) == set(&split.train) && set(&other.val) == set(&split.val)
        });
        if !same {
            return Err(fold);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(from).map_err(|source| Error::io(from, source))?;
    nnunet_image::fs::write_atomic(to, |out| out.write_all(&bytes)).map_err(|source| Error::io(to, source))
}

pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))
}
