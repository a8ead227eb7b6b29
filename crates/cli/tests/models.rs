//! Commands that work with trained models and their predictions, on models that were drawn at random.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{NAME, Sandbox, text};
use nnunet::image::reader_for;

const MODEL: &str = "nnUNetTrainer__nnUNetPlans__3d_fullres";

/// A data set, planned, with a model whose weights are those of a very short training.
fn trained(folds: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    for fold in folds {
        let run = [
            "train",
            "900",
            "3d_fullres",
            fold,
            "--epochs",
            "1",
            "--iterations",
            "1",
            "--val-iterations",
            "1",
        ];
        sandbox.succeed(&[&run[..], &["--batch-size", "1", "--save-probabilities"]].concat());
    }
    sandbox
}

fn string(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn images(sandbox: &Sandbox) -> PathBuf {
    sandbox.raw("imagesTs")
}

/// Names of the segmentations in a folder.
fn segmentations(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".nii.gz")).collect();
    names.sort();
    names
}

/// The processes of an MPI run take every second case each, by the variables that the launchers set; with a launcher at hand,
/// it is asked, too.
fn ranks_share_the_cases(sandbox: &Sandbox, model: &Path) {
    let images = sandbox.raw("imagesTr");
    let all: Vec<String> =
        segmentations(&images).into_iter().map(|name| name.replace("_0000.nii.gz", ".nii.gz")).collect();
    let program = env!("CARGO_BIN_EXE_nnunet");
    let predict = |command: Command, out: &str| {
        let out = sandbox.path(out);
        let arguments = [
            "predict",
            "-i",
            string(&images),
            "-o",
            string(&out),
            "-m",
            string(model),
            "--no-mirroring",
            "-f",
            "0",
        ];
        let output = sandbox.finish(command, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        segmentations(&out)
    };
    for (size, rank) in [("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK")] {
        let share = |number: &str| {
            let mut command = Command::new(program);
            for name in ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK"] {
                command.env_remove(name);
            }
            command.env(size, "2").env(rank, number);
            predict(command, &format!("{rank}-{number}"))
        };
        let (first, second) = (share("0"), share("1"));
        assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
        assert!(first.iter().all(|name| !second.contains(name)), "{first:?} {second:?}");
        let mut union = [first, second].concat();
        union.sort();
        assert_eq!(union, all);
    }
    if Command::new("mpirun").arg("--version").output().is_ok() {
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", "2", program]);
        assert_eq!(predict(command, "mpirun"), all);
    } else {
        println!("skipped: there is no mpirun");
    }
}

#[test]
fn a_model_is_predicted_with_shared_converted_and_chosen() {
    let sandbox = trained(&["0", "1"]);
    let model = sandbox.path(&format!("results/{NAME}/{MODEL}"));
    ranks_share_the_cases(&sandbox, &model);
    let labels = |folder: &Path| {
        let file = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_str().unwrap().ends_with(".nii.gz"));
        reader_for(".nii.gz", None).unwrap().read_labels(&file.unwrap()).unwrap().data
    };
    let images = images(&sandbox);
    let predict = |out: &Path, model: &Path, more: &[&str]| {
        let command =
            ["predict", "-i", string(&images), "-o", string(out), "-m", string(model), "--no-mirroring"];
        sandbox.succeed(&[&command[..], more].concat());
    };
    let (one, two, both) = (sandbox.path("one"), sandbox.path("two"), sandbox.path("both"));
    predict(&one, &model, &["-f", "0", "--save-probabilities", "--precision", "f32"]);
    predict(&two, &model, &["-f", "1", "--save-probabilities", "--memory-gb", "1.5", "--accumulator", "f16"]);
    let args: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(one.join("predict_from_raw_data_args.json")).unwrap())
            .unwrap();
    assert_eq!((&args["use_mirroring"], &args["precision"]), (&false.into(), &"f32".into()));
    sandbox.succeed(&["ensemble", "-i", string(&one), string(&two), "-o", string(&both)]);
    assert_eq!(labels(&both).dim(), labels(&one).dim());

    // Converted there and back, the model says the same.
    let converted = sandbox.path("converted").join(MODEL);
    std::fs::create_dir_all(converted.join("fold_0")).unwrap();
    for name in ["plans.json", "dataset.json"] {
        std::fs::copy(model.join(name), converted.join(name)).unwrap();
    }
    let (ours, theirs) =
        (model.join("fold_0/checkpoint_final.safetensors"), converted.join("fold_0/checkpoint_final.pth"));
    sandbox.succeed(&["model", "convert", string(&ours), string(&theirs)]);
    let again = sandbox.path("again");
    predict(&again, &converted, &["-f", "0"]);
    assert_eq!(labels(&again), labels(&one));
    let error = sandbox.fail(&["model", "convert", string(&ours), string(&sandbox.path("x.onnx"))]);
    assert!(error.contains("x.onnx") && error.contains(".safetensors"), "{error}");

    // Exported and imported elsewhere as well.
    let archive = sandbox.path("model.zip");
    sandbox.succeed(&["model", "export", "-o", string(&archive), "-f", "0"]);
    let elsewhere = sandbox.path("elsewhere");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nnunet"))
        .args(["model", "import", string(&archive), "--results", string(&elsewhere)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let imported = elsewhere.join(NAME).join(MODEL);
    assert_eq!(text(&output.stdout).trim(), string(&imported));
    let third = sandbox.path("third");
    predict(&third, &imported, &[]);
    assert_eq!(labels(&third), labels(&one));

    // The best of one.
    let told = sandbox.succeed(&["find-best-configuration", "900", "-f", "0", "1"]);
    assert!(
        told.contains(&format!("nnunet predict -i INPUT_FOLDER -o OUTPUT_FOLDER -m {}", model.display())),
        "{told}"
    );
    let crossval = model.join("crossval_results_folds_0_1");
    assert!(crossval.join("postprocessing.json").is_file() && crossval.join("postprocessing.pkl").is_file());
    let results = sandbox.path(&format!("results/{NAME}"));
    assert!(results.join("inference_instructions.txt").is_file());
    let information: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(results.join("inference_information.json")).unwrap().replace("NaN", "null"),
    )
    .unwrap();
    assert_eq!(information["folds"], serde_json::json!([0, 1]));
    let file = crossval.join("postprocessing.json");
    let cleaned = sandbox.path("cleaned");
    sandbox.succeed(&[
        "apply-postprocessing",
        "-i",
        string(&one),
        "-o",
        string(&cleaned),
        "--postprocessing",
        string(&file),
    ]);
    assert_eq!(labels(&cleaned).dim(), labels(&one).dim());
    let references = sandbox.raw("labelsTr");
    sandbox.succeed(&[
        "determine-postprocessing",
        "-i",
        string(&crossval),
        "--reference",
        string(&references),
    ]);
    let (extended, dataset) = (sandbox.path("extended.json"), sandbox.raw("dataset.json"));
    let scores = sandbox.succeed(&[
        "evaluate",
        string(&references),
        string(&crossval),
        "--dataset-json",
        string(&dataset),
        "--extended",
        string(&extended),
        "--allow-missing",
    ]);
    assert!(scores.contains("NSD") && extended.is_file(), "{scores}");
    let error = sandbox.fail(&["find-best-configuration", "900"]);
    assert!(error.contains("fold_2"), "{error}");
    let error = sandbox.fail(&["find-best-configuration", "900", "-c", "2d"]);
    assert!(error.contains("2d"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let sandbox = Sandbox::new(5);
    let (empty, out) = (sandbox.path("empty"), sandbox.path("out"));
    std::fs::create_dir_all(&empty).unwrap();
    let error = sandbox.fail(&["ensemble", "-i", string(&empty), "-o", string(&out)]);
    assert!(error.contains("empty/dataset.json"), "{error}");
    let error =
        sandbox.fail(&["determine-postprocessing", "-i", string(&empty), "--reference", string(&empty)]);
    assert!(error.contains("empty/dataset.json"), "{error}");
    let error = sandbox.fail(&["model", "import", string(&sandbox.path("nothing.zip"))]);
    assert!(error.contains("nothing.zip"), "{error}");
    std::fs::create_dir_all(sandbox.path("results")).unwrap();
    let error = sandbox.fail(&["model", "export", "-o", string(&sandbox.path("x.zip"))]);
    assert!(error.contains("results"), "{error}");
    assert!(!sandbox.path("x.zip").exists());
}
