//! Statistics of label files.

mod files;
mod table;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnunet_fingerprint::{Class, DatasetJson, LabelRules};
use nnunet_image::{Image, LabelMap, Progress};
use nnunet_infer::{LabelStatistics, count_labels, label_statistics};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;
use files::check_grids;
pub(crate) use files::reader_of;
use files::{CaseFiles, find_cases};

/// Cases that are in memory at a time.
const AT_ONCE: usize = 4;

/// Where the images of label files are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CaseImages {
    /// There are none: no intensities.
    #[default]
    None,
    /// The channels of the only label file, in order.
    Files(Vec<PathBuf>),
    /// A folder with `CASE_0000.nii.gz`, `CASE_0001.nii.gz`, … for the label file `CASE.nii.gz`.
    Folder(PathBuf),
}

/// Which label files to measure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatisticsRequest {
    /// Label files, and folders of them.
    pub labels: Vec<PathBuf>,
    /// Their images.
    pub images: CaseImages,
    /// Names of labels, regions and channels; the `dataset.json` of the first folder if none, and numbers without any.
    pub dataset_json: Option<PathBuf>,
}

/// Statistics of one label file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseStatistics {
    /// Name of the label file without its ending.
    pub case: String,
    /// The label file.
    pub labels_file: String,
    /// The images, one file per channel.
    pub image_files: Vec<String>,
    /// Names of labels and regions → statistics.
    pub labels: IndexMap<String, LabelStatistics>,
}

/// Statistics of several label files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatisticsReport {
    /// Names of the channels; empty without images.
    pub channels: Vec<String>,
    /// The label files, in the order given, those of folders by name.
    pub cases: Vec<CaseStatistics>,
}

/// Measures every label of every file: size, place and, with images, intensities.
///
/// With a `dataset.json`, each case has all its labels and regions, whether they occur or not; without, the labels but 0 that
/// occur.
///
/// # Errors
/// A file that is missing or cannot be read, an image on another grid than its labels, a label that `dataset.json` does not name,
/// or another number of channels than it names.
pub fn statistics(
    request: &StatisticsRequest,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<StatisticsReport, Error> {
    let names = Names::read(request)?;
    let files = find_cases(request)?;
    let mut cases = Vec::with_capacity(files.len());
    let mut channels = Vec::new();
    for (chunk, several) in files.chunks(AT_ONCE).enumerate() {
        let at = |item| Progress { done: chunk * AT_ONCE, total: files.len(), item };
        progress(at(&several[0].case));
        let found: Result<Vec<_>, Error> = several.par_iter().map(|case| measure(case, &names)).collect();
        for (case, count) in found? {
            if channels.len() < count {
                channels = names.channels(count);
            }
            cases.push(case);
        }
    }
    progress(Progress { done: files.len(), total: files.len(), item: "" });
    Ok(StatisticsReport { channels, cases })
}

/// What `dataset.json` says, if there is one.
struct Names {
    found: Option<(PathBuf, DatasetJson, LabelRules)>,
}

impl Names {
    fn read(request: &StatisticsRequest) -> Result<Self, Error> {
        let beside = || {
            let folder = request.labels.iter().find(|path| path.is_dir())?;
            Some(folder.join("dataset.json")).filter(|path| path.is_file())
        };
        let Some(path) = request.dataset_json.clone().or_else(beside) else {
            return Ok(Self { found: None });
        };
        let json = DatasetJson::read(&path)?;
        let rules = json.label_rules()?;
        Ok(Self { found: Some((path, json, rules)) })
    }

    fn channels(&self, count: usize) -> Vec<String> {
        let named: Option<Vec<String>> =
            self.found.as_ref().map(|(_, json, _)| json.channel_names.values().cloned().collect());
        named
            .filter(|names| names.len() == count)
            .unwrap_or_else(|| (0..count).map(|i| i.to_string()).collect())
    }

    /// What to measure in a file that holds these labels.
    fn classes(&self, file: &Path, present: &[i16]) -> Result<IndexMap<String, Class>, Error> {
        let Some((path, _, rules)) = &self.found else {
            let foreground = present.iter().filter(|label| **label != 0);
            return Ok(foreground.map(|&label| (label.to_string(), Class::Label(label))).collect());
        };
        let known = |label: i16| rules.all_labels().contains(&label) || rules.ignore_label() == Some(label);
        if let Some(label) = present.iter().find(|label| !known(**label)) {
            return Err(Error::Invalid(format!(
                "{} holds label {label}, which {} does not name: expected {:?}",
                file.display(),
                path.display(),
                rules.all_labels()
            )));
        }
        let class = |labels: &[i64]| match labels {
            [label] => i16::try_from(*label).ok().map(Class::Label),
            several => several
                .iter()
                .map(|&label| i16::try_from(label).ok())
                .collect::<Option<_>>()
                .map(Class::Region),
        };
        let named = rules.names().iter().filter(|(_, value)| value.labels().iter().any(|&label| label != 0));
        Ok(named.filter_map(|(name, value)| Some((name.clone(), class(value.labels())?))).collect())
    }

    /// Refuses an image with another number of channels than the data set has.
    fn check_channels(&self, files: &CaseFiles, found: usize) -> Result<(), Error> {
        match &self.found {
            Some((path, json, _)) if json.channel_names.len() != found => Err(Error::Invalid(format!(
                "the images of {} have {found} channels, {} names {}",
                files.labels.display(),
                path.display(),
                json.channel_names.len()
            ))),
            _ => Ok(()),
        }
    }
}

/// Labels and their image on the same grid.
pub(crate) fn read_case(
    labels: &Path,
    images: &[PathBuf],
    dataset: Option<&DatasetJson>,
) -> Result<(LabelMap, Option<Image>), Error> {
    #[cfg(feature = "dicom")]
    if let Some(found) = crate::dicom::read_pair(labels, images, dataset)? {
        return Ok(found);
    }
    let _ = dataset;
    let reader = reader_of(labels)?;
    check_grids(reader.as_ref(), labels, images)?;
    let found = reader.read_labels(labels)?;
    let image = if images.is_empty() { None } else { Some(reader.read_images(images)?) };
    Ok((found, image))
}

/// Statistics of a case, and how many channels it has.
fn measure(files: &CaseFiles, names: &Names) -> Result<(CaseStatistics, usize), Error> {
    let (labels, image) =
        read_case(&files.labels, &files.images, names.found.as_ref().map(|(_, json, _)| json))?;
    let present: Vec<i16> = count_labels(labels.data.view()).into_keys().collect();
    let classes = names.classes(&files.labels, &present)?;
    let channels = image.as_ref().map_or(0, |image| image.data.dim().0);
    if image.is_some() {
        names.check_channels(files, channels)?;
    }
    let list: Vec<Class> = classes.values().cloned().collect();
    let found =
        label_statistics(labels.data.view(), image.as_ref().map(|i| i.data.view()), &labels.geometry, &list)?;
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let case = CaseStatistics {
        case: files.case.clone(),
        labels_file: text(&files.labels),
        image_files: files.images.iter().map(text).collect(),
        labels: classes.into_keys().zip(found).collect(),
    };
    Ok((case, channels))
}
