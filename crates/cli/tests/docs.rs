//! The commands that the pages of the documentation show are run as they stand, in the order of each page.
//!
//! Trainings are shortened. Everything that the pages take for granted is there: data set 4, `imagesTs`, `labelsTs`, `dataset.json`,
//! `dataset_fingerprint.json`, and a trained model behind the name `MODEL_DIR`.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::text;
use nnunet_examples::drawn::{DrawnDataset, write_dataset};
use tempfile::TempDir;

const NAME: &str = "Dataset004_Hippocampus";
const MODEL: &str = "nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres";
const SHORT: &str = " --epochs 1 --iterations 2 --val-iterations 1 --batch-size 2";

/// The lines of all ```` ```sh ```` blocks of a page that call `nnunet`, without their comments.
fn commands(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && line.starts_with("nnunet ") {
            found.push(line.split(" #").next().unwrap_or(line).trim_end().to_owned());
        }
    }
    found
}

fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let spec = DrawnDataset { training_cases: 5, test_cases: 1, field_of_view: 24.0, seed: 3 };
        let folder = write_dataset(&home.path().join("nnUNet_raw"), NAME, &spec).unwrap();
        let home = Self(home);
        for name in ["imagesTs", "labelsTs"] {
            std::fs::create_dir(home.path(name)).unwrap();
            for file in common::files(&folder.join(name)) {
                std::fs::copy(&file, home.path(name).join(file.file_name().unwrap())).unwrap();
            }
        }
        std::fs::copy(folder.join("dataset.json"), home.path("dataset.json")).unwrap();
        home
    }

    /// A home in which fold 0 has been trained.
    fn with_model() -> Self {
        let home = Self::new();
        home.succeed("nnunet plan-and-preprocess 4 -c 3d_fullres");
        home.succeed(&format!("nnunet train 4 3d_fullres 0 --save-probabilities{SHORT}"));
        let fingerprint = home.path(&format!("nnUNet_preprocessed/{NAME}/dataset_fingerprint.json"));
        std::fs::copy(fingerprint, home.path("dataset_fingerprint.json")).unwrap();
        home
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.0.path().join(rest)
    }

    fn run(&self, command: &str) -> Output {
        let words = command.split_whitespace().skip(1);
        let words = words.map(|word| if word == "MODEL_DIR" { MODEL } else { word });
        let mut process = Command::new(env!("CARGO_BIN_EXE_nnunet"));
        process.args(words).current_dir(self.0.path());
        for folder in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"] {
            process.env(folder, self.path(folder));
        }
        process.output().unwrap()
    }

    fn succeed(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a page's commands; how many there were.
    fn follow(&self, page: &str) -> usize {
        let commands = commands(&documentation().join(page));
        assert!(!commands.is_empty(), "{page} shows no command");
        for command in &commands {
            let training = command.starts_with("nnunet train ") && !command.contains("--validate-only");
            self.succeed(&if training { format!("{command}{SHORT}") } else { command.clone() });
        }
        commands.len()
    }
}

#[test]
fn the_readme_can_be_followed() {
    let home = Home::new();
    assert!(home.follow("README.md") >= 6);
    assert!(home.path("out/summary.json").is_file());
}

#[test]
fn who_comes_from_nnunet_can_follow() {
    let home = Home::new();
    home.follow("docs/from-nnunet.md");
    for file in ["predicted/case_005.nii.gz", "predicted/summary.json", "report.html", "hippocampus.zip"] {
        assert!(home.path(file).is_file(), "{file}");
    }
}

#[test]
fn the_page_on_building_blocks_can_be_followed() {
    let home = Home::new();
    home.follow("docs/building-blocks.md");
    let model = format!("nnUNet_results/{NAME}/nnUNetTrainer__nnUNetPlans_attention-unet__3d_fullres");
    assert!(home.path(&format!("{model}/fold_0/validation/summary.json")).is_file());
}

#[test]
fn the_page_on_statistics_can_be_followed() {
    let home = Home::new();
    let page = std::fs::read_to_string(documentation().join("docs/statistics.md")).unwrap();
    // The mapping that the page shows is the one that its commands name.
    let (_, mapping) = page.split_once("```json\n").unwrap();
    std::fs::write(home.path("codes.json"), mapping.split_once("```").unwrap().0).unwrap();
    assert!(home.follow("docs/statistics.md") >= 6);
    let colours = std::fs::read_to_string(home.path("abdomen.ctbl")).unwrap();
    assert!(colours.contains("\n1 liver 221 130 101 255\n"), "{colours}");
    for file in ["statistics.json", "statistics.csv", "case_005.csv", "case_005.png"] {
        assert!(home.path(file).is_file(), "{file}");
    }
}

#[test]
fn the_pages_on_parts_of_the_method_can_be_followed() {
    let home = Home::with_model();
    home.follow("docs/dataset-format.md");
    home.follow("docs/heuristics.md");
    assert!(home.path("plans.json").is_file());
    home.follow("docs/inference.md");
    assert!(home.path("predicted/case_005.nii.gz").is_file());
}

#[test]
fn the_page_on_dicom_can_be_followed() {
    let home = Home::with_model();
    let drawn = documentation().join("crates/image/tests/golden/dicom/explicit");
    std::fs::create_dir(home.path("series")).unwrap();
    for file in common::files(&drawn) {
        std::fs::copy(&file, home.path("series").join(file.file_name().unwrap())).unwrap();
    }
    home.follow("docs/dicom.md");
    for file in ["from-dicom/series.nii.gz", "from-dicom/series.dcm", "chosen/series.nii.gz", "labels.nii.gz"]
    {
        assert!(home.path(file).is_file(), "{file}");
    }
}

#[test]
fn a_training_in_the_documentation_is_found_with_its_options() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.md");
    std::fs::write(&page, "```sh\nnnunet train 4 2d 0 --trainer X   # why\n```\n```toml\nnnunet no\n```\n")
        .unwrap();
    assert_eq!(commands(&page), ["nnunet train 4 2d 0 --trainer X"]);
}
