//! Models of other networks than nnU-Net's own, from disk to logits.

mod common;

use candle_core::{Device, Tensor};
use common::write_model_of;
use ndarray::Array4;
use nnunet_infer::{Predictor, PredictorOptions};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::{Architecture, NetworkSpec, Plans, Preset, PresetShape};

/// A case as large as a patch, so that there is one tile.
fn case() -> Array4<f32> {
    Array4::from_shape_fn((1, 8, 8, 8), |(_, z, y, x)| ((z * 37 + y * 11 + x * 5) % 23) as f32 / 11.0 - 1.0)
}

fn open(folder: &std::path::Path) -> Predictor {
    Predictor::open(folder, None, None, PredictorOptions::default(), Device::Cpu).unwrap()
}

/// What the predictor gives, and what the network gives that it was written from.
fn both(folder: &std::path::Path, spec: &NetworkSpec, parameters: &Parameters) -> [Vec<f32>; 2] {
    let logits = open(folder).predict_logits(case().view(), &|_| {}).unwrap();
    let network = UNet::new(spec, 1, 3, parameters).unwrap();
    let image = Tensor::from_vec(case().into_raw_vec_and_offset().0, (1, 1, 8, 8, 8), &Device::Cpu).unwrap();
    let expected = network.forward(&image).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    [logits.iter().copied().collect(), expected]
}

fn agree([found, expected]: [Vec<f32>; 2], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{what}: {a} instead of {b}");
    }
}

#[test]
fn every_preset_is_loaded_and_predicts() {
    for preset in Preset::all() {
        let folder = tempfile::tempdir().unwrap();
        let architecture = preset.architecture(&PresetShape::even(3, &[4, 8], 3));
        let (spec, parameters) = write_model_of(folder.path(), &architecture, "nnUNetTrainer");
        agree(both(folder.path(), &spec, &parameters), preset.name());
    }
}

fn plain() -> Architecture {
    let plans: Plans = serde_json::from_str(common::PLANS).unwrap();
    plans.configuration("3d_fullres").unwrap().architecture
}

#[test]
fn the_batch_norm_trainer_is_known_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, parameters) = write_model_of(folder.path(), &plain(), "nnUNetTrainerBN");
    assert!(parameters.state().any(|(name, _)| name.ends_with("norm.running_var")));
    agree(both(folder.path(), &spec, &parameters), "nnUNetTrainerBN");
}

#[test]
fn a_device_refuses_by_name() {
    use nnunet_nn::{Accelerator, cuda::Emulator};
    if !Emulator::is_there() {
        println!("skipped: no C++ compiler, so no emulated device");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let architecture = Preset::UNetPlusPlus.architecture(&PresetShape::even(3, &[4, 8], 3));
    write_model_of(folder.path(), &architecture, "nnUNetTrainer");
    let accelerator = Some(Accelerator::new(std::sync::Arc::new(Emulator::new())));
    let options = PredictorOptions { accelerator, ..PredictorOptions::default() };
    let error = Predictor::open(folder.path(), None, None, options, Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("nested skip pathways") && error.contains("--device cpu"), "{error}");
}
