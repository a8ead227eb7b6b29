//! A small drawn data set and the program to run on it.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nnunet_examples::drawn::{DrawnDataset, write_dataset};
use tempfile::TempDir;

pub const NAME: &str = "Dataset900_Drawn";

/// A folder with a drawn data set of `cases` labelled cases and one test case.
pub struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub fn new(cases: usize) -> Self {
        let root = TempDir::new().unwrap();
        let spec = DrawnDataset { training_cases: cases, test_cases: 1, field_of_view: 24.0, seed: 3 };
        write_dataset(&root.path().join("raw"), NAME, &spec).unwrap();
        Self { root }
    }

    /// An empty folder.
    pub fn empty() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    pub fn path(&self, rest: &str) -> PathBuf {
        self.root.path().join(rest)
    }

    /// A file of the raw data set.
    pub fn raw(&self, rest: &str) -> PathBuf {
        self.path("raw").join(NAME).join(rest)
    }

    /// The words of a command, those that start with `@` as paths in the sandbox.
    pub fn words(&self, command: &str) -> Vec<String> {
        let path = |rest: &str| self.path(rest).to_string_lossy().into_owned();
        command.split_whitespace().map(|word| word.strip_prefix('@').map_or(word.to_owned(), path)).collect()
    }

    /// Runs `nnunet` with the three folders set and two threads.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.finish(Command::new(env!("CARGO_BIN_EXE_nnunet")), arguments)
    }

    /// As [`Sandbox::run`], with whatever starts the program.
    pub fn finish(&self, mut command: Command, arguments: &[&str]) -> Output {
        command.args(arguments).args(["--threads", "2"]);
        for folder in ["raw", "preprocessed", "results"] {
            command.arg(format!("--{folder}")).arg(self.path(folder));
        }
        command.output().unwrap()
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with exit code 1 and returns its standard error, which must hold exactly one error.
    pub fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut list = Vec::new();
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            list.extend(files(&entry));
        } else {
            list.push(entry);
        }
    }
    list.sort();
    list
}

/// Fails if a temporary file or folder is left.
pub fn assert_clean(folder: &Path) {
    let left: Vec<_> = files(folder)
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".part")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
