//! Training through the command line: folds, regions with an ignore label, and what it refuses.

mod common;

use common::{NAME, Sandbox, assert_clean};
use serde_json::{Value, json};

fn edit(path: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn train<'a>(fold: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let short = ["--epochs", "1", "--iterations", "2", "--val-iterations", "1", "--batch-size", "2"];
    [&["train", "900", "3d_fullres", fold], &short[..], more].concat()
}

#[test]
fn folds_beyond_the_splits_are_drawn_and_odd_ones_refused() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    sandbox.succeed(&train("7", &["--trainer", "nnUNetTrainerDA5"]));
    let fold = format!("results/{NAME}/nnUNetTrainerDA5__nnUNetPlans__3d_fullres/fold_7");
    let debug: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path(&format!("{fold}/debug.json"))).unwrap()).unwrap();
    assert_eq!(debug["train_cases"].as_array().unwrap().len(), 4);
    assert_eq!(debug["val_cases"].as_array().unwrap().len(), 1);
    assert!(debug["options"]["augmentation"]["set"] == json!("da5"), "{debug}");
    for odd in ["first", "-1", "1.5"] {
        let output = sandbox.run(&train(odd, &[]));
        let stderr = common::text(&output.stderr);
        assert!(!output.status.success() && stderr.contains(odd), "{odd}: {stderr}");
    }

    // Several devices: contradicted, and not to be had.
    let error = sandbox.fail(&train("0", &["--gpus", "2", "--device", "cpu"]));
    assert!(error.contains("--gpus") && error.contains("--device cpu"), "{error}");
    if !cfg!(feature = "cuda") {
        let error = sandbox.fail(&train("0", &["--gpus", "2"]));
        assert!(error.contains("of 2 devices") && error.contains("no CUDA support"), "{error}");
    }

    // Preprocessed cases of other plans.
    edit(&sandbox.path(&format!("preprocessed/{NAME}/nnUNetPlans.json")), |plans| {
        plans["configurations"]["3d_fullres"]["spacing"] = json!([3.0, 1.0, 1.0]);
    });
    let error = sandbox.fail(&train("0", &[]));
    assert!(error.contains("spacing") && error.contains("preprocess"), "{error}");
    assert_clean(&sandbox.path(""));
}

#[test]
fn regions_with_an_ignore_label_are_trained_validated_and_predicted() {
    let sandbox = Sandbox::new(5);
    edit(&sandbox.raw("dataset.json"), |dataset| {
        dataset["labels"] = json!({
            "background": 0, "organs": [1, 2, 3, 4], "vessel": 3, "tumour": [4], "ignore": 5
        });
        dataset["regions_class_order"] = json!([1, 3, 4]);
    });
    // In the first case, everything in the first slices is left out.
    let reader = nnunet::image::reader_for(".nii.gz", None).unwrap();
    let path = sandbox.raw("labelsTr/case_000.nii.gz");
    let mut labels = reader.read_labels(&path).unwrap();
    labels.data.slice_mut(ndarray::s![..3, .., ..]).fill(5);
    reader.write_labels(&path, &labels).unwrap();

    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    let scores = sandbox.succeed(&train("all", &[]));
    assert!(scores.contains("mean foreground Dice"), "{scores}");
    let model = sandbox.path(&format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres"));
    let summary: Value =
        serde_json::from_slice(&std::fs::read(model.join("fold_all/validation/summary.json")).unwrap())
            .unwrap();
    assert_eq!(summary["mean"].as_object().unwrap().len(), 3, "{summary}");
    let (images, out) = (sandbox.raw("imagesTs"), sandbox.path("out"));
    let [images, out_text, model] = [&images, &out, &model].map(|path| path.to_string_lossy().into_owned());
    sandbox.succeed(&["predict", "-i", &images, "-o", &out_text, "-m", &model, "-f", "all"]);
    let found = reader.read_labels(&out.join("case_005.nii.gz")).unwrap();
    assert!(found.data.iter().all(|label| [0, 1, 3, 4].contains(label)));
}

#[test]
fn published_networks_are_planned_trained_and_predicted_with() {
    let sandbox = Sandbox::new(5);
    let planned = ["plan-and-preprocess", "900", "-c", "3d_fullres", "--architecture"];
    let error = sandbox.fail(&[&planned[..], &["segformer"]].concat());
    assert!(error.contains("segformer") && error.contains("attention-unet"), "{error}");
    let network = "attention-unet";
    // A small memory target makes a small patch.
    sandbox.succeed(&[&planned[..], &[network, "--vram-gb", "0.5"]].concat());
    let plans_name = format!("nnUNetPlans_{network}");
    let scores = sandbox.succeed(&train("0", &["--plans-name", &plans_name]));
    assert!(scores.contains("mean foreground Dice"), "{scores}");
    let model = sandbox.path(&format!("results/{NAME}/nnUNetTrainer__{plans_name}__3d_fullres"));
    let (images, out) = (sandbox.raw("imagesTs"), sandbox.path("out"));
    let [images, out_text, model_text] =
        [&images, &out, &model].map(|path| path.to_string_lossy().into_owned());
    sandbox.succeed(&["predict", "-i", &images, "-o", &out_text, "-m", &model_text, "-f", "0"]);
    assert!(out.join("case_005.nii.gz").exists());
    // nnU-Net has no such network.
    let checkpoint = model.join("fold_0/checkpoint_final.safetensors").to_string_lossy().into_owned();
    let target = sandbox.path("checkpoint_final.pth").to_string_lossy().into_owned();
    let error = sandbox.fail(&["model", "convert", &checkpoint, &target]);
    assert!(error.contains("attention gates") && error.contains("safetensors"), "{error}");
    // Its bf16 is refused, not quietly something else.
    let error = sandbox.fail(&train("1", &["--plans-name", &plans_name, "--precision", "bf16"]));
    assert!(error.contains("bf16") && error.contains("f32"), "{error}");
    assert_clean(&sandbox.path(""));
}

#[test]
#[cfg(not(feature = "mpi"))]
fn processes_that_were_started_together_do_not_train_into_one_folder_by_themselves() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nnunet"))
        .args(["train", "900", "3d_fullres", "0"])
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .env("OMPI_COMM_WORLD_RANK", "1")
        .output()
        .unwrap();
    let stderr = common::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("one of 2 processes") && stderr.contains("feature `mpi`"), "{stderr}");
}
