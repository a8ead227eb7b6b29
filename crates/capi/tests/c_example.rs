//! The C program of `examples/segment.c`, compiled and run, gives the labels that Rust's predictor gives.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use nnunet_image::{Geometry, Image};
use nnunet_infer::{Predictor, PredictorOptions};
use nnunet_nn::Precision;

const SPACING: [f64; 3] = [2.0, 1.0, 1.0];

/// The shared library that cargo built beside this test.
fn library() -> Option<PathBuf> {
    let deps = std::env::current_exe().ok()?.parent()?.to_owned();
    [deps.clone(), deps.parent()?.to_owned()]
        .into_iter()
        .find(|folder| folder.join("libnnunet_capi.so").is_file())
}

fn compile(to: &Path, library: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"])
        .arg(root.join("examples/segment.c"))
        .arg("-I")
        .arg(root.join("include"))
        .arg("-L")
        .arg(library)
        .args(["-lnnunet_capi", "-o"])
        .arg(to)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_program_in_c_gives_the_labels_of_the_predictor() {
    if Command::new("cc").arg("--version").output().is_err() {
        println!("skipped: there is no C compiler (cc)");
        return;
    }
    let Some(library) = library() else {
        println!("skipped: cargo built no libnnunet_capi.so on this system");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    common::write_model(&at("model"));
    let data = common::image();
    let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(at("image.f32"), bytes).unwrap();

    compile(&at("segment"), &library);
    let run = |model: &str| {
        let numbers = ["12", "20", "18", "2.0", "1.0", "1.0"];
        let mut program = Command::new(at("segment"));
        program.env("LD_LIBRARY_PATH", &library).arg(at(model)).arg(at("image.f32")).args(numbers);
        program.arg(at("labels.i16")).output().unwrap()
    };
    let output = run("model");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(env!("CARGO_PKG_VERSION")) && said.contains("3d_fullres"), "{said}");
    let bar = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(bar.contains("tile 1 of ") && bar.ends_with('\n'), "{bar}");

    let found: Vec<i16> = std::fs::read(at("labels.i16"))
        .unwrap()
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let options = PredictorOptions { precision: Precision::F32, ..PredictorOptions::default() };
    let predictor = Predictor::open(&at("model"), None, None, options, Device::Cpu).unwrap();
    let geometry = Geometry { spacing: SPACING, ..Geometry::default() };
    let expected = predictor.predict_image(Image { data, geometry }, false, &|_| {}).unwrap();
    let expected: Vec<i16> = expected.labels.data.iter().copied().collect();
    assert!(expected.contains(&1) && expected.contains(&2), "the drawn model tells nothing apart");
    assert_eq!(found, expected);

    let output = run("nowhere");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no such folder"), "{said}");
}
