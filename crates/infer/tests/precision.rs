//! The trained model in bf16 against f32: at least 99.9 % of the labels are the same, Dice differs by at most 0.001.

mod common;

use candle_core::Device;
use nnunet_image::reader_by_name;
use nnunet_infer::{Predictor, PredictorOptions};
use nnunet_nn::Precision;

/// Dice of a label.
fn dice(a: &[i16], b: &[i16], label: i16) -> f64 {
    let count = |v: &[i16]| v.iter().filter(|v| **v == label).count();
    let both = a.iter().zip(b).filter(|(a, b)| **a == label && **b == label).count();
    2.0 * both as f64 / (count(a) + count(b)) as f64
}

#[test]
fn the_trained_model_says_the_same_in_bf16() {
    let Some(data) = common::test_data() else { return };
    let model = data.join("models/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres");
    let raw = data.join("data/nnUNet_raw/Dataset004_Hippocampus");
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let predictors = [Precision::F32, Precision::Bf16].map(|precision| {
        let options = PredictorOptions { precision, ..PredictorOptions::default() };
        Predictor::open(&model, None, None, options, Device::Cpu).unwrap()
    });
    let (mut equal, mut all, mut worst) = (0, 0, 0.0f64);
    for case in ["035", "042", "044", "048"] {
        let name = format!("hippocampus_{case}");
        let truth = reader.read_labels(&raw.join(format!("labelsTr/{name}.nii.gz"))).unwrap();
        let truth: Vec<i16> = truth.data.iter().copied().collect();
        let [single, half] = [0, 1].map(|i| {
            let image = reader.read_images(&[raw.join(format!("imagesTr/{name}_0000.nii.gz"))]).unwrap();
            let prediction = predictors[i].predict_image(image, false, &|_| {}).unwrap();
            prediction.labels.data.iter().copied().collect::<Vec<i16>>()
        });
        equal += single.iter().zip(&half).filter(|(a, b)| a == b).count();
        all += single.len();
        for label in [1, 2] {
            worst = worst.max((dice(&single, &truth, label) - dice(&half, &truth, label)).abs());
        }
    }
    let share = equal as f64 / all as f64;
    println!("equal labels {:.4} %, Dice within {worst:.5}", 100.0 * share);
    assert!(share >= 0.999 && worst <= 1e-3, "{share} {worst}");
}
