//! Trainings whose batches are shared by processes: built with the feature `mpi`, run under `mpirun` where there is one.
#![cfg(feature = "mpi")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{NAME, Sandbox, text};
use nnunet::nn::read_checkpoint;

const SHORT: [&str; 8] = ["--epochs", "2", "--iterations", "4", "--val-iterations", "1", "--batch-size", "3"];

fn have_mpirun() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no mpirun");
    }
    found
}

/// `nnunet train` in two processes.
fn two_ranks(sandbox: &Sandbox, results: &str, more: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.args([
        "--allow-run-as-root",
        "--oversubscribe",
        "--mca",
        "mpi_yield_when_idle",
        "1",
        "-n",
        "2",
        env!("CARGO_BIN_EXE_nnunet"),
    ]);
    command.args(["train", "900", "3d_fullres", "0", "--threads", "1"]).args(more);
    for (option, folder) in [("--raw", "raw"), ("--preprocessed", "preprocessed"), ("--results", results)] {
        command.arg(option).arg(sandbox.path(folder));
    }
    command
}

fn fold(sandbox: &Sandbox, results: &str) -> PathBuf {
    sandbox.path(&format!("{results}/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0"))
}

fn weights(path: PathBuf) -> BTreeMap<String, Vec<f32>> {
    let weights = read_checkpoint(&path).unwrap().weights.into_iter();
    weights.map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

#[test]
fn two_processes_train_to_the_weights_of_one() {
    if !have_mpirun() {
        return;
    }
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    sandbox.succeed(&[&["train", "900", "3d_fullres", "0"], &SHORT[..]].concat());
    let output = two_ranks(&sandbox, "shared", &SHORT).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert_eq!(said.matches("mean foreground Dice").count(), 1, "one rank reports: {said}");

    let name = "checkpoint_final.safetensors";
    let [one, two] = ["results", "shared"].map(|results| weights(fold(&sandbox, results).join(name)));
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, one) in &one {
        for (a, b) in one.iter().zip(&two[name]) {
            difference += f64::from(a - b).powi(2);
            norm += f64::from(*a).powi(2);
        }
    }
    // Sums in another order.
    assert!((difference / norm).sqrt() < 1e-4, "{}", (difference / norm).sqrt());
    assert!(fold(&sandbox, "shared").join("validation/summary.json").is_file());
}

#[test]
fn a_process_that_dies_or_fails_ends_the_run_by_name() {
    if !have_mpirun() {
        return;
    }
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    // A batch that is smaller than the number of ranks.
    let mut refused = two_ranks(&sandbox, "refused", &["--batch-size", "1", "--epochs", "1"]);
    let output = refused.output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("at least one sample for each rank"), "{}", text(&output.stderr));

    let mut long = two_ranks(&sandbox, "killed", &["--epochs", "500", "--iterations", "50"]);
    let mut run = long.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let victim = wait_for_rank(&run, 1);
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-9", &victim]).status().unwrap().success());
    let mut stderr = run.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut stderr, &mut said).unwrap();
        text(&said)
    });
    assert!(!run.wait().unwrap().success());
    let said = reader.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "the other rank went on");
    assert!(said.contains("rank 1") && said.contains("Killed"), "{said}");
}

/// Process number of a rank, once its training has begun.
fn wait_for_rank(run: &Child, rank: usize) -> String {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(300));
        let children = Command::new("pgrep").args(["-P", &run.id().to_string()]).output().unwrap();
        for child in text(&children.stdout).lines() {
            let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
            let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
            if begun.elapsed() > Duration::from_secs(3)
                && environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
            {
                return child.to_owned();
            }
        }
    }
    panic!("rank {rank} did not start");
}
