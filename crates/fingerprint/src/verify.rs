//! The integrity check: all findings at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nnunet_image::{CaseReader, Image, Progress};
use rayon::prelude::*;

use crate::{Case, Dataset, DatasetJson, LabelRules};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The data set cannot be used as it is.
    Error,
    /// Worth a look.
    Warning,
}

/// Something that is wrong with a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The case it is about, if it is about one.
    pub case: Option<String>,
    /// The file it is about, if it is about one.
    pub file: Option<PathBuf>,
    /// What was found and what was expected.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.severity == Severity::Error { "error" } else { "warning" })?;
        if let Some(case) = &self.case {
            write!(f, ": case {case}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ": {}", file.display())?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Checks declarations and every case of a data set, and returns everything that was found, in the order of the cases.
///
/// Per case: all files are there and can be read, the channels fit together and their number is right, image and
/// segmentation have the same shape and spacing (origin and direction, of channels too: a warning), neither contains NaN, and the
/// segmentation holds no value that `dataset.json` does not name.
pub fn verify(
    dataset: &Dataset,
    reader: &dyn CaseReader,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Vec<Finding> {
    let mut findings = declarations(dataset);
    let expected = expected_labels(dataset);
    let (done, total) = (AtomicUsize::new(0), dataset.cases.len());
    let per_case = Mutex::new(BTreeMap::new());
    dataset.cases.par_iter().enumerate().for_each(|(index, case)| {
        let check = Check { dataset, reader, expected: &expected, case, findings: Vec::new() };
        let found = check.run();
        if let Ok(mut map) = per_case.lock() {
            map.insert(index, found);
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        progress(Progress { done, total, item: &case.id });
    });
    findings.extend(per_case.into_inner().unwrap_or_default().into_values().flatten());
    findings
}

/// What keeps a data set's folder from being opened at all: missing folders, a missing or broken `dataset.json` with all its
/// problems. Nothing is found where [`Dataset::open`] succeeds, but for the old name of `channel_names`.
pub fn verify_layout(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut error = |file: PathBuf, message: String| {
        findings.push(Finding { case: None, file: Some(file), message, severity: Severity::Error });
    };
    if !folder.is_dir() {
        error(folder.to_owned(), "the folder of the data set does not exist".to_owned());
        return findings;
    }
    let file = folder.join("dataset.json");
    let json: Option<serde_json::Map<String, serde_json::Value>> = match crate::json::read(&file) {
        _ if !file.is_file() => {
            error(file.clone(), "the file does not exist".to_owned());
            None
        }
        Ok(map) => Some(map),
        Err(problem) => {
            error(file.clone(), problem.to_string());
            None
        }
    };
    if let Some(map) = &json {
        if map.contains_key("modality") && !map.contains_key("channel_names") {
            error(file.clone(), "key channel_names is missing; modality is its old name".to_owned());
        }
        if let Err(problem) = serde_json::from_value::<DatasetJson>(map.clone().into()) {
            problem.to_string().split("; ").for_each(|text| error(file.clone(), text.to_owned()));
        }
    }
    if json.is_none_or(|map| !map.contains_key("dataset")) {
        for sub in ["imagesTr", "labelsTr"].map(|sub| folder.join(sub)) {
            if !sub.is_dir() {
                error(sub, "the folder does not exist".to_owned());
            }
        }
    }
    findings
}

/// What `dataset.json` says, against itself and the list of cases.
fn declarations(dataset: &Dataset) -> Vec<Finding> {
    let file = dataset.folder.join("dataset.json");
    let mut findings = Vec::new();
    let mut error = |message: String| {
        let file = Some(file.clone());
        findings.push(Finding { case: None, file, message, severity: Severity::Error });
    };
    let (found, expected) = (dataset.cases.len(), dataset.json.num_training);
    if found != expected {
        error(format!("numTraining is {expected}, found {found} cases"));
    }
    let problems = LabelRules::problems(&dataset.json.labels, dataset.json.regions_class_order.as_deref());
    problems.iter().for_each(|problem| error(problem.to_string()));
    if let Ok(rules) = dataset.json.label_rules() {
        let mut labels = rules.all_labels().to_vec();
        labels.extend(rules.ignore_label());
        if labels.windows(2).any(|pair| pair[1] - pair[0] != 1) {
            error(format!("labels must be consecutive, found {labels:?}"));
        }
    }
    findings
}

fn expected_labels(dataset: &Dataset) -> Vec<f32> {
    let values = dataset.json.labels.values().flat_map(|value| value.labels().iter());
    values.map(|&label| label as f32).collect()
}

/// The check of one case.
struct Check<'a> {
    dataset: &'a Dataset,
    reader: &'a dyn CaseReader,
    expected: &'a [f32],
    case: &'a Case,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn run(mut self) -> Vec<Finding> {
        let case = self.case;
        let channels = self.dataset.json.channel_names.len();
        if case.images.len() != channels && case.images.len() != 1 {
            let names: Vec<_> = case.images.iter().filter_map(|p| p.file_name()).collect();
            self.error(
                None,
                format!(
                    "{} image files, expected one for each of {channels} channels: {names:?}",
                    names.len()
                ),
            );
        }
        let mut missing = false;
        for path in case.images.iter().chain([&case.label]) {
            if !path.is_file() {
                self.error(Some(path), "the file does not exist".to_owned());
                missing = true;
            }
        }
        if missing || case.images.is_empty() {
            return self.findings;
        }
        let image = self.reader.read_images(&case.images);
        let labels = self.reader.read_segmentation(&case.label);
        let image = self.keep(image);
        let labels = self.keep(labels);
        if let Some(image) = &image {
            self.image(image, channels);
        }
        if let Some(labels) = &labels {
            self.labels(labels);
        }
        if image.is_some() {
            self.places();
        }
        if let (Some(image), Some(labels)) = (image, labels) {
            self.pair(&image, &labels);
        }
        self.findings
    }

    fn error(&mut self, file: Option<&Path>, message: String) {
        self.push(file, message, Severity::Error);
    }

    fn push(&mut self, file: Option<&Path>, message: String, severity: Severity) {
        let case = Some(self.case.id.clone());
        self.findings.push(Finding { case, file: file.map(Path::to_owned), message, severity });
    }

    fn keep(&mut self, read: Result<Image, nnunet_image::ImageError>) -> Option<Image> {
        read.map_err(|problem| self.error(None, problem.to_string())).ok()
    }

    fn image(&mut self, image: &Image, channels: usize) {
        let found = image.data.dim().0;
        // A missing file has been reported above; one file may hold all channels.
        if found != channels && (self.case.images.len() == channels || self.case.images.len() == 1) {
            let file = (self.case.images.len() == 1).then(|| self.case.images[0].clone());
            self.error(file.as_deref(), format!("{found} channels, dataset.json names {channels}"));
        }
        for (channel, data) in image.data.outer_iter().enumerate() {
            if data.iter().any(|v| v.is_nan()) {
                let file = self.case.images.get(channel).unwrap_or(&self.case.images[0]).clone();
                self.error(Some(&file), "the image contains NaN".to_owned());
            }
        }
    }

    fn labels(&mut self, labels: &Image) {
        let file = self.case.label.clone();
        if labels.data.iter().any(|v| v.is_nan()) {
            self.error(Some(&file), "the segmentation contains NaN".to_owned());
        }
        let mut unknown = BTreeMap::<String, usize>::new();
        for value in labels.data.iter().filter(|v| !v.is_nan() && !self.expected.contains(v)) {
            *unknown.entry(value.to_string()).or_default() += 1;
        }
        if !unknown.is_empty() {
            let list: Vec<String> = unknown.iter().map(|(v, n)| format!("{v} ({n} voxels)")).collect();
            let named: Vec<String> = self.expected.iter().map(f32::to_string).collect();
            let text = format!(
                "values that dataset.json does not name: {}; it names {}",
                list.join(", "),
                named.join(", ")
            );
            self.error(Some(&file), text);
        }
    }

    /// Channels that lie elsewhere are stacked all the same, as nnU-Net does.
    fn places(&mut self) {
        let Ok(geometries) = nnunet_image::channel_geometries(self.reader, &self.case.images) else { return };
        let Some((_, first)) = geometries.first() else { return };
        for (file, (_, found)) in self.case.images.iter().zip(&geometries) {
            if !found.same_frame(first) {
                let text = format!(
                    "origin {:?} and direction {:?}, the first channel has {:?} and {:?}",
                    found.origin, found.direction, first.origin, first.direction
                );
                self.push(Some(file), text, Severity::Warning);
            }
        }
    }

    fn pair(&mut self, image: &Image, labels: &Image) {
        let file = self.case.label.clone();
        let (a, b) = (&image.data.shape()[1..], &labels.data.shape()[1..]);
        if a != b {
            self.error(Some(&file), format!("shape {b:?} (z, y, x), the image has {a:?}"));
        }
        let (image, labels) = (&image.geometry, &labels.geometry);
        if !labels.same_spacing(image) {
            let text =
                format!("spacing {:?} mm (z, y, x), the image has {:?}", labels.spacing, image.spacing);
            self.error(Some(&file), text);
        }
        if !labels.same_frame(image) {
            let text = format!(
                "origin {:?} and direction {:?}, the image has {:?} and {:?}",
                labels.origin, labels.direction, image.origin, image.direction
            );
            self.push(Some(&file), text, Severity::Warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_folder_lacks_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let messages = || {
            let findings = verify_layout(folder.path());
            findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
        };
        let text = messages();
        assert!(["dataset.json", "imagesTr", "labelsTr"].iter().all(|word| text.contains(word)), "{text}");
        let write = |text: &str| std::fs::write(folder.path().join("dataset.json"), text).unwrap();
        write(r#"{"labels": {"background": 0, "a": "x"}, "numTraining": 1}"#);
        let text = messages();
        for word in ["imagesTr", "labelsTr", "channel_names", "file_ending", "labels.a"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let whole = r#""labels": {"background": 0}, "numTraining": 0, "file_ending": ".nii", "dataset": {}}"#;
        write(&format!(r#"{{"channel_names": {{"0": "CT"}}, {whole}"#));
        assert_eq!(messages(), "");
        write(&format!(r#"{{"modality": {{"0": "CT"}}, {whole}"#));
        assert!(messages().contains("modality"));
        assert!(Dataset::open(folder.path()).is_ok());
        write(r#"{"modality": {"0": "CT"}, "labels": {"background": 0, "a": "x"}, "numTraining": 1}"#);
        let text = messages();
        for word in ["modality", "labels.a", "file_ending"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
