//! Which configuration, or which pair of them, segments the training cases best.

mod crossval;
mod instructions;

use std::path::{Path, PathBuf};

use nnunet_fingerprint::{Fold, json};
use nnunet_image::Progress;
use nnunet_infer::{Ensemble, Summary, copy_descriptions, crossval_cases, evaluate_folder};
use nnunet_plan::Plans;
use serde::{Serialize, Serializer};

use crate::ensembling::{Description, all_done, determine_postprocessing};
use crate::{Error, Project, TRAINER};
use crossval::{accumulate, folds_name};
use instructions::instructions;

/// Which models to compare.
#[derive(Debug, Clone)]
pub struct SelectionRequest {
    /// Configurations; empty for nnU-Net's four, of which those without a trained model are left out.
    pub configurations: Vec<String>,
    /// Names of plans.
    pub plans: Vec<String>,
    /// Names of trainers.
    pub trainers: Vec<String>,
    /// Folds whose validation cases count.
    pub folds: Vec<Fold>,
    /// Try pairs of models, too; their validation must have saved probabilities.
    pub ensembling: bool,
    /// Do again what an earlier run left.
    pub overwrite: bool,
}

impl Default for SelectionRequest {
    fn default() -> Self {
        Self {
            configurations: Vec::new(),
            plans: vec!["nnUNetPlans".to_owned()],
            trainers: vec![TRAINER.to_owned()],
            folds: (0..5).map(Fold::Index).collect(),
            ensembling: true,
            overwrite: true,
        }
    }
}

/// The best model and how to predict with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Mean foreground Dice of each model and ensemble, in the order in which they were tried.
    pub scores: Vec<(String, f64)>,
    /// The name of the best.
    pub best: String,
    /// Its score, before and after postprocessing.
    pub score: [f64; 2],
    /// The commands to run, as in `inference_instructions.txt`.
    pub instructions: String,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Model {
    pub(crate) configuration: String,
    pub(crate) plans: String,
    pub(crate) trainer: String,
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

impl Model {
    fn name(&self) -> String {
        format!("{}__{}__{}", self.trainer, self.plans, self.configuration)
    }
}

struct Candidate {
    name: String,
    source: PathBuf,
    score: f64,
    members: Vec<Model>,
}

/// A score that may be NaN.
struct Score(f64);

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::nan(&self.0, serializer)
    }
}

impl Project {
    /// Compares trained models, and pairs of them, by the mean Dice of their validation cases; determines postprocessing for
    /// the best; writes `inference_information.json` and `inference_instructions.txt` to the results of the data set.
    ///
    /// # Errors
    /// A model or fold that is not there, validation cases without probabilities if pairs are to be tried, or a file that
    /// cannot be read or written.
    pub fn find_best_configuration(
        &self,
        request: &SelectionRequest,
        log: &dyn Fn(&str),
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Selection, Error> {
        let models = self.candidates(request, log)?;
        let mut candidates = Vec::new();
        for model in &models {
            let source = model.folder.join(format!("crossval_results_folds_{}", folds_name(&request.folds)));
            let references = self.references(true)?;
            let summary = accumulate(&model.folder, &source, &request.folds, &references, request.overwrite)?;
            let score = summary.foreground_mean.dice;
            log(&format!("{}: {score:.4}", model.name()));
            candidates.push(Candidate { name: model.name(), source, score, members: vec![model.clone()] });
        }
        let pairs = models.iter().enumerate().flat_map(|(i, a)| models[i + 1..].iter().map(move |b| (a, b)));
        for (a, b) in pairs.filter(|_| request.ensembling) {
            let candidate = self.ensemble_of(a, b, request, progress)?;
            log(&format!("{}: {:.4}", candidate.name, candidate.score));
            candidates.push(candidate);
        }
        // The first of the best, so that a single model wins against an ensemble that is no better.
        let mut best: Option<&Candidate> = None;
        for candidate in &candidates {
            if best.is_none_or(|best| candidate.score > best.score || best.score.is_nan()) {
                best = Some(candidate);
            }
        }
        let best =
            best.ok_or_else(|| Error::Invalid("there is no trained model to choose from".to_owned()))?;
        let report = determine_postprocessing(&best.source, &self.references(false)?, None, None)?;
        let after = report.after.foreground_mean.dice;
        self.write_selection(request, &models, &candidates, best, after)
    }

    /// The models that are trained.
    fn candidates(&self, request: &SelectionRequest, log: &dyn Fn(&str)) -> Result<Vec<Model>, Error> {
        let defaults = ["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"].map(str::to_owned);
        let wanted = if request.configurations.is_empty() { &defaults[..] } else { &request.configurations };
        let mut models = Vec::new();
        for trainer in &request.trainers {
            for configuration in wanted {
                for plans in &request.plans {
                    if !self.plans(plans)?.configurations.contains_key(configuration) {
                        log(&format!("{configuration}: not in {plans}, left out"));
                        continue;
                    }
                    let folder = self.folder_of(trainer, plans, configuration)?;
                    if !folder.is_dir() {
                        if request.configurations.is_empty() {
                            log(&format!("{configuration}: not trained, left out"));
                            continue;
                        }
                        let hint = "train all requested folds of it first";
                        return Err(Error::Missing { what: "trained model", path: folder, hint });
                    }
                    let (configuration, plans) = (configuration.clone(), plans.clone());
                    models.push(Model { configuration, plans, trainer: trainer.clone(), folder });
                }
            }
        }
        Ok(models)
    }

    fn ensemble_of(
        &self,
        a: &Model,
        b: &Model,
        request: &SelectionRequest,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Candidate, Error> {
        let name = format!("ensemble___{}___{}___{}", a.name(), b.name(), folds_name(&request.folds));
        let source = self.results_folder()?.join("ensembles").join(&name);
        let Description { rules, reader, file_ending } = Description::read(&a.folder, None, None)?;
        let folds: Vec<String> = request.folds.iter().map(|fold| fold.folder_name()).collect();
        let mut cases = crossval_cases(&[a.folder.clone(), b.folder.clone()], &folds)?;
        if !request.overwrite {
            cases.retain(|(id, _)| !source.join(format!("{id}{file_ending}")).is_file());
        }
        let ensemble = Ensemble {
            rules: &rules,
            reader: reader.as_ref(),
            file_ending: &file_ending,
            save_probabilities: false,
        };
        let failed = ensemble.run(&cases, &source, progress)?;
        all_done(failed, cases.len())?;
        copy_descriptions(&a.folder, &source)?;
        let references = self.references(false)?;
        let summary: Summary =
            evaluate_folder(&references, &source, &rules, reader.as_ref(), &file_ending, false)?;
        json::write(&source.join("summary.json"), &summary)?;
        let members = vec![a.clone(), b.clone()];
        Ok(Candidate { name, source, score: summary.foreground_mean.dice, members })
    }

    /// The folder of reference segmentations: that of the raw data or that of the preprocessed data, whichever comes first
    /// and is there.
    fn references(&self, raw_first: bool) -> Result<PathBuf, Error> {
        let raw = self.raw_folder().map(|folder| folder.join("labelsTr"));
        let kept = self.preprocessed_folder().map(|folder| folder.join("gt_segmentations"));
        let mut folders = vec![kept, raw];
        if raw_first {
            folders.reverse();
        }
        let there = folders.iter().flatten().find(|folder| folder.is_dir()).cloned();
        match (there, folders.into_iter().next()) {
            (Some(folder), _) => Ok(folder),
            (None, Some(Ok(path))) => Err(Error::Missing {
                what: "folder of reference segmentations",
                path,
                hint: "give --raw DIR",
            }),
            (None, Some(Err(error))) => Err(error),
            (None, None) => Err(Error::Invalid("no folder of reference segmentations".to_owned())),
        }
    }

    fn write_selection(
        &self,
        request: &SelectionRequest,
        models: &[Model],
        candidates: &[Candidate],
        best: &Candidate,
        after: f64,
    ) -> Result<Selection, Error> {
        let selected = best.members.iter().map(|model| Selected {
            configuration: &model.configuration,
            plans_identifier: &model.plans,
            trainer: &model.trainer,
        });
        let information = Information {
            all_results: candidates.iter().map(|c| (c.name.as_str(), Score(c.score))).collect(),
            best_model_or_ensemble: Best {
                postprocessing_file: best.source.join("postprocessing.pkl"),
                result_on_crossval_post_pp: Score(after),
                result_on_crossval_pre_pp: Score(best.score),
                selected_model_or_models: selected.collect(),
                some_plans_file: best.source.join("plans.json"),
            },
            considered_models: models,
            dataset_name_or_id: self.name(),
            ensembling_allowed: request.ensembling,
            folds: request.folds.iter().map(fold_value).collect(),
        };
        let folder = self.results_folder()?;
        json::write(&folder.join("inference_information.json"), &information)?;
        let text = instructions(best.members.as_slice(), &best.source, &request.folds, |model, previous| {
            let stage = self.folder_of(&model.trainer, &model.plans, previous)?;
            Ok(Model { configuration: previous.to_owned(), folder: stage, ..model.clone() })
        })?;
        let file = folder.join("inference_instructions.txt");
        nnunet_image::fs::write_atomic(&file, |out| out.write_all(text.as_bytes()))
            .map_err(|source| Error::io(&file, source))?;
        Ok(Selection {
            scores: candidates.iter().map(|c| (c.name.clone(), c.score)).collect(),
            best: best.name.clone(),
            score: [best.score, after],
            instructions: text,
        })
    }

    fn folder_of(&self, trainer: &str, plans: &str, configuration: &str) -> Result<PathBuf, Error> {
        Ok(self.results_folder()?.join(format!("{trainer}__{plans}__{configuration}")))
    }
}

fn fold_value(fold: &Fold) -> serde_json::Value {
    let name = fold.folder_name();
    let name = name.strip_prefix("fold_").unwrap_or(&name);
    name.parse::<u32>().map_or_else(|_| name.into(), Into::into)
}

/// `previous_stage` of a model's configuration.
pub(crate) fn previous_stage(model: &Model) -> Result<Option<String>, Error> {
    let plans = Plans::read(&model.folder.join("plans.json"))?;
    Ok(plans.configuration(&model.configuration)?.previous_stage)
}

/// `inference_information.json`; fields in the order of their names, as the reference sorts them.
#[derive(Serialize)]
struct Information<'a> {
    #[serde(serialize_with = "as_map")]
    all_results: Vec<(&'a str, Score)>,
    best_model_or_ensemble: Best<'a>,
    considered_models: &'a [Model],
    dataset_name_or_id: &'a str,
    ensembling_allowed: bool,
    folds: Vec<serde_json::Value>,
}

#[derive(Serialize)]
struct Best<'a> {
    postprocessing_file: PathBuf,
    result_on_crossval_post_pp: Score,
    result_on_crossval_pre_pp: Score,
    selected_model_or_models: Vec<Selected<'a>>,
    some_plans_file: PathBuf,
}

#[derive(Serialize)]
struct Selected<'a> {
    configuration: &'a str,
    plans_identifier: &'a str,
    trainer: &'a str,
}

fn as_map<S: Serializer>(entries: &[(&str, Score)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    serializer.collect_map(sorted.into_iter().map(|(name, score)| (name, score)))
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let safe = |c: char| c.is_alphanumeric() || "/._-+=:@,".contains(c);
    if text.chars().all(safe) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
