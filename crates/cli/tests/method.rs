//! The whole method through the command line, on a drawn data set.

mod common;

use common::{NAME, Sandbox, assert_clean, files};
use nnunet::image::npz::read_npz_f32;
use nnunet::image::reader_for;

#[test]
fn from_raw_images_to_evaluated_predictions() {
    let sandbox = Sandbox::new(6);
    assert!(sandbox.succeed(&["verify", "900"]).contains("sound"));
    let written = sandbox.succeed(&["plan-and-preprocess", "900"]);
    assert!(
        written.contains("dataset_fingerprint.json") && written.contains("nnUNetPlans_3d_fullres"),
        "{written}"
    );

    let short = ["--epochs", "2", "--iterations", "2", "--val-iterations", "1", "--batch-size", "2"];
    let train = |configuration: &str, more: &[&str]| {
        let arguments = [&["train", NAME, configuration, "0"], &short[..], more].concat();
        sandbox.succeed(&arguments)
    };
    for configuration in ["3d_fullres", "2d"] {
        let scores = train(configuration, &[]);
        assert!(scores.contains("mean foreground Dice"), "{scores}");
        let model = sandbox.path(&format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__{configuration}"));
        for file in
            ["plans.json", "dataset.json", "dataset_fingerprint.json", "fold_0/checkpoint_final.safetensors"]
        {
            assert!(model.join(file).is_file(), "{file}");
        }
        assert!(model.join("fold_0/validation/summary.json").is_file());

        let out = sandbox.path(&format!("out_{configuration}"));
        let (images, out_text) = (sandbox.raw("imagesTs"), out.to_string_lossy().into_owned());
        let (images, model) = (images.to_string_lossy().into_owned(), model.to_string_lossy().into_owned());
        sandbox.succeed(&["predict", "-i", &images, "-o", &out_text, "-m", &model, "--save-probabilities"]);
        check_prediction(&sandbox, &out);

        let reference = sandbox.raw("labelsTs").to_string_lossy().into_owned();
        let dataset = sandbox.raw("dataset.json").to_string_lossy().into_owned();
        let scores = sandbox.succeed(&["evaluate", &reference, &out_text, "--dataset-json", &dataset]);
        assert!(scores.contains("mean foreground Dice"), "{scores}");
        assert!(out.join("summary.json").is_file());
    }
    assert_clean(&sandbox.path(""));
}

/// The prediction has the geometry of its image, and labels that follow from the probabilities.
fn check_prediction(sandbox: &Sandbox, out: &std::path::Path) {
    let reader = reader_for(".nii.gz", None).unwrap();
    let image = reader.read_images(&[sandbox.raw("imagesTs/case_006_0000.nii.gz")]).unwrap();
    let labels = reader.read_labels(&out.join("case_006.nii.gz")).unwrap();
    assert!(labels.geometry.same_spacing(&image.geometry) && labels.geometry.same_frame(&image.geometry));
    let probabilities = read_npz_f32(&out.join("case_006.npz"), "probabilities").unwrap();
    assert_eq!(&probabilities.shape()[1..], labels.data.shape());
    for ((z, y, x), &label) in labels.data.indexed_iter() {
        let column: Vec<f32> = (0..5).map(|c| probabilities[[c, z, y, x]]).collect();
        assert!((column.iter().sum::<f32>() - 1.0).abs() < 1e-3);
        assert!(column.iter().all(|p| *p <= column[label as usize] + 1e-6), "{column:?} {label}");
    }
}

#[test]
fn training_into_a_used_folder_needs_resume() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    let train = |epochs: &'static str| {
        vec![
            "train",
            "900",
            "3d_fullres",
            "0",
            "--epochs",
            epochs,
            "--iterations",
            "1",
            "--val-iterations",
            "1",
        ]
    };
    sandbox.succeed(&train("1"));
    let checkpoint = sandbox.path(&format!(
        "results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/checkpoint_final.safetensors"
    ));
    let before = std::fs::read(&checkpoint).unwrap();
    let error = sandbox.fail(&train("1"));
    assert!(error.contains("--resume") || error.contains("resume"), "{error}");
    assert!(error.contains("fold_0"), "{error}");
    assert_eq!(std::fs::read(&checkpoint).unwrap(), before, "the checkpoint is untouched");
    sandbox.succeed(&[train("2"), vec!["--resume"]].concat());
    assert_ne!(std::fs::read(&checkpoint).unwrap(), before);
    let validated = sandbox.succeed(&[train("2"), vec!["--validate-only"]].concat());
    assert!(validated.contains("mean foreground Dice"), "{validated}");
}

#[test]
fn a_plan_needs_no_folders_and_a_case_no_data_set() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["fingerprint", "900"]);
    sandbox.succeed(&["plan", "900"]);
    let path =
        |rest: &str| sandbox.path(&format!("preprocessed/{NAME}/{rest}")).to_string_lossy().into_owned();
    let plans = sandbox.path("plans.json").to_string_lossy().into_owned();
    let (dataset, fingerprint) = (path("dataset.json"), path("dataset_fingerprint.json"));
    sandbox.succeed(&["plan", "--dataset-json", &dataset, "--fingerprint", &fingerprint, "-o", &plans]);
    let ours = std::fs::read_to_string(path("nnUNetPlans.json")).unwrap().replace(NAME, "");
    assert_eq!(std::fs::read_to_string(&plans).unwrap(), ours);

    let case = sandbox.path("case.npz").to_string_lossy().into_owned();
    let image = sandbox.raw("imagesTr/case_000_0000.nii.gz").to_string_lossy().into_owned();
    let seg = sandbox.raw("labelsTr/case_000.nii.gz").to_string_lossy().into_owned();
    sandbox.succeed(&[
        "preprocess-case",
        "--plans",
        &plans,
        "--dataset-json",
        &dataset,
        "-c",
        "3d_fullres",
        "--seg",
        &seg,
        "-o",
        &case,
        &image,
    ]);
    let data = read_npz_f32(sandbox.path("case.npz").as_path(), "data").unwrap();
    assert_eq!(data.ndim(), 4);
    let seg = nnunet::image::npz::read_npz_i16(sandbox.path("case.npz").as_path(), "seg").unwrap();
    assert_eq!(&seg.shape()[1..], &data.shape()[1..]);
}

#[test]
fn the_decathlon_layout_is_converted() {
    let sandbox = Sandbox::new(2);
    let task = sandbox.path("Task09_Organs");
    std::fs::rename(sandbox.path("raw").join(NAME), &task).unwrap();
    for case in 0..2 {
        let from = task.join(format!("imagesTr/case_{case:03}_0000.nii.gz"));
        std::fs::rename(from, task.join(format!("imagesTr/case_{case:03}.nii.gz"))).unwrap();
    }
    std::fs::remove_file(task.join("imagesTs/case_002_0000.nii.gz")).unwrap();
    let json = r#"{"name": "Organs", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"},
        "numTraining": 2, "training": [], "test": []}"#;
    std::fs::write(task.join("dataset.json"), json).unwrap();
    let folder = task.to_string_lossy().into_owned();
    let target = sandbox.succeed(&["convert-msd", &folder]);
    assert!(target.contains("Dataset009_Organs"), "{target}");
    let raw = sandbox.path("raw/Dataset009_Organs");
    let json = std::fs::read_to_string(raw.join("dataset.json")).unwrap();
    assert!(
        json.contains("\"liver\": 1") && json.contains("channel_names") && !json.contains("training\""),
        "{json}"
    );
    assert!(raw.join("imagesTr/case_001_0000.nii.gz").is_file());
    assert!(sandbox.fail(&["convert-msd", &folder]).contains("--overwrite-id"));
    assert!(files(&raw).len() >= 5);
}
