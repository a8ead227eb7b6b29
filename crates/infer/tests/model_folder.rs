//! What is said about model folders that lack something.

mod common;

use std::path::Path;

use candle_core::Device;
use nnunet_fingerprint::Fold;
use nnunet_infer::{ModelBytes, Predictor, PredictorOptions};

fn refused(folder: &Path, folds: Option<&[Fold]>, checkpoint: Option<&str>) -> String {
    let opened = Predictor::open(folder, folds, checkpoint, PredictorOptions::default(), Device::Cpu);
    opened.err().expect("the folder is not complete").to_string()
}

fn assert_names(error: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    assert_names(&refused(&folder, None, None), &["model", "dataset.json", "no such folder"]);

    std::fs::create_dir(&folder).unwrap();
    assert_names(&refused(&folder, None, None), &["dataset.json", "nothing"]);

    std::fs::write(folder.join("dataset.json"), common::DATASET).unwrap();
    assert_names(&refused(&folder, None, None), &["plans.json", "found dataset.json"]);

    std::fs::write(folder.join("plans.json"), common::PLANS).unwrap();
    let error = refused(&folder, None, None);
    assert_names(&error, &["fold_*/checkpoint_final", "found dataset.json, plans.json"]);
    let error = refused(&folder, Some(&[Fold::Index(3)]), None);
    assert_names(&error, &["no fold_3", "found dataset.json, plans.json"]);
}

#[test]
fn checkpoints_that_are_there_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    common::write_descriptions(folder.path());
    for name in ["fold_0", "fold_all"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("fold_0/checkpoint_best.pth"), "").unwrap();
    std::fs::write(folder.path().join("fold_all/checkpoint_final.safetensors"), "").unwrap();
    let error = refused(folder.path(), None, None);
    assert_names(&error, &["fold_0/checkpoint_best.pth", "fold_all/checkpoint_final.safetensors"]);
    let error = refused(folder.path(), Some(&[Fold::Index(0)]), None);
    assert_names(
        &error,
        &["fold_0", "checkpoint_final", ".safetensors or .pth", "found checkpoint_best.pth"],
    );
    let error = refused(folder.path(), Some(&[Fold::Index(0)]), Some("checkpoint_latest"));
    assert_names(&error, &["checkpoint_latest", "checkpoint_best.pth"]);
}

#[test]
fn broken_checkpoints_are_named() {
    let folder = tempfile::tempdir().unwrap();
    common::write_descriptions(folder.path());
    std::fs::create_dir(folder.path().join("fold_0")).unwrap();
    for name in ["checkpoint_final.safetensors", "checkpoint_latest.pth"] {
        let file = folder.path().join("fold_0").join(name);
        std::fs::write(file, "not a checkpoint").unwrap();
        let error = refused(folder.path(), Some(&[Fold::Index(0)]), Some(name));
        assert_names(&error, &["fold_0", name]);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for step in [0.0, -1.0, 1.5, f64::NAN] {
        let options = PredictorOptions { tile_step_size: step, ..PredictorOptions::default() };
        let opened = Predictor::open(Path::new("/nowhere"), None, None, options, Device::Cpu);
        assert_names(&opened.err().unwrap().to_string(), &["tile_step_size", &step.to_string()]);
    }
}

#[test]
fn a_model_in_memory_is_the_one_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    common::write_model(folder.path(), 2);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let checkpoints = ["fold_0", "fold_1"]
        .map(|fold| (fold.to_owned(), read(&format!("{fold}/checkpoint_final.safetensors"))))
        .to_vec();
    let model = ModelBytes {
        plans: read("plans.json"),
        dataset: read("dataset.json"),
        checkpoints,
        configuration: None,
    };
    let options = PredictorOptions::default;
    let ours = Predictor::from_bytes(model.clone(), options(), Device::Cpu).unwrap();
    let disk = Predictor::open(folder.path(), None, None, options(), Device::Cpu).unwrap();
    let image =
        ndarray::Array4::from_shape_fn((1, 9, 10, 11), |(_, z, y, x)| ((z * 7 + y * 5 + x * 3) % 13) as f32);
    let logits = |predictor: &Predictor| predictor.predict_logits(image.view(), &|_| {}).unwrap();
    assert_eq!(logits(&ours), logits(&disk));

    let broken = ModelBytes { checkpoints: vec![("fold_5".to_owned(), vec![0; 9])], ..model.clone() };
    let error = Predictor::from_bytes(broken, options(), Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("fold_5"), "{error}");
    let none = ModelBytes { checkpoints: Vec::new(), ..model };
    assert!(Predictor::from_bytes(none, options(), Device::Cpu).is_err());
}
