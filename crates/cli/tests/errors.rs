//! Bad input: one clear error that names case and file, exit code 1, nothing half-written.

mod common;

use common::{NAME, Sandbox, assert_clean, files, text};
use nnunet::image::{Image, reader_for, write_image};

/// Verify, fingerprint and preprocess of a data set with one defect: all must fail and name it.
fn rejected_everywhere(sandbox: &Sandbox, expected: &[&str]) {
    for command in [&["verify", "900"][..], &["plan-and-preprocess", "900"]] {
        let output = sandbox.run(command);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {all}");
        for word in expected {
            assert!(all.contains(word), "{command:?} does not say {word:?}: {all}");
        }
    }
    assert_clean(&sandbox.path(""));
    let stores = files(&sandbox.path(&format!("preprocessed/{NAME}")));
    assert!(!stores.iter().any(|path| path.ends_with("store.json")), "{stores:?}");
}

fn two_channels(sandbox: &Sandbox) {
    let json = sandbox.raw("dataset.json");
    let described =
        std::fs::read_to_string(&json).unwrap().replace("\"0\": \"CT-like\"", "\"0\": \"a\", \"1\": \"b\"");
    std::fs::write(json, described).unwrap();
    for case in 0..5 {
        let file = |channel: u8| sandbox.raw(&format!("imagesTr/case_{case:03}_000{channel}.nii.gz"));
        std::fs::copy(file(0), file(1)).unwrap();
    }
}

#[test]
fn a_missing_channel() {
    let sandbox = Sandbox::new(5);
    two_channels(&sandbox);
    std::fs::remove_file(sandbox.raw("imagesTr/case_003_0001.nii.gz")).unwrap();
    rejected_everywhere(&sandbox, &["case_003"]);
}

#[test]
fn channels_of_different_shape_or_spacing() {
    let change = |edit: &dyn Fn(&mut Image)| {
        let sandbox = Sandbox::new(5);
        two_channels(&sandbox);
        let path = sandbox.raw("imagesTr/case_002_0001.nii.gz");
        let mut image =
            reader_for(".nii.gz", None).unwrap().read_images(std::slice::from_ref(&path)).unwrap();
        edit(&mut image);
        write_image(&path, &image).unwrap();
        sandbox
    };
    let shape = change(&|image| image.data = image.data.slice(ndarray::s![.., .., .., ..-1]).to_owned());
    rejected_everywhere(&shape, &["case_002", "case_002_0001.nii.gz", "shape"]);
    let spacing = change(&|image| image.geometry.spacing[0] *= 2.0);
    rejected_everywhere(&spacing, &["case_002", "case_002_0001.nii.gz", "spacing"]);
}

#[test]
fn channels_that_lie_elsewhere_are_a_warning_before_training() {
    let sandbox = Sandbox::new(5);
    two_channels(&sandbox);
    let path = sandbox.raw("imagesTr/case_002_0001.nii.gz");
    let mut image = reader_for(".nii.gz", None).unwrap().read_images(std::slice::from_ref(&path)).unwrap();
    image.geometry.origin[1] += 20.0;
    write_image(&path, &image).unwrap();
    let output = sandbox.run(&["verify", "900"]);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{all}");
    assert!(all.contains("case_002_0001.nii.gz") && all.contains("origin"), "{all}");
}

#[test]
fn a_label_that_dataset_json_does_not_name() {
    let sandbox = Sandbox::new(5);
    let path = sandbox.raw("labelsTr/case_001.nii.gz");
    let reader = reader_for(".nii.gz", None).unwrap();
    let mut labels = reader.read_labels(&path).unwrap();
    labels.data[[0, 0, 0]] = 9;
    reader.write_labels(&path, &labels).unwrap();
    rejected_everywhere(&sandbox, &["case_001", "9"]);
}

#[test]
fn empty_and_truncated_files() {
    let sandbox = Sandbox::new(5);
    std::fs::write(sandbox.raw("imagesTr/case_004_0000.nii.gz"), b"").unwrap();
    rejected_everywhere(&sandbox, &["case_004_0000.nii.gz", "empty"]);
    let sandbox = Sandbox::new(5);
    let path = sandbox.raw("labelsTr/case_000.nii.gz");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    rejected_everywhere(&sandbox, &["case_000.nii.gz", "truncated"]);
}

#[test]
fn an_unreadable_description() {
    let sandbox = Sandbox::new(5);
    std::fs::write(sandbox.raw("dataset.json"), "{\n  \"labels\": {,}\n}").unwrap();
    let error = sandbox.fail(&["fingerprint", "900"]);
    assert!(error.contains("dataset.json") && error.contains("line 2"), "{error}");
    std::fs::write(sandbox.raw("dataset.json"), r#"{"labels": {"background": 0}}"#).unwrap();
    let error = sandbox.fail(&["fingerprint", "900"]);
    assert!(error.contains("dataset.json") && error.contains("channel_names"), "{error}");
    std::fs::remove_file(sandbox.raw("dataset.json")).unwrap();
    assert!(sandbox.fail(&["fingerprint", "900"]).contains("dataset.json"));
}

#[test]
fn folders_that_cannot_be_written() {
    let sandbox = Sandbox::new(5);
    // A file where the folder should be: the same for every user, root included.
    std::fs::write(sandbox.path("preprocessed"), "in the way").unwrap();
    let error = sandbox.fail(&["fingerprint", "900"]);
    assert!(error.contains("preprocessed"), "{error}");
    assert_eq!(std::fs::read_to_string(sandbox.path("preprocessed")).unwrap(), "in the way");
}

#[test]
fn steps_in_the_wrong_order() {
    let sandbox = Sandbox::new(5);
    let error = sandbox.fail(&["plan", "900"]);
    assert!(error.contains("fingerprint"), "{error}");
    sandbox.succeed(&["fingerprint", "900"]);
    let error = sandbox.fail(&["preprocess", "900"]);
    assert!(error.contains("nnUNetPlans.json") && error.contains("nnunet plan"), "{error}");
    sandbox.succeed(&["plan", "900"]);
    let error = sandbox.fail(&["train", "900", "3d_fullres", "0"]);
    assert!(error.contains("nnunet preprocess"), "{error}");
    let error = sandbox.fail(&["train", "900", "5d", "0"]);
    assert!(error.contains("5d") && error.contains("3d_fullres"), "{error}");
    assert!(sandbox.fail(&["verify", "901"]).contains("Dataset901"));
}

#[test]
fn a_case_that_cannot_be_predicted_does_not_stop_the_others() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    sandbox.succeed(&[
        "train",
        "900",
        "3d_fullres",
        "0",
        "--epochs",
        "1",
        "--iterations",
        "1",
        "--val-iterations",
        "1",
    ]);
    std::fs::write(sandbox.raw("imagesTs/broken_0000.nii.gz"), b"not an image").unwrap();
    let mut image = reader_for(".nii.gz", None)
        .unwrap()
        .read_images(&[sandbox.raw("imagesTs/case_005_0000.nii.gz")])
        .unwrap();
    image.data[[0, 1, 2, 3]] = f32::NAN;
    write_image(&sandbox.raw("imagesTs/holes_0000.nii.gz"), &image).unwrap();
    let model = sandbox.path(&format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres"));
    let (model, out) = (model.to_string_lossy().into_owned(), sandbox.path("out"));
    let (images, out_text) =
        (sandbox.raw("imagesTs").to_string_lossy().into_owned(), out.to_string_lossy().into_owned());
    let output = sandbox.run(&["predict", "-i", &images, "-o", &out_text, "-m", &model]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("broken_0000.nii.gz"), "{stderr}");
    assert!(
        stderr.contains("holes_0000.nii.gz: channel 0") && stderr.contains("[1, 2, 3] is NaN"),
        "{stderr}"
    );
    assert!(stderr.contains("2 cases failed: broken, holes"), "{stderr}");
    assert!(out.join("case_005.nii.gz").is_file() && !out.join("broken.nii.gz").exists());
    let nowhere = sandbox.path("nowhere").to_string_lossy().into_owned();
    assert!(sandbox.fail(&["predict", "-i", &images, "-o", &out_text, "-m", &nowhere]).contains("nowhere"));
    assert!(sandbox.fail(&["predict", "-i", &nowhere, "-o", &out_text, "-m", &model]).contains("nowhere"));
    let missing = sandbox.fail(&["predict", "-i", &images, "-o", &out_text, "-m", &model, "-f", "3"]);
    assert!(missing.contains("fold_3"), "{missing}");
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    let sandbox = Sandbox::new(1);
    for arguments in [
        &["train", "900"][..],
        &["frobnicate"],
        &["plan"],
        &["plan", "--dataset-json", "a.json"],
        &["train", "900", "2d", "0", "--epochs", "0"],
        &["train", "900", "2d", "0", "--precision", "f64"],
        &["predict", "-i", "a"],
    ] {
        let output = sandbox.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_killed_training_leaves_whole_files() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    let arguments = |command: &mut std::process::Command| {
        command.args([
            "train",
            "900",
            "3d_fullres",
            "0",
            "--epochs",
            "400",
            "--iterations",
            "1",
            "--val-iterations",
            "1",
        ]);
        for folder in ["raw", "preprocessed", "results"] {
            command.arg(format!("--{folder}")).arg(sandbox.path(folder));
        }
    };
    for round in 0..3u64 {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nnunet"));
        arguments(&mut command);
        command
            .args(["--resume", "-q"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(900 + 370 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let results = sandbox.path("results");
        for path in files(&results) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match path.extension().and_then(|e| e.to_str()) {
                Some("safetensors") => drop(nnunet::nn::read_checkpoint(&path).unwrap()),
                Some("json") => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    assert!(text.starts_with('{') && text.trim_end().ends_with('}'), "{}", path.display());
                }
                _ => {}
            }
        }
    }
}
