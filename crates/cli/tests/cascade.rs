//! A cascade through the command line: the first stage's validation hands its segmentations to the second.

mod common;

use common::{NAME, Sandbox, assert_clean};
use serde_json::{Value, json};

/// Adds a stage of twice the spacing and a cascade to the plans.
fn add_cascade(sandbox: &Sandbox) {
    let path = sandbox.path(&format!("preprocessed/{NAME}/nnUNetPlans.json"));
    let mut plans: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let configurations = plans["configurations"].as_object_mut().unwrap();
    let mut low = configurations["3d_fullres"].clone();
    low["data_identifier"] = json!("nnUNetPlans_3d_lowres");
    for spacing in low["spacing"].as_array_mut().unwrap() {
        *spacing = json!(spacing.as_f64().unwrap() * 2.0);
    }
    low["next_stage"] = json!("3d_cascade_fullres");
    configurations.insert("3d_lowres".to_owned(), low);
    let cascade = json!({"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"});
    configurations.insert("3d_cascade_fullres".to_owned(), cascade);
    std::fs::write(&path, plans.to_string()).unwrap();
}

#[test]
fn the_second_stage_continues_the_first() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    add_cascade(&sandbox);
    sandbox.succeed(&["preprocess", "900", "-c", "3d_lowres"]);
    let train = |configuration: &'static str, fold: &'static str| {
        let short = ["--epochs", "1", "--iterations", "2", "--val-iterations", "1", "--batch-size", "2"];
        [&["train", "900", configuration, fold, "--trainer", "nnUNetTrainer_5epochs"], &short[..]].concat()
    };
    let error = sandbox.fail(&train("3d_cascade_fullres", "0"));
    assert!(error.contains("predicted_next_stage") && error.contains("previous stage"), "{error}");

    // Fold `all` validates every case, so that all are handed over.
    sandbox.succeed(&train("3d_lowres", "all"));
    let model = format!("results/{NAME}/nnUNetTrainer_5epochs__nnUNetPlans__3d_lowres");
    let folder = sandbox.path(&format!("{model}/predicted_next_stage/3d_cascade_fullres"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 5);
    let scores = sandbox.succeed(&train("3d_cascade_fullres", "0"));
    assert!(scores.contains("mean foreground Dice"), "{scores}");
    let fold = format!("results/{NAME}/nnUNetTrainer_5epochs__nnUNetPlans__3d_cascade_fullres/fold_0");
    for file in ["checkpoint_final.safetensors", "validation/summary.json", "progress.png", "progress.jsonl"]
    {
        assert!(sandbox.path(&format!("{fold}/{file}")).is_file(), "{file}");
    }
    assert_clean(&sandbox.path(""));

    a_series_goes_through_both_stages(&sandbox);

    // Segmentations on another grid are refused by name.
    for case in 0..5 {
        let seg = format!("preprocessed/{NAME}/nnUNetPlans_3d_lowres/case_{case:03}_seg.npy");
        std::fs::copy(sandbox.path(&seg), folder.join(format!("case_{case:03}.npy"))).unwrap();
    }
    let error = sandbox.fail(&train("3d_cascade_fullres", "1"));
    assert!(error.contains("case_00") && error.contains("shape"), "{error}");
}

/// A DICOM series through the first stage and, from its NIfTI or its SEG file, through the second.
fn a_series_goes_through_both_stages(sandbox: &Sandbox) {
    let series =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/tests/golden/dicom/explicit");
    let series = series.to_str().unwrap();
    let path = |rest: &str| sandbox.path(rest).to_string_lossy().into_owned();
    let model = |name: &str| path(&format!("results/{NAME}/nnUNetTrainer_5epochs__nnUNetPlans__{name}"));
    let (low, cascade) = (model("3d_lowres"), model("3d_cascade_fullres"));
    let predict = |out: &str, model: &str, more: &[&str]| {
        let (out, options) = (path(out), ["--no-mirroring"]);
        let command =
            [&["predict", "-i", series, "-o", out.as_str(), "-m", model][..], &options, more].concat();
        sandbox.run(&command)
    };
    let succeed = |out: &str, model: &str, more: &[&str]| {
        let output = predict(out, model, more);
        assert!(output.status.success(), "{}", common::text(&output.stderr));
    };
    succeed("low_nifti", &low, &["-f", "all"]);
    succeed("low_seg", &low, &["-f", "all", "--output-format", "dicom-seg"]);
    let (nifti, seg) = (path("low_nifti"), path("low_seg"));
    succeed("from_nifti", &cascade, &["--previous-stage", &nifti]);
    succeed("from_seg", &cascade, &["--previous-stage", &seg]);
    let written = |folder: &str| std::fs::read(path(&format!("{folder}/explicit.nii.gz"))).unwrap();
    assert_eq!(written("from_nifti"), written("from_seg"));
    let said = |more: &[&str]| {
        let output = predict("failed", &cascade, more);
        assert_eq!(output.status.code(), Some(1));
        common::text(&output.stderr)
    };
    assert!(said(&[]).contains("3d_lowres"));
    assert!(said(&["--previous-stage", &path("raw")]).contains("explicit.nii.gz"));
}

#[test]
fn unknown_trainers_are_refused_with_the_known_ones() {
    let sandbox = Sandbox::new(5);
    let error = sandbox.fail(&["train", "900", "3d_fullres", "0", "--trainer", "nnUNetTrainerOfNobody"]);
    assert!(error.contains("nnUNetTrainerOfNobody") && error.contains("nnUNetTrainer_250epochs"), "{error}");
}
