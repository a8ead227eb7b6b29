//! `report`.

mod common;

use common::{NAME, Sandbox, assert_clean};

#[test]
fn one_page_tells_everything_about_a_trained_model() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    let short = ["--epochs", "2", "--iterations", "2", "--val-iterations", "1", "--batch-size", "2"];
    for fold in ["0", "1"] {
        sandbox.succeed(&[&["train", "900", "3d_fullres", fold], &short[..]].concat());
    }
    let path = |rest: &str| sandbox.path(rest).to_string_lossy().into_owned();
    let model = format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres");
    // The whole results folder, a data set's, and one model's.
    for folder in ["results".to_owned(), format!("results/{NAME}"), model.clone()] {
        let said = sandbox.succeed(&["report", &path(&folder), "-o", &path("report.html")]);
        assert_eq!(said.trim(), path("report.html"));
        let page = std::fs::read_to_string(sandbox.path("report.html")).unwrap();
        for part in [
            &format!("<h1>{NAME}</h1>"),
            "<h2>Fingerprint</h2>",
            "<h3>Why these numbers</h3>",
            "3d_fullres, patch size",
            "fold_0, training",
            "fold_1, validation",
            "<h3>Dice per label</h3>",
            "<h3>Worst and best cases</h3>",
            "tumour",
        ] {
            assert!(page.contains(part), "{part:?} is not in the page of {folder}");
        }
        // One validation case per fold, in one picture each.
        assert_eq!(page.matches("data:image/png;base64,").count(), 2, "{folder}");
        assert!(!page.contains("no image"), "{folder}");
        for outside in ["<script", "src=\"http", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
    }

    // nnU-Net's folders have a text log alone.
    std::fs::remove_file(sandbox.path(&format!("{model}/fold_0/progress.jsonl"))).unwrap();
    sandbox.succeed(&["report", &path("results"), "-o", &path("logs.html")]);
    let page = std::fs::read_to_string(sandbox.path("logs.html")).unwrap();
    assert!(page.contains("fold_0, training"));

    // What is missing is told, and the rest is there.
    std::fs::remove_dir_all(sandbox.path("raw")).unwrap();
    std::fs::remove_file(sandbox.path(&format!("{model}/fold_1/validation/summary.json"))).unwrap();
    let output = sandbox.run(&["report", &path("results"), "-o", &path("less.html")]);
    let told = common::text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("fold_1") && told.contains("no scores") && told.contains("labels alone"), "{told}");
    assert!(std::fs::read_to_string(sandbox.path("less.html")).unwrap().contains("(no image)"));

    let error = sandbox.fail(&["report", &path("preprocessed"), "-o", &path("none.html")]);
    assert!(error.contains("model folder not found") && error.contains("fold_0"), "{error}");
    assert!(!sandbox.path("none.html").exists());
    assert_clean(&sandbox.path(""));
}
