//! Ensembles: means of saved probabilities.

mod mean;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayView4};
use nnunet_fingerprint::LabelRules;
use nnunet_image::npz::Spill;
use nnunet_image::{CaseReader, LabelMap, Progress};
use nnunet_preprocess::CaseFrame;
use rayon::prelude::*;

use mean::{Decided, Mean, Members};

use crate::InferError;
use crate::folder::{copy, create, files};
use crate::predictor::{Properties, with_ending};

/// Segmentations from the mean of probabilities.
#[derive(Clone, Copy)]
pub struct Ensemble<'a> {
    /// Which channel stands for which label or region.
    pub rules: &'a LabelRules,
    /// Writes the segmentations.
    pub reader: &'a dyn CaseReader,
    /// Ending of the segmentations.
    pub file_ending: &'a str,
    /// Write the mean probabilities, too.
    pub save_probabilities: bool,
}

/// A case and its files of probabilities, one per member of the ensemble.
pub type EnsembleCase = (String, Vec<PathBuf>);

/// The cases of folders that were predicted with saved probabilities; all must have the same.
///
/// # Errors
/// No folder or case, or one that lacks a case of another.
pub fn ensemble_cases(folders: &[PathBuf]) -> Result<Vec<EnsembleCase>, InferError> {
    let lists = folders.iter().map(|folder| files(folder, ".npz")).collect::<Result<Vec<_>, _>>()?;
    let all: BTreeSet<&String> = lists.iter().flatten().collect();
    let Some(first) = folders.first().filter(|_| !all.is_empty()) else {
        let folder = folders.first().cloned().unwrap_or_default();
        return Err(InferError::NoPredictions { folder, ending: ".npz".to_owned() });
    };
    for (folder, list) in folders.iter().zip(&lists) {
        if let Some(missing) = all.iter().find(|name| list.binary_search(name).is_err()) {
            let other = folders.iter().zip(&lists).find(|(_, list)| list.binary_search(missing).is_ok());
            let file = other.map_or(first, |(folder, _)| folder).join(missing);
            return Err(InferError::Counterpart { file, missing: folder.join(missing) });
        }
    }
    let id = |name: &String| name.strip_suffix(".npz").unwrap_or(name).to_owned();
    Ok(all.iter().map(|name| (id(name), folders.iter().map(|folder| folder.join(name)).collect())).collect())
}

impl Ensemble<'_> {
    /// Averages each case, several at a time, and writes its segmentation, in the geometry of its first member.
    ///
    /// Returns the cases that failed; the others were written all the same.
    ///
    /// # Errors
    /// The output folder cannot be created.
    pub fn run(
        &self,
        cases: &[EnsembleCase],
        output: &Path,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<(String, InferError)>, InferError> {
        create(output)?;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let failed = cases.par_iter().filter_map(|(id, files)| {
            let result = self.one(id, files, output);
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(Progress { done, total: cases.len(), item: id });
            Some((id.clone(), result.err()?))
        });
        Ok(failed.collect())
    }

    fn one(&self, id: &str, files: &[PathBuf], output: &Path) -> Result<(), InferError> {
        let Some(first) = files.first() else { return Ok(()) };
        let properties = CaseFrame::read(&first.with_extension(""))?;
        let stem = output.join(id);
        let mut members = Members::open(files)?;
        let mut mean = Mean::of(&mut members)?;
        let [channels, z, y, x] = mean.shape;
        let heads = self.rules.num_heads();
        if channels != heads {
            let reason = format!("{channels} channels, dataset.json describes {heads}");
            return Err(InferError::file(first, reason));
        }
        let mut spill = if self.save_probabilities { Some(Spill::new(output, heads)?) } else { None };
        let mut decided = Decided::new([z, y, x], self.rules);
        let mut values = vec![0.0; mean.piece()];
        for channel in 0..channels {
            for start in (0..z * y * x).step_by(values.len()) {
                let values = &mut values[..mean.piece().min(z * y * x - start)];
                mean.read(values)?;
                decided.take(channel, start, values);
                if let Some(spill) = &mut spill {
                    spill.push(&[(channel, values)])?;
                }
            }
        }
        if let Some(spill) = spill {
            properties.write(&stem, self.reader.name())?;
            spill.write_npz(&with_ending(&stem, ".npz"), "probabilities", &[heads, z, y, x])?;
        }
        let labels = LabelMap { data: decided.labels(), geometry: properties.geometry() };
        Ok(self.reader.write_labels(&with_ending(&stem, self.file_ending), &labels)?)
    }
}

/// Labels `(z, y, x)` of probabilities `(channel, z, y, x)`: the largest, the first of several; of regions, the last in the
/// class order that is above one half.
pub fn labels_of_probabilities(probabilities: ArrayView4<'_, f32>, rules: &LabelRules) -> Array3<i16> {
    let (_, z, y, x) = probabilities.dim();
    let mut decided = Decided::new([z, y, x], rules);
    for (channel, values) in probabilities.outer_iter().enumerate() {
        decided.take(channel, 0, values.as_standard_layout().as_slice().unwrap_or_default());
    }
    decided.labels()
}

/// Copies `dataset.json` and `plans.json` from one folder to another, where they are there.
///
/// # Errors
/// A file that cannot be read or written.
pub fn copy_descriptions(from: &Path, to: &Path) -> Result<(), InferError> {
    for name in ["dataset.json", "plans.json"] {
        let file = from.join(name);
        if file.is_file() {
            copy(&file, &to.join(name))?;
        }
    }
    Ok(())
}

/// The cases of cross-validations: the `validation` folders of all folds of each model; every case once per model.
///
/// # Errors
/// A fold without saved probabilities, a case that two folds of a model have, or that a model lacks.
pub fn crossval_cases(models: &[PathBuf], folds: &[String]) -> Result<Vec<EnsembleCase>, InferError> {
    let mut maps = Vec::new();
    for model in models {
        let mut map = std::collections::BTreeMap::new();
        for fold in folds {
            let folder = model.join(fold).join("validation");
            let names = files(&folder, ".npz")?;
            if names.is_empty() {
                let reason = "no probabilities (.npz); train or validate the fold with saved probabilities";
                return Err(InferError::file(&folder, reason));
            }
            for name in names {
                if let Some(other) = map.insert(name.clone(), folder.join(&name)) {
                    let reason = format!("the case is in {} as well", other.display());
                    return Err(InferError::file(&folder.join(&name), reason));
                }
            }
        }
        maps.push(map);
    }
    let all: BTreeSet<&String> = maps.iter().flat_map(std::collections::BTreeMap::keys).collect();
    let mut cases = Vec::new();
    for name in all {
        let mut paths = Vec::new();
        for (map, model) in maps.iter().zip(models) {
            let path = map
                .get(name)
                .ok_or_else(|| InferError::file(model, format!("no validation fold has {name}")))?;
            paths.push(path.clone());
        }
        cases.push((name.strip_suffix(".npz").unwrap_or(name).to_owned(), paths));
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use ndarray::array;
    use nnunet_fingerprint::LabelValue;

    use super::*;

    #[test]
    fn labels_are_the_first_largest_or_the_last_region() {
        let labels = |entries: &[(&str, LabelValue)], order: Option<&[i64]>| {
            let map: IndexMap<_, _> = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
            LabelRules::new(&map, order).unwrap()
        };
        let plain = labels(
            &[("background", LabelValue::Label(0)), ("a", LabelValue::Label(1)), ("b", LabelValue::Label(2))],
            None,
        );
        let p = array![[[[0.5f32, 0.2, 0.1]]], [[[0.5, 0.4, 0.2]]], [[[0.0, 0.4, 0.7]]]];
        assert_eq!(labels_of_probabilities(p.view(), &plain), array![[[0i16, 1, 2]]]);
        let regions = labels(
            &[
                ("background", LabelValue::Label(0)),
                ("whole", LabelValue::Region(vec![1, 2, 3])),
                ("core", LabelValue::Region(vec![2, 3])),
                ("tip", LabelValue::Label(3)),
            ],
            Some(&[1, 2, 3]),
        );
        let p = array![[[[0.9f32, 0.4, 0.6, 0.5]]], [[[0.9, 0.6, 0.2, 0.5]]], [[[0.2, 0.1, 0.9, 0.51]]]];
        assert_eq!(labels_of_probabilities(p.view(), &regions), array![[[2i16, 2, 3, 3]]]);
    }
}
