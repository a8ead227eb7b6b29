//! Predictions of nnU-Net's own predictor with models of several kinds, reproduced in half-precision sums.

mod common;

use std::path::Path;

use candle_core::Device;
use nnunet_fingerprint::list_cases;
use nnunet_image::npz::read_npz_f32;
use nnunet_image::reader_by_name;
use nnunet_infer::{Accumulator, BatchOptions, Predictor, PredictorOptions};
use nnunet_nn::Precision;

/// Difference of probabilities that is accepted. The reference's logits have half precision: from 8 on, two
/// neighbouring ones are up to 2e-3 apart in probability, and the order of additions within the network
/// decides between them.
const PROBABILITY_TOLERANCE: f32 = 2e-3;
/// Smallest share of equal labels that is accepted.
const EQUAL_LABELS: f64 = 0.9995;

fn half_sums() -> PredictorOptions {
    PredictorOptions {
        accumulator: Accumulator::F16,
        precision: Precision::F32,
        ..PredictorOptions::default()
    }
}

fn probabilities() -> BatchOptions {
    BatchOptions { save_probabilities: true, ..BatchOptions::default() }
}

/// Compares labels, geometry and probabilities of a case with the reference's.
fn compare(found: &Path, expected: &Path, case: &str) {
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let labels = |folder: &Path| reader.read_labels(&folder.join(format!("{case}.nii.gz"))).unwrap();
    let (a, b) = (labels(found), labels(expected));
    assert_eq!(a.data.dim(), b.data.dim());
    assert!(a.geometry.same_spacing(&b.geometry) && a.geometry.same_frame(&b.geometry));
    let equal = a.data.iter().zip(&b.data).filter(|(a, b)| a == b).count() as f64 / a.data.len() as f64;
    let probabilities =
        |folder: &Path| read_npz_f32(&folder.join(format!("{case}.npz")), "probabilities").unwrap();
    let (a, b) = (probabilities(found), probabilities(expected));
    assert_eq!(a.shape(), b.shape());
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{case}: equal labels {:.4} %, probabilities within {worst:.1e}", 100.0 * equal);
    assert!(equal >= EQUAL_LABELS, "{case}: {equal}");
    assert!(worst <= PROBABILITY_TOLERANCE, "{case}: {worst}");
}

fn assert_kind(kind: &str) {
    let Some(data) = common::test_data() else { return };
    let folder = data.join("golden/models").join(kind);
    let predictor = Predictor::open(&folder.join("model"), None, None, half_sums(), Device::Cpu).unwrap();
    let cases = list_cases(&folder.join("imagesTs"), ".nii.gz").unwrap();
    assert_eq!(cases.len(), 2);
    let out = tempfile::tempdir().unwrap();
    for (case, result) in predictor.predict_files(&cases, out.path(), &probabilities(), &|_| {}) {
        result.unwrap();
        println!("{kind}");
        compare(out.path(), &folder.join("predicted"), &case);
    }
}

#[test]
fn plain_3d() {
    assert_kind("plain3d");
}

#[test]
fn plain_2d() {
    assert_kind("plain2d");
}

#[test]
fn anisotropic_3d_with_two_channels() {
    assert_kind("aniso3d");
}

#[test]
fn residual_3d() {
    assert_kind("resenc3d");
}

#[test]
fn regions() {
    assert_kind("regions");
}

#[test]
fn two_folds() {
    assert_kind("two_folds");
}

#[test]
fn without_mirroring() {
    assert_kind("nomirror");
}

#[test]
fn the_trained_model_segments_its_validation_cases_as_the_reference_did() {
    let Some(data) = common::test_data() else { return };
    let model = data.join("models/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres");
    let images = data.join("data/nnUNet_raw/Dataset004_Hippocampus/imagesTr");
    let golden = data.join("golden/hippocampus/validation_fold0");
    let predictor = Predictor::open(&model, None, None, half_sums(), Device::Cpu).unwrap();
    let cases: Vec<_> = ["035", "042", "044", "048"]
        .iter()
        .map(|n| format!("hippocampus_{n}"))
        .filter(|id| golden.join(format!("{id}.npz")).is_file())
        .map(|id| (id.clone(), vec![images.join(format!("{id}_0000.nii.gz"))]))
        .collect();
    assert_eq!(cases.len(), 4);
    let out = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let results = predictor.predict_files(&cases, out.path(), &probabilities(), &|_| {});
    println!("{:.2} s per case", begun.elapsed().as_secs_f64() / cases.len() as f64);
    for (case, result) in results {
        result.unwrap();
        compare(out.path(), &golden, &case);
    }
}
