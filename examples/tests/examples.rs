//! Every example runs on drawn data, leaves what it promises, and answers wrong arguments with a sentence.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The executable of an example, which the test command builds.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
    let file = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(file.is_file(), "{} is not built: run `cargo test` without a target selection", file.display());
    file
}

fn run(name: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(example(name)).args(arguments).current_dir(folder).output().unwrap()
}

fn succeed(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = run(name, folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fail(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = run(name, folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !stderr.contains("panicked"), "{name} {arguments:?}: {stderr}");
    stderr
}

/// Width of a picture in pixels.
fn width(path: &Path) -> u32 {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&bytes[1..4], b"PNG", "{}", path.display());
    u32::from_be_bytes(bytes[16..20].try_into().unwrap())
}

#[test]
fn training_stops_early_and_its_model_segments_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // A target that the first epoch reaches.
    let said = succeed("train_with_callback", here, &["run", "0.0"]);
    assert_eq!(said.matches("epoch ").count(), 1, "{said}");
    assert!(said.contains("0.000 is reached") && said.contains("stopped early"), "{said}");
    assert!(width(&here.join("run/training_curve.png")) > 500);
    let again = fail("train_with_callback", here, &["run"]);
    assert!(again.contains("Dataset900_Drawn exists"), "{again}");
    assert!(fail("train_with_callback", here, &["other", "high"]).contains("\"high\" is not a number"));

    // Stopped before its end, the model has its latest checkpoint only; as the final one it can be predicted with.
    let model = here.join("run/nnUNet_results/Dataset900_Drawn/nnUNetTrainer__nnUNetPlans__3d_fullres");
    let fold = model.join("fold_0");
    std::fs::copy(fold.join("checkpoint_latest.safetensors"), fold.join("checkpoint_final.safetensors"))
        .unwrap();
    let image = here.join("run/nnUNet_raw/Dataset900_Drawn/imagesTr/case_000_0000.nii.gz");
    let [model, image] = [&model, &image].map(|path| path.to_string_lossy().into_owned());
    let said = succeed("segment_file", here, &[&model, &image, "labels.nii.gz"]);
    for part in ["liver: ", "tumour: ", " ml", "labels.png"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let reader = nnunet::image::reader_for(".nii.gz", None).unwrap();
    let labels = reader.read_labels(&here.join("labels.nii.gz")).unwrap();
    let read = reader.read_images(&[PathBuf::from(&image)]).unwrap();
    let (_, z, y, x) = read.data.dim();
    assert_eq!(labels.data.dim(), (z, y, x));
    assert!(labels.geometry.same_spacing(&read.geometry));
    width(&here.join("labels.png"));

    let error = fail("segment_file", here, &["nowhere", &image, "labels.nii.gz"]);
    assert!(error.contains("cannot use the model in nowhere"), "{error}");
    let error = fail("segment_file", here, &[&model, &image, &image, "labels.nii.gz"]);
    assert!(error.contains("channel"), "{error}");
    assert!(fail("segment_file", here, &[&model]).contains("usage: segment_file"));
}

#[test]
fn heuristics_tell_the_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeed("heuristics_only", folder.path(), &[]);
    for part in ["target spacing: [", "3d_fullres, patch size", "rule", "nnUNetResEncUNetXLPlans"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let error = fail("heuristics_only", folder.path(), &["dataset.json", "fingerprint.json"]);
    assert!(error.contains("dataset.json"), "{error}");
}

#[test]
fn augmentation_leaves_a_picture_for_every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeed("augment_arrays", folder.path(), &["pictures"]);
    assert_eq!(said.matches("sample ").count(), 12, "{said}");
    for index in 0..12 {
        width(&folder.path().join(format!("pictures/sample_{index:02}.png")));
    }
    assert!(fail("augment_arrays", folder.path(), &[]).contains("usage: augment_arrays"));
}

#[test]
fn images_are_turned_and_resampled() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeed("resample_reorient", folder.path(), &[]);
    assert!(said.contains("axes RAS") && said.contains("resampled: 120 × "), "{said}");
    let again = ["resampled.nii.gz", "PIR", "2", "again.nii.gz"];
    let said = succeed("resample_reorient", folder.path(), &again);
    assert!(
        said.contains("read: 120 × ") && said.contains("axes PIR") && said.contains("resampled: 60 × "),
        "{said}"
    );
    for picture in ["resampled_before.png", "resampled_after.png", "again_before.png", "again_after.png"] {
        width(&folder.path().join(picture));
    }
    let error = fail("resample_reorient", folder.path(), &["resampled.nii.gz", "RAX", "1", "out.nii.gz"]);
    assert!(error.contains("\"RAX\" is no orientation"), "{error}");
    let error = fail("resample_reorient", folder.path(), &["resampled.nii.gz", "RAS", "0", "out.nii.gz"]);
    assert!(error.contains("above 0"), "{error}");
}

#[test]
fn the_method_runs_from_rust() {
    let folder = tempfile::tempdir().unwrap();
    let spec = nnunet_examples::drawn::DrawnDataset {
        training_cases: 5,
        test_cases: 0,
        field_of_view: 24.0,
        seed: 3,
    };
    nnunet_examples::drawn::write_dataset(folder.path(), "Dataset901_Small", &spec).unwrap();
    let said = succeed("train_and_predict", folder.path(), &["Dataset901_Small", "out"]);
    assert!(
        said.contains("mean foreground Dice of fold 0: ") && said.contains("5 cases predicted, 0 failed"),
        "{said}"
    );
    let written = std::fs::read_dir(folder.path().join("out/predictions")).unwrap();
    let segmentations =
        written.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".nii.gz"));
    assert_eq!(segmentations.count(), 5);

    let error = fail("train_and_predict", folder.path(), &["Dataset902_None", "out"]);
    assert!(error.contains("Dataset902_None"), "{error}");
    assert!(fail("train_and_predict", folder.path(), &[]).contains("usage: train_and_predict"));
}

#[test]
fn servers_answer_wrong_arguments_before_they_listen() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(fail("service", here, &[]).contains("name the folder of a trained model"));
    let error = fail("service", here, &["nowhere"]);
    assert!(error.contains("cannot load the model nowhere") && error.contains("dataset.json"), "{error}");
    assert!(fail("browser", here, &[]).contains("name the module nnunet_capi.wasm"));
    assert!(fail("browser", here, &["nothing.wasm"]).contains("nothing.wasm is not there"));
    std::fs::write(here.join("module.wasm"), "").unwrap();
    let error = fail("browser", here, &["module.wasm", "nowhere"]);
    assert!(error.contains("cannot listen at nowhere"), "{error}");
}
