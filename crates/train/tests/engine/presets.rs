//! Published networks on drawn cases: each learns them, and is stopped and resumed without a trace.

use std::path::Path;

use crate::drawn::{options, setup};
use candle_core::Tensor;
use nnunet_nn::weights::read_safetensors;
use nnunet_plan::{Architecture, Preset, PresetShape};
use nnunet_train::{
    AugmentOptions, AugmentSet, Control, EpochRecord, OptimiserKind, TrainCallback, TrainOptions, TrainSetup,
    TrainSummary, Trainer, local_cluster,
};

/// The drawn cases with another network, in 2-D or 3-D.
fn with_network(
    folder: &Path,
    architecture: &Architecture,
    dims: usize,
    options: TrainOptions,
) -> TrainSetup {
    let mut setup = setup(&folder.join("fold_0"), options);
    let configuration = &mut setup.plans.configurations["2d"];
    configuration["architecture"] = serde_json::to_value(architecture).unwrap();
    if dims == 3 {
        configuration["patch_size"] = serde_json::json!([4, 16, 16]);
        configuration["spacing"] = serde_json::json!([1.0, 1.0, 1.0]);
        configuration["batch_size"] = 2.into();
    }
    setup
}

/// A preset with few features; the lowest of three stages keeps the slices.
fn small(preset: Preset, dims: usize) -> Architecture {
    let mut shape = PresetShape::even(dims, &[6, 12, 16], 3);
    if dims == 3 {
        shape.strides = vec![vec![1; 3], vec![2; 3], vec![1, 2, 2]];
    }
    let mut architecture = preset.architecture(&shape);
    if preset == Preset::DeepLab {
        // Rates that are still apart at a quarter of 16 voxels.
        architecture.arch_kwargs.insert("aspp_rates".to_owned(), serde_json::json!([1, 2]));
    }
    architecture
}

fn run(setup: TrainSetup) -> TrainSummary {
    Trainer::from_setup(setup, false).unwrap().run(&mut ()).unwrap()
}

/// Trains a preset; the pseudo Dice of the last epoch, in which batch norms use their running statistics.
fn dice(preset: Preset, dims: usize) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let learning = TrainOptions {
        epochs: 9,
        iterations_per_epoch: 20,
        val_iterations: 8,
        initial_lr: 5e-3,
        optimiser: OptimiserKind::Adam { betas: [0.9, 0.999], amsgrad: false, decoupled: true },
        augmentation: AugmentOptions { set: AugmentSet::None, ..AugmentOptions::default() },
        ..options()
    };
    let summary = run(with_network(folder.path(), &small(preset, dims), dims, learning));
    summary.records.last().unwrap().mean_fg_dice
}

fn learns(preset: Preset, least: [f32; 2]) {
    for (dims, least) in [2, 3].into_iter().zip(least) {
        let found = dice(preset, dims);
        println!("{} in {dims}-D: {found}", preset.name());
        assert!(found > least, "{} in {dims}-D: Dice {found}, expected more than {least}", preset.name());
    }
}

#[test]
fn unet_learns() {
    learns(Preset::UNet, [0.9, 0.9]);
}

#[test]
fn unet_3d_learns() {
    learns(Preset::UNet3d, [0.9, 0.9]);
}

#[test]
fn vnet_learns() {
    learns(Preset::VNet, [0.9, 0.9]);
}

#[test]
fn residual_unet_learns() {
    learns(Preset::ResidualUNet, [0.9, 0.9]);
}

#[test]
fn attention_unet_learns() {
    learns(Preset::AttentionUNet, [0.85, 0.9]);
}

#[test]
fn dense_unet_learns() {
    learns(Preset::DenseUNet, [0.9, 0.9]);
}

#[test]
fn unet_plus_plus_learns() {
    learns(Preset::UNetPlusPlus, [0.9, 0.9]);
}

#[test]
fn deeplab_learns() {
    learns(Preset::DeepLab, [0.85, 0.85]);
}

struct StopAfter(usize);

impl TrainCallback for StopAfter {
    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        if record.epoch == self.0 { Control::Stop } else { Control::Continue }
    }
}

/// Everything in a checkpoint as numbers.
fn tensors(folder: &Path) -> std::collections::BTreeMap<String, Vec<f32>> {
    let (tensors, _) = read_safetensors(&folder.join("fold_0/checkpoint_final.safetensors")).unwrap();
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

#[test]
fn dropout_and_running_statistics_survive_a_resumption() {
    let mut architecture = small(Preset::ResidualUNet, 2);
    let kwargs = &mut architecture.arch_kwargs;
    kwargs.insert("dropout_op".to_owned(), "torch.nn.Dropout2d".into());
    kwargs.insert("dropout_op_kwargs".to_owned(), serde_json::json!({"p": 0.2}));
    kwargs.insert("stochastic_depth".to_owned(), 0.2.into());
    let short = TrainOptions { epochs: 2, iterations_per_epoch: 3, ..options() };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(with_network(whole.path(), &architecture, 2, short.clone()));
    let stopped = with_network(parts.path(), &architecture, 2, short.clone());
    assert!(!Trainer::from_setup(stopped, false).unwrap().run(&mut StopAfter(0)).unwrap().finished);
    let resumed = with_network(parts.path(), &architecture, 2, short);
    Trainer::from_setup(resumed, true).unwrap().run(&mut ()).unwrap();
    let found = tensors(parts.path());
    assert!(found.keys().any(|name| name.ends_with("running_mean")));
    assert!(!found.keys().any(|name| name.starts_with("momentum.") && name.contains("running_")));
    assert_eq!(found, tensors(whole.path()));
}

#[test]
fn the_batch_norm_trainer_trains_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions { epochs: 1, ..options() };
    let named = TrainOptions { trainer: "nnUNetTrainerBN".to_owned(), ..options };
    run(setup(&folder.path().join("fold_0"), named.clone()));
    let found = tensors(folder.path());
    let mean = &found["network.encoder.stages.0.0.convs.0.norm.running_mean"];
    assert!(mean.len() == 4 && mean.iter().any(|value| *value != 0.0), "{mean:?}");
    // Several ranks have parts of the batch only.
    let cluster = local_cluster(2).remove(0);
    let setup = setup(&folder.path().join("fold_1"), TrainOptions { cluster, ..named });
    let error = Trainer::from_setup(setup, false).err().unwrap().to_string();
    assert!(error.contains("batch norms"), "{error}");
}

#[test]
fn devices_refuse_other_networks_by_name() {
    use nnunet_nn::{Accelerator, cuda::Emulator};
    if !Emulator::is_there() {
        println!("skipped: no C++ compiler, so no emulated device");
        return;
    }
    let accelerator = || Some(Accelerator::new(std::sync::Arc::new(Emulator::new())));
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions { accelerator: accelerator(), ..options() };
    let setup = with_network(folder.path(), &small(Preset::AttentionUNet, 2), 2, options);
    let error = Trainer::from_setup(setup, false).err().unwrap().to_string();
    assert!(error.contains("attention gates") && error.contains("--device cpu"), "{error}");
}
