//! Scores of folders, against nnU-Net's own and against mistakes.

use std::path::{Path, PathBuf};

use ndarray::Array3;
use nnunet_fingerprint::{Class, DatasetJson, LabelRules, json};
use nnunet_image::{CaseReader, Geometry, LabelMap, reader_by_name};
use nnunet_infer::{ExtendedMetrics, ExtendedOptions, InferError, MeanMetrics, Summary, evaluate_folder};

fn test_data() -> Option<PathBuf> {
    let data = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: NNUNET_TEST_DATA is not set");
    }
    data
}

fn name(path: &str) -> &std::ffi::OsStr {
    Path::new(path).file_name().unwrap()
}

fn near(found: &MeanMetrics, expected: &MeanMetrics) {
    let values = |m: &MeanMetrics| {
        let value = serde_json::to_value(m).unwrap();
        value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_f64().unwrap())).collect::<Vec<_>>()
    };
    for ((key, found), (expected_key, expected)) in values(found).into_iter().zip(values(expected)) {
        assert_eq!(key, expected_key);
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{key}: {found}, expected {expected}");
    }
}

#[test]
fn scores_of_the_reference_are_reproduced() {
    let Some(data) = test_data() else { return };
    let raw = data.join("data/nnUNet_raw/Dataset004_Hippocampus");
    let folder = data.join("golden/hippocampus/validation_fold0");
    let rules = DatasetJson::read(&raw.join("dataset.json")).unwrap().label_rules().unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let found =
        evaluate_folder(&raw.join("labelsTr"), &folder, &rules, reader.as_ref(), ".nii.gz", false).unwrap();
    let expected: Summary = json::read(&folder.join("summary.json")).unwrap();

    near(&found.foreground_mean, &expected.foreground_mean);
    assert!(found.mean.keys().eq(expected.mean.keys()));
    found.mean.values().zip(expected.mean.values()).for_each(|(found, expected)| near(found, expected));
    assert_eq!(found.metric_per_case.len(), expected.metric_per_case.len());
    for (found, expected) in found.metric_per_case.iter().zip(&expected.metric_per_case) {
        assert_eq!(name(&found.prediction_file), name(&expected.prediction_file));
        assert_eq!(name(&found.reference_file), name(&expected.reference_file));
        assert_eq!(found.metrics, expected.metrics);
    }
    // With the reference's short file names, the text is the same to the last character.
    let mut renamed = found;
    for (found, expected) in renamed.metric_per_case.iter_mut().zip(&expected.metric_per_case) {
        found.prediction_file.clone_from(&expected.prediction_file);
        found.reference_file.clone_from(&expected.reference_file);
    }
    let text = std::fs::read_to_string(folder.join("summary.json")).unwrap();
    assert_eq!(json::to_string(&renamed).unwrap(), text.trim_end());
}

/// Masks that `golden/extended.py` has drawn and scored, in single precision.
#[test]
fn surface_distances_and_lesions_are_those_of_monai_and_scipy() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/extended.json")).unwrap();
    for case in golden.as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let list =
            |key: &str| case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let shape: Vec<usize> = list("shape").iter().map(|&n| n as usize).collect();
        let spacing: [f64; 3] = list("spacing").try_into().unwrap();
        let mask = |key: &str| {
            let mut values = vec![0_i16; shape.iter().product()];
            list(key).iter().for_each(|&at| values[at as usize] = 1);
            Array3::from_shape_vec([shape[0], shape[1], shape[2]], values).unwrap()
        };
        let options = ExtendedOptions { surface_tolerance: number("tolerance") };
        let (reference, prediction) = (mask("reference"), mask("prediction"));
        let found =
            ExtendedMetrics::compute(&reference, &prediction, spacing, &Class::Label(1), None, &options);
        for (key, found) in
            [("NSD", found.surface_dice), ("HD95", found.hausdorff_95), ("ASSD", found.mean_surface_distance)]
        {
            let expected = number(key);
            assert!((found - expected).abs() <= 1e-6 * expected, "{shape:?} {key}: {found}, not {expected}");
        }
        for (key, found) in [
            ("lesions_found", found.lesions_found),
            ("lesions_missed", found.lesions_missed),
            ("lesions_wrong", found.lesions_wrong),
        ] {
            assert_eq!(found, number(key), "{shape:?} {key}");
        }
        // Surfaces between voxels, weighed by area: no further apart than a voxel's corners.
        if let Some(areas) = case["HD95_of_areas"].as_f64() {
            let diagonal = spacing.iter().map(|s| s * s).sum::<f64>().sqrt();
            assert!((found.hausdorff_95 - areas).abs() <= diagonal, "{shape:?}: {areas}");
        }
    }
}

struct Folders {
    _root: tempfile::TempDir,
    reference: PathBuf,
    prediction: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [reference, prediction] = ["reference", "prediction"].map(|name| root.path().join(name));
        std::fs::create_dir(&reference).unwrap();
        std::fs::create_dir(&prediction).unwrap();
        Self { _root: root, reference, prediction }
    }

    fn evaluate(&self, strict: bool) -> Result<Summary, InferError> {
        let json = r#"{"background": 0, "a": 1, "b": 2}"#;
        let rules = LabelRules::new(&serde_json::from_str(json).unwrap(), None).unwrap();
        evaluate_folder(&self.reference, &self.prediction, &rules, reader().as_ref(), ".nii.gz", strict)
    }
}

fn reader() -> std::sync::Arc<dyn CaseReader> {
    reader_by_name("SimpleITKIO").unwrap()
}

fn write(path: PathBuf, shape: (usize, usize, usize), label: i16) {
    let labels = LabelMap { data: Array3::from_elem(shape, label), geometry: Geometry::default() };
    reader().write_labels(&path, &labels).unwrap();
}

#[test]
fn references_without_prediction_matter_only_when_strict() {
    let folders = Folders::new();
    for case in ["a", "b"] {
        write(folders.reference.join(format!("{case}.nii.gz")), (2, 3, 4), 1);
    }
    write(folders.prediction.join("a.nii.gz"), (2, 3, 4), 1);
    let summary = folders.evaluate(false).unwrap();
    assert_eq!(summary.metric_per_case.len(), 1);
    assert_eq!(summary.mean["1"].dice, 1.0);
    assert!(summary.mean["2"].dice.is_nan());
    let error = folders.evaluate(true).unwrap_err().to_string();
    assert!(error.contains("reference/b.nii.gz") && error.contains("prediction/b.nii.gz"), "{error}");
}

#[test]
fn predictions_without_reference_are_named() {
    let folders = Folders::new();
    write(folders.prediction.join("a.nii.gz"), (2, 3, 4), 1);
    let error = folders.evaluate(false).unwrap_err().to_string();
    assert!(error.contains("prediction/a.nii.gz") && error.contains("reference/a.nii.gz"), "{error}");
}

#[test]
fn different_shapes_are_named_with_their_files() {
    let folders = Folders::new();
    write(folders.reference.join("a.nii.gz"), (2, 3, 4), 1);
    write(folders.prediction.join("a.nii.gz"), (2, 4, 3), 1);
    let error = folders.evaluate(false).unwrap_err().to_string();
    for part in ["prediction/a.nii.gz", "reference/a.nii.gz", "[2, 4, 3]", "[2, 3, 4]"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn empty_and_missing_folders_are_named() {
    let folders = Folders::new();
    let error = folders.evaluate(false).unwrap_err().to_string();
    assert!(error.contains("prediction") && error.contains(".nii.gz"), "{error}");
    std::fs::remove_dir(&folders.prediction).unwrap();
    let error = folders.evaluate(false).unwrap_err().to_string();
    assert!(error.contains("prediction"), "{error}");
}

#[test]
fn broken_files_are_named() {
    let folders = Folders::new();
    write(folders.reference.join("a.nii.gz"), (2, 3, 4), 1);
    std::fs::write(folders.prediction.join("a.nii.gz"), "not an image").unwrap();
    let error = folders.evaluate(false).unwrap_err().to_string();
    assert!(error.contains("prediction/a.nii.gz"), "{error}");
}
