//! Rankings from the command line.

use std::path::Path;
use std::process::{Command, Output};

fn nnunet(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nnunet")).args(arguments).current_dir(folder).output().unwrap()
}

/// Writes `name/summary.json` with one class and these Dice values.
fn write_summary(folder: &Path, name: &str, dice: &[f64]) {
    let metrics = |dice: f64| {
        format!(
            r#"{{"1": {{"Dice": {dice}, "FN": 0, "FP": 0, "IoU": {dice}, "TN": 0, "TP": 0, "n_pred": 0, "n_ref": 0}}}}"#
        )
    };
    let cases: Vec<String> = dice
        .iter()
        .enumerate()
        .map(|(k, &dice)| {
            let metrics = metrics(dice);
            format!(
                r#"{{"metrics": {metrics}, "prediction_file": "p/{k}.nii.gz", "reference_file": "r/{k}.nii.gz"}}"#
            )
        })
        .collect();
    let mean = metrics(0.5);
    let foreground = mean.trim_start_matches(r#"{"1": "#).trim_end_matches('}').to_owned() + "}";
    let text = format!(
        r#"{{"foreground_mean": {foreground}, "mean": {mean}, "metric_per_case": [{}]}}"#,
        cases.join(", ")
    );
    std::fs::create_dir_all(folder.join(name)).unwrap();
    std::fs::write(folder.join(name).join("summary.json"), text).unwrap();
}

#[test]
fn methods_are_ranked_drawn_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_summary(folder, "weak", &[0.5, 0.51, 0.52, 0.53, 0.54, 0.55]);
    write_summary(folder, "strong", &[0.6, 0.62, 0.64, 0.66, 0.68, 0.7]);
    let arguments = ["rank", "weak/summary.json", "strong/summary.json", "-o", "r.json", "--plot", "r.png"];
    let output = nnunet(&arguments, folder);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["strong", "0.6500", "1", "(1-1)", "1.000", "1", "(1-1)", "1", "1"]);
    assert_eq!(rows[2], ["weak", "0.5250", "2", "(2-2)", "2.000", "2", "(2-2)", "0", "2"]);
    let ranking: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("r.json")).unwrap()).unwrap();
    assert_eq!(ranking["p"][0][1], 2.0 / 64.0);
    assert_eq!(&std::fs::read(folder.join("r.png")).unwrap()[1..4], b"PNG");
}

#[test]
fn a_case_that_one_method_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_summary(folder, "a", &[0.5, 0.6]);
    write_summary(folder, "b", &[0.5]);
    let output = nnunet(&["rank", "a/summary.json", "b/summary.json"], folder);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("b has no case 1.nii.gz"), "{text}");
    let output = nnunet(&["rank", "a/summary.json", "b/summary.json", "--missing-is-worst"], folder);
    assert!(output.status.success());
    assert_eq!(nnunet(&["rank", "a/summary.json"], folder).status.code(), Some(2));
}
