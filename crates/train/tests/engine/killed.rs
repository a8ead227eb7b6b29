//! A training that is killed at random moments and resumed each time ends as if nothing had happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::drawn::{options, setup};
use nnunet_nn::weights::read_safetensors;
use nnunet_train::{TrainOptions, Trainer};

/// Names the folder to the process that is killed.
const FOLDER: &str = "NNUNET_KILLED_FOLDER";
/// How often a process is killed, 50 if it is not set.
const KILLS: &str = "NNUNET_KILLS";

fn short() -> TrainOptions {
    TrainOptions { epochs: 12, iterations_per_epoch: 4, ..options() }
}

fn fold(folder: &Path) -> PathBuf {
    folder.join("nnUNetTrainer__nnUNetPlans__2d").join("fold_0")
}

/// The process that is killed: this test alone, told a folder to train in.
#[test]
#[ignore = "started by the test below"]
fn child_that_trains() {
    let folder = std::env::var_os(FOLDER).expect("the folder is in the environment");
    let mut trainer = Trainer::from_setup(setup(&fold(Path::new(&folder)), short()), true).unwrap();
    trainer.run(&mut ()).unwrap();
}

fn child(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child_that_trains", "--ignored", "--test-threads", "1"]);
    command.env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// All checkpoints of a finished training: tensors, and metadata without the times of epochs.
fn checkpoints(fold: &Path) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    for name in ["checkpoint_best.safetensors", "checkpoint_final.safetensors"] {
        let (tensors, metadata) = read_safetensors(&fold.join(name)).unwrap();
        for (tensor, values) in tensors {
            all.insert(format!("{name} {tensor}"), values.flatten_all().unwrap().to_vec1().unwrap());
        }
        let logging: serde_json::Value = serde_json::from_str(&metadata["logging"]).unwrap();
        for curve in ["train_losses", "val_losses", "ema_fg_dice", "lrs"] {
            let values = logging[curve].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(-9.0) as f32);
            all.insert(format!("{name} {curve}"), values.collect());
        }
    }
    all
}

fn is_whole(path: &Path) -> bool {
    !path.exists() || read_safetensors(path).is_ok()
}

#[test]
fn killed_at_random_moments_and_resumed_is_the_same_as_uninterrupted() {
    let kills: usize = std::env::var(KILLS).map_or(50, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    assert!(child(folder.path()).status().unwrap().success());
    let whole = begun.elapsed();
    let expected = checkpoints(&fold(folder.path()));

    // Moments from a recurrence: each run of the sequence is killed about four times before it ends.
    let mut state = 88_172_645_463_325_252_u64;
    let (mut done, mut under_way) = (0, 0);
    while done < kills {
        let folder = tempfile::tempdir().unwrap();
        let fold = fold(folder.path());
        loop {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let patience = whole.mul_f64(0.05 + 0.3 * (state >> 40) as f64 / (1u64 << 24) as f64);
            let mut running = child(folder.path()).spawn().unwrap();
            std::thread::sleep(patience.max(Duration::from_millis(5)));
            let ended = running.try_wait().unwrap();
            if let Some(status) = ended {
                assert!(status.success(), "the training failed by itself");
                break;
            }
            running.kill().unwrap();
            let status = running.wait().unwrap();
            if status.success() {
                break;
            }
            done += 1;
            under_way += usize::from(fold.join("checkpoint_latest.safetensors").exists());
            for name in ["latest", "best", "final"] {
                let path = fold.join(format!("checkpoint_{name}.safetensors"));
                assert!(is_whole(&path), "{} is broken after {done} kills", path.display());
            }
            if done >= kills {
                assert!(child(folder.path()).status().unwrap().success());
                break;
            }
        }
        assert_eq!(checkpoints(&fold), expected, "after {done} kills");
        let left: Vec<_> =
            std::fs::read_dir(&fold).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let temporary = left.iter().any(|name| name.to_string_lossy().ends_with(".part"));
        assert!(!temporary && !left.iter().any(|name| *name == "checkpoint_latest.safetensors"), "{left:?}");
    }
    assert!(3 * under_way > kills, "only {under_way} of {kills} were killed between first and last epoch");
}
