//! Postprocessing against what nnU-Net decided, see `golden/postprocessing/make.py`; ensembles of folders.

mod common;

use std::path::{Path, PathBuf};

use candle_core::Device;
use nnunet_fingerprint::{DatasetJson, json};
use nnunet_image::npz::{NpzArray, read_npz_f32, write_npz};
use nnunet_image::{Geometry, Image, reader_by_name, write_image};
use nnunet_infer::{
    BatchOptions, Ensemble, Postprocessing, Predictor, PredictorOptions, crossval_cases,
    determine_postprocessing, ensemble_cases,
};
use serde_json::Value;

fn golden(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/postprocessing").join(kind)
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Without the names of files, which differ.
fn scores(path: &Path) -> Value {
    let mut value: Value = json::read(path).unwrap();
    if let Some(cases) = value.get_mut("metric_per_case").and_then(Value::as_array_mut) {
        for case in cases {
            case["prediction_file"].take();
            case["reference_file"].take();
        }
    }
    value
}

#[test]
fn decisions_are_those_of_the_reference() {
    let reader = reader_by_name("SimpleITKIO").unwrap();
    for kind in ["labels", "regions", "one", "nothing"] {
        let (root, golden) = (tempfile::tempdir().unwrap(), golden(kind));
        let folder = root.path().join("predicted");
        copy_all(&golden.join("predicted"), &folder);
        let rules = DatasetJson::read(&folder.join("dataset.json")).unwrap().label_rules().unwrap();
        let references = golden.join("reference");
        let report =
            determine_postprocessing(&folder, &references, &rules, reader.as_ref(), ".nii.gz").unwrap();
        for name in ["summary.json", "postprocessing.json", "postprocessed/summary.json"] {
            assert_eq!(scores(&folder.join(name)), scores(&golden.join(name)), "{kind}/{name}");
        }
        let text = |folder: &Path| std::fs::read_to_string(folder.join("postprocessing.json")).unwrap();
        assert_eq!(text(&folder), text(&golden).trim_end(), "{kind}");
        assert_eq!(names(&folder.join("postprocessed")), names(&golden.join("postprocessed")), "{kind}");
        // Either file of either program, applied to the predictions, gives the reference's segmentations.
        for file in [
            folder.join("postprocessing.json"),
            golden.join("postprocessing.pkl"),
            folder.join("postprocessing.pkl"),
        ] {
            let postprocessing = Postprocessing::read(&file).unwrap();
            assert_eq!(postprocessing.steps.len(), report.postprocessing.steps.len());
            let out = root.path().join("applied");
            let failed =
                postprocessing.apply_to_folder(&folder, &out, reader.as_ref(), ".nii.gz", &|_| {}).unwrap();
            assert!(failed.is_empty());
            for name in names(&golden.join("reference")) {
                let read = |folder: &Path| reader.read_labels(&folder.join(&name)).unwrap();
                let expected = read(&golden.join("postprocessed"));
                assert_eq!(read(&out), expected, "{kind}/{name}");
                assert_eq!(read(&folder.join("postprocessed")), expected, "{kind}/{name}");
            }
        }
    }
}

#[test]
fn segmentations_that_cannot_be_read_are_named_and_the_others_written() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("predicted");
    copy_all(&golden("one").join("predicted"), &folder);
    std::fs::write(folder.join("broken.nii.gz"), "not an image").unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let out = root.path().join("out");
    let postprocessing = Postprocessing::default();
    let failed = postprocessing.apply_to_folder(&folder, &out, reader.as_ref(), ".nii.gz", &|_| {}).unwrap();
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "broken.nii.gz"));
    assert!(failed[0].1.to_string().contains("broken.nii.gz"));
    assert_eq!(names(&out), ["c0.nii.gz", "c1.nii.gz", "c2.nii.gz", "c3.nii.gz"]);
    let rules = DatasetJson::read(&folder.join("dataset.json")).unwrap().label_rules().unwrap();
    let references = golden("one").join("reference");
    let error =
        determine_postprocessing(&folder, &references, &rules, reader.as_ref(), ".nii.gz").unwrap_err();
    assert!(error.to_string().contains("broken.nii.gz"), "{error}");
}

/// Two models' predictions of two cases.
fn predictions(root: &Path) -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for (seed, id) in ["a", "b"].into_iter().enumerate() {
        let data = ndarray::Array4::from_shape_fn((1, 9, 10, 11), |(_, z, y, x)| {
            3.0 + ((z * 7 + y * 3 + x * 5 + seed) as f32 * 0.37).sin()
        });
        let geometry = Geometry { spacing: [1.0, 0.7, 1.3], origin: [5.0, -3.0, 2.0], ..Geometry::default() };
        let file = root.join(format!("{id}_0000.nii.gz"));
        write_image(&file, &Image { data, geometry }).unwrap();
        cases.push((id.to_owned(), vec![file]));
    }
    let model = root.join("model");
    std::fs::create_dir(&model).unwrap();
    common::write_model(&model, 2);
    let options = BatchOptions { save_probabilities: true, ..BatchOptions::default() };
    let folders = [0, 1].map(|fold| {
        let folds = [nnunet_fingerprint::Fold::Index(fold)];
        let predictor =
            Predictor::open(&model, Some(&folds), None, PredictorOptions::fast(), Device::Cpu).unwrap();
        let out = root.join(format!("out{fold}"));
        for (_, result) in predictor.predict_files(&cases, &out, &options, &|_| {}) {
            result.unwrap();
        }
        out
    });
    folders.to_vec()
}

#[test]
fn ensembles_are_means_in_the_geometry_of_the_first_member() {
    let root = tempfile::tempdir().unwrap();
    let folders = predictions(root.path());
    let reader = reader_by_name("SimpleITKIO").unwrap();
    common::write_descriptions(root.path());
    let rules = DatasetJson::read(&root.path().join("dataset.json")).unwrap().label_rules().unwrap();
    let ensemble =
        Ensemble { rules: &rules, reader: reader.as_ref(), file_ending: ".nii.gz", save_probabilities: true };
    let cases = ensemble_cases(&folders).unwrap();
    // The reference's properties alone do as well.
    std::fs::remove_file(folders[0].join("b.json")).unwrap();
    let out = root.path().join("ensemble");
    assert!(ensemble.run(&cases, &out, &|_| {}).unwrap().is_empty());
    for id in ["a", "b"] {
        let read = |folder: &Path| read_npz_f32(&folder.join(format!("{id}.npz")), "probabilities").unwrap();
        let (one, two, mean) = (read(&folders[0]), read(&folders[1]), read(&out));
        assert_ne!(one, two);
        assert_eq!(mean, (&one + &two) / 2.0);
        let labels = |folder: &Path| reader.read_labels(&folder.join(format!("{id}.nii.gz"))).unwrap();
        let (found, first) = (labels(&out), labels(&folders[0]));
        assert!(found.geometry.same_spacing(&first.geometry) && found.geometry.same_frame(&first.geometry));
        for ((z, y, x), &label) in found.data.indexed_iter() {
            let here = mean.slice(ndarray::s![.., z, y, x]);
            assert!(here.iter().all(|p| *p <= here[label as usize]));
        }
    }

    // A case that one member lacks, one of another shape, and one without geometry.
    let wrong = NpzArray::F32(ndarray::Array4::zeros((3, 2, 2, 2)).into_dyn());
    write_npz(&folders[1].join("a.npz"), &[("probabilities", wrong)]).unwrap();
    std::fs::remove_file(folders[0].join("b.pkl")).unwrap();
    let failed = ensemble.run(&cases, &root.path().join("again"), &|_| {}).unwrap();
    let text = |i: usize| failed[i].1.to_string();
    assert_eq!(failed.len(), 2);
    assert!(text(0).contains("out1/a.npz") && text(0).contains("[3, 2, 2, 2]"), "{}", text(0));
    assert!(text(1).contains("b.pkl"), "{}", text(1));
    std::fs::remove_file(folders[1].join("a.npz")).unwrap();
    let error = ensemble_cases(&folders).unwrap_err().to_string();
    assert!(error.contains("out0/a.npz") && error.contains("out1/a.npz"), "{error}");
    assert!(ensemble_cases(&[root.path().join("model")]).is_err());
}

#[test]
fn cross_validations_must_have_every_case_once() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let file = root.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    };
    for file in ["m/fold_0/validation/a.npz", "m/fold_1/validation/b.npz", "n/fold_0/validation/b.npz"] {
        put(file);
    }
    let models = ["m", "n"].map(|name| root.path().join(name)).to_vec();
    let folds = ["fold_0", "fold_1"].map(str::to_owned);
    let failed = || crossval_cases(&models, &folds).unwrap_err().to_string();
    assert!(failed().contains("n/fold_1/validation"), "{}", failed());
    put("n/fold_1/validation/b.npz");
    assert!(failed().contains("b.npz") && failed().contains("as well"), "{}", failed());
    std::fs::remove_file(root.path().join("n/fold_1/validation/b.npz")).unwrap();
    put("n/fold_1/validation/c.npz");
    assert!(failed().contains("no validation fold has"), "{}", failed());
    put("n/fold_1/validation/a.npz");
    put("m/fold_0/validation/c.npz");
    let cases = crossval_cases(&models, &folds).unwrap();
    let found: Vec<_> = cases.iter().map(|(id, files)| (id.as_str(), files.len())).collect();
    assert_eq!(found, [("a", 2), ("b", 2), ("c", 2)]);
    assert!(cases[1].1[1].ends_with("n/fold_0/validation/b.npz"));
}
