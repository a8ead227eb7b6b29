//! `plan --explain`.

mod common;

use common::{NAME, Sandbox};

#[test]
fn every_choice_is_told_with_its_rule() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["fingerprint", "900"]);
    let text = sandbox.succeed(&["plan", "900", "--explain"]);
    for what in [
        "target spacing: [",
        "3d_fullres, patch size: [",
        "2d, batch size: ",
        "configurations: 2d and 3d_fullres",
    ] {
        assert!(text.contains(what), "{what:?} is not in {text}");
    }
    let choices = text.lines().filter(|line| line.starts_with("  rule ")).count();
    assert_eq!(choices, 3 + 2 * 3 + 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  changes ")).count(), choices);

    let path = |rest: &str| sandbox.path(rest).to_string_lossy().into_owned();
    let (dataset, fingerprint, output) = (
        path(&format!("raw/{NAME}/dataset.json")),
        path(&format!("preprocessed/{NAME}/dataset_fingerprint.json")),
        path("plans.json"),
    );
    let files =
        ["plan", "--dataset-json", &dataset, "--fingerprint", &fingerprint, "-o", &output, "--explain"];
    let again = sandbox.succeed(&[&files[..], &["--vram-gb", "0.2"]].concat());
    assert!(again.contains("made smaller") && again.contains("(0.2 GB)"), "{again}");
}
