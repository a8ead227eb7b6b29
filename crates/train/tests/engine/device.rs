//! Trainings on a device: the same weights as on the CPU but for rounding, and checkpoints that go back and forth.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::drawn::{options, setup};
use nnunet_nn::cuda::Emulator;
use nnunet_nn::{Accelerator, Precision};
use nnunet_train::{
    EntropyTerm, IterationInfo, LossTerms, OptimiserKind, Phase, StopToken, TrainCallback, TrainOptions,
    Trainer,
};

pub(crate) fn emulated() -> Option<Accelerator> {
    if !Emulator::is_there() {
        println!("skipped: no C++ compiler, so no emulated device");
        return None;
    }
    Some(Accelerator::new(Arc::new(Emulator::new())))
}

fn fold(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("nnUNetTrainer__nnUNetPlans__2d").join("fold_0")
}

#[derive(Default)]
struct Losses {
    values: Vec<f64>,
    lines: Vec<String>,
    stop_at: Option<usize>,
    token: StopToken,
}

impl TrainCallback for Losses {
    fn log(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    fn on_iteration(&mut self, info: &IterationInfo) {
        if info.phase == Phase::Train {
            self.values.push(info.loss);
            assert!(info.gradient_norm > 0.0);
            if self.stop_at == Some(self.values.len()) {
                self.token.stop();
            }
        }
    }
}

fn weights(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let map = trainer.parameters().to_map().into_iter();
    map.map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// Trains to the end; weights, losses of the training iterations, last validation loss.
fn train(options: TrainOptions) -> (BTreeMap<String, Vec<f32>>, Vec<f64>, f64) {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::from_setup(setup(&fold(&folder), options), false).unwrap();
    let mut losses = Losses::default();
    let summary = trainer.run(&mut losses).unwrap();
    (weights(&trainer), losses.values, summary.records.last().unwrap().val_loss)
}

/// Largest distance of the weights relative to how far training moved them.
fn apart(
    a: &BTreeMap<String, Vec<f32>>,
    b: &BTreeMap<String, Vec<f32>>,
    start: &BTreeMap<String, Vec<f32>>,
) -> f32 {
    let (mut worst, mut moved) = (0.0f32, 0.0f32);
    for (name, a) in a {
        for ((a, b), s) in a.iter().zip(&b[name]).zip(&start[name]) {
            worst = worst.max((a - b).abs());
            moved = moved.max((b - s).abs());
        }
    }
    assert!(moved > 0.0);
    worst / moved
}

#[test]
fn a_training_on_a_device_is_that_on_the_cpu_but_for_rounding() {
    let Some(accelerator) = emulated() else { return };
    let short = TrainOptions { epochs: 1, precision: Precision::F32, ..options() };
    let start =
        Trainer::from_setup(setup(&fold(&tempfile::tempdir().unwrap()), short.clone()), false).unwrap();
    let start = weights(&start);
    for deep_supervision in [true, false] {
        let host = TrainOptions { deep_supervision, ..short.clone() };
        let (cpu, cpu_losses, cpu_val) = train(host.clone());
        let device = TrainOptions { accelerator: Some(accelerator.clone()), ..host };
        let (found, losses, val) = train(device.clone());
        assert!(apart(&found, &cpu, &start) < 2e-2, "{}", apart(&found, &cpu, &start));
        for (a, b) in losses.iter().zip(&cpu_losses) {
            assert!((a - b).abs() < 2e-3, "{losses:?} {cpu_losses:?}");
        }
        assert!((val - cpu_val).abs() < 5e-3, "{val} {cpu_val}");
        // The same numbers each time.
        assert_eq!(train(device.clone()).0, found);
        let (coarse, losses, _) = train(TrainOptions { precision: Precision::Bf16, ..device });
        assert!(apart(&coarse, &cpu, &start) < 0.5);
        assert!((losses[0] - cpu_losses[0]).abs() < 2e-2, "{losses:?} {cpu_losses:?}");
    }
}

#[test]
fn a_stopped_training_goes_on_at_the_very_iteration() {
    let Some(accelerator) = emulated() else { return };
    let precision = Precision::F32;
    let device = TrainOptions { epochs: 2, precision, accelerator: Some(accelerator), ..options() };
    for augment_on_device in [false, true] {
        stop_and_resume(TrainOptions { augment_on_device, ..device.clone() });
    }
}

fn stop_and_resume(device: TrainOptions) {
    let (whole, losses, _) = train(device.clone());
    let folder = tempfile::tempdir().unwrap();
    let mut first = Losses { stop_at: Some(8), ..Losses::default() };
    let stopped = TrainOptions { stop: first.token.clone(), ..device.clone() };
    let mut trainer = Trainer::from_setup(setup(&fold(&folder), stopped), false).unwrap();
    assert!(!trainer.run(&mut first).unwrap().finished);
    let mut second = Losses::default();
    let mut trainer = Trainer::from_setup(setup(&fold(&folder), device), true).unwrap();
    assert!(trainer.run(&mut second).unwrap().finished);
    for lines in [&first.lines, &second.lines] {
        let said = lines
            .iter()
            .filter(|line| line.contains("GB of the device's memory (ExperimentPlanner aims at 8 GB"));
        assert_eq!(said.count(), 1, "{lines:?}");
    }
    assert_eq!([first.values, second.values].concat(), losses);
    assert_eq!(weights(&trainer), whole);
}

#[test]
fn images_are_augmented_on_the_device_on_request() {
    let Some(accelerator) = emulated() else { return };
    let device =
        TrainOptions { epochs: 1, precision: Precision::F32, accelerator: Some(accelerator), ..options() };
    let (_, on_host, _) = train(device.clone());
    let (_, on_device, _) = train(TrainOptions { augment_on_device: true, ..device.clone() });
    // Patches and what is drawn for them are the same but for the values of noise.
    assert!(on_host != on_device);
    for (a, b) in on_host.iter().zip(&on_device) {
        assert!((a - b).abs() < 0.05, "{on_host:?} {on_device:?}");
    }
    let without = TrainOptions { accelerator: None, ..device };
    let error = refused(TrainOptions { augment_on_device: true, ..without });
    assert!(error.contains("augment_on_device") && error.contains("--device cpu"), "{error}");
}

fn refused(options: TrainOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer::from_setup(setup(&fold(&folder), options), false);
    trainer.and_then(|mut trainer| trainer.run(&mut ())).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_runs_on_the_cpu_alone_is_refused_and_too_little_memory_names_the_option() {
    let Some(accelerator) = emulated() else { return };
    let device = TrainOptions { accelerator: Some(accelerator), ..options() };
    let adam = OptimiserKind::Adam { betas: [0.9, 0.999], amsgrad: false, decoupled: false };
    let error = refused(TrainOptions { optimiser: adam, ..device.clone() });
    assert!(error.contains("Adam") && error.contains("--device cpu"), "{error}");
    let entropy = Some(EntropyTerm { focal_gamma: 2.0, ..EntropyTerm::PLAIN });
    let error = refused(TrainOptions { loss: LossTerms { dice: None, entropy }, ..device.clone() });
    assert!(error.contains("focal") && error.contains("--device cpu"), "{error}");
    let mut elastic = TrainOptions { augment_on_device: true, ..device.clone() };
    elastic.augmentation.p_elastic = 0.2;
    let error = refused(elastic);
    assert!(error.contains("augment_on_device") && error.contains("elastic"), "{error}");
    let small = Accelerator::new(Arc::new(Emulator::with_memory(60_000)));
    let error = refused(TrainOptions { accelerator: Some(small), ..device });
    assert!(error.contains("no room") && error.contains("--batch-size"), "{error}");
}
