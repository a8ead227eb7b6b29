//! Trainer variants, regions, early stopping and other shapes of a training, on drawn cases.

use std::path::Path;
use std::sync::Arc;

use crate::drawn::{Drawn, options, setup};
use nnunet_fingerprint::{DatasetJson, Split};
use nnunet_nn::read_checkpoint;
use nnunet_train::{
    AugmentOptions, LossTerms, LrSchedule, OptimiserKind, Oversampling, TrainCallback, TrainOptions,
    TrainSetup, TrainSummary, Trainer,
};

fn run(folder: &Path, options: TrainOptions) -> TrainSummary {
    Trainer::from_setup(setup(&folder.join("fold_0"), options), false).unwrap().run(&mut ()).unwrap()
}

#[test]
fn every_variant_trains_and_leaves_its_name() {
    for name in TrainOptions::names() {
        let folder = tempfile::tempdir().unwrap();
        let few = TrainOptions { epochs: 1, iterations_per_epoch: 2, val_iterations: 1, ..options() };
        let named = TrainOptions::named(&name).unwrap();
        let TrainOptions { epochs, iterations_per_epoch, val_iterations, loader_threads, .. } = few;
        let short = TrainOptions { epochs, iterations_per_epoch, val_iterations, loader_threads, ..named };
        let summary = run(folder.path(), short);
        assert!(summary.finished && summary.records[0].train_loss.is_finite(), "{name}");
        let checkpoint = read_checkpoint(&folder.path().join("fold_0/checkpoint_final.safetensors")).unwrap();
        assert_eq!(checkpoint.trainer_name, name);
        let axes = match name.as_str() {
            "nnUNetTrainerNoDA" => None,
            name if name.contains("NoMirroring") => None,
            name if name.contains("onlyMirror01") => Some(vec![0]),
            _ => Some(vec![0, 1]),
        };
        assert_eq!(checkpoint.mirror_axes, axes, "{name}");
    }
}

#[test]
fn adam_is_resumed_bit_for_bit() {
    let adam = TrainOptions {
        optimiser: OptimiserKind::Adam { betas: [0.9, 0.999], amsgrad: true, decoupled: true },
        initial_lr: 1e-3,
        schedule: LrSchedule::WarmUp { epochs: 2 },
        oversampling: Oversampling::PerSample,
        loss: LossTerms::DICE_FOCAL,
        ..options()
    };
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), adam.clone());
    let parts = tempfile::tempdir().unwrap();
    struct Stop(usize);
    impl TrainCallback for Stop {
        fn on_epoch_end(&mut self, record: &nnunet_train::EpochRecord) -> nnunet_train::Control {
            if record.epoch == self.0 { nnunet_train::Control::Stop } else { nnunet_train::Control::Continue }
        }
    }
    for epoch in 0..3 {
        let setup = setup(&parts.path().join("fold_0"), adam.clone());
        Trainer::from_setup(setup, true).unwrap().run(&mut Stop(epoch)).unwrap();
    }
    let read = |folder: &Path| {
        let path = folder.join("fold_0/checkpoint_final.safetensors");
        let (tensors, _) = nnunet_nn::weights::read_safetensors(&path).unwrap();
        let values = |t: candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.into_iter().map(|(n, t)| (n, values(t))).collect::<std::collections::BTreeMap<_, _>>()
    };
    let found = read(parts.path());
    assert!(found.keys().any(|name| name.starts_with("max_exp_avg_sq.")));
    assert_eq!(found, read(whole.path()));
    // SGD cannot go on from the state of Adam.
    let other = TrainOptions { epochs: 4, optimiser: OptimiserKind::default(), ..adam };
    let error = Trainer::from_setup(setup(&parts.path().join("fold_0"), other), true).err().unwrap();
    assert!(error.to_string().contains("another optimiser"), "{error}");
}

#[test]
fn training_stops_early_where_the_dice_no_longer_rises() {
    let folder = tempfile::tempdir().unwrap();
    // Without a learning rate nothing changes but the patches, so the average soon falls.
    let options = TrainOptions { epochs: 60, initial_lr: 0.0, early_stopping: Some(2), ..options() };
    let summary = run(folder.path(), options.clone());
    assert!(summary.finished && summary.records.len() < 60, "{} epochs", summary.records.len());
    let emas: Vec<f32> = summary.records.iter().map(|r| r.ema_fg_dice).collect();
    let best = emas.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(emas.iter().position(|&ema| ema == best), Some(emas.len() - 3), "{emas:?}");
    assert!(folder.path().join("fold_0/checkpoint_final.safetensors").exists());
    // Resuming finds that it is over.
    let setup = setup(&folder.path().join("fold_0"), options);
    let again = Trainer::from_setup(setup, true).unwrap().run(&mut ()).unwrap();
    assert_eq!(again.records.len(), emas.len());
}

#[test]
fn without_deep_supervision_only_the_last_head_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let mut plans = setup(folder.path(), options());
    // Three outputs, of which the second is trained by default.
    let text = serde_json::to_string(&plans.plans).unwrap();
    plans.plans = serde_json::from_str(&text).unwrap();
    for (deep, trained) in [(true, 1), (false, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let options = TrainOptions { deep_supervision: deep, epochs: 1, ..options() };
        run(folder.path(), options);
        let path = folder.path().join("fold_0/checkpoint_final.safetensors");
        let (tensors, _) = nnunet_nn::weights::read_safetensors(&path).unwrap();
        let heads =
            tensors.keys().filter(|n| n.starts_with("momentum.decoder.seg_layers.") && n.ends_with("bias"));
        assert_eq!(heads.count(), trained, "deep supervision {deep}");
    }
}

/// Regions: anything, and the disc within it; label 3 is to be ignored.
fn regions_and_ignore() -> DatasetJson {
    let dataset = serde_json::json!({
        "channel_names": {"0": "drawn"},
        "labels": {"background": 0, "anything": [1, 2], "disc": 2, "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": 6,
        "file_ending": ".nii.gz"
    });
    serde_json::from_value(dataset).unwrap()
}

/// A training on regions; the last rows of each case were not annotated.
pub(crate) fn regions_and_ignore_setup(folder: &Path, options: TrainOptions) -> TrainSetup {
    let mut setup = setup(folder, options);
    setup.dataset = regions_and_ignore();
    let mut cases = Drawn::new();
    for number in 0..6 {
        let name = format!("case_{number}");
        let (image, mut labels, _) = cases.get(&name).unwrap().clone();
        let rows = labels.dim().1;
        labels.slice_mut(ndarray::s![.., rows - 3.., ..]).fill(3);
        cases.insert_annotated(&name, image, labels);
    }
    setup.source = Arc::new(cases);
    setup
}

#[test]
fn regions_with_an_ignore_label_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions { epochs: 3, iterations_per_epoch: 120, ..options() };
    let setup = regions_and_ignore_setup(&folder.path().join("fold_0"), options);
    let summary = Trainer::from_setup(setup, false).unwrap().run(&mut ()).unwrap();
    let last = summary.records.last().unwrap();
    assert_eq!(last.dice_per_class.len(), 2);
    assert!(last.dice_per_class.iter().all(|&dice| dice > 0.7), "{:#?}", summary.records);
}

#[test]
fn losses_that_regions_do_not_have_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions { loss: LossTerms::TOP_K_10, ..options() };
    let mut setup = setup(&folder.path().join("fold_0"), options);
    setup.dataset = regions_and_ignore();
    let error = Trainer::from_setup(setup, false).err().unwrap().to_string();
    assert!(error.contains("regions"), "{error}");
}

#[test]
fn all_cases_train_and_validate_and_patches_may_be_larger_than_images() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup(&folder.path().join("fold_all"), TrainOptions { epochs: 1, ..options() });
    // Case 3 is smaller than the patch, case 2 has no foreground; two cases for batches of four.
    let names: Vec<String> = vec!["case_2".to_owned(), "case_3".to_owned()];
    setup.split = Split { train: names.clone(), val: names };
    struct Lines(Vec<String>);
    impl TrainCallback for Lines {
        fn log(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }
    let mut lines = Lines(Vec::new());
    let summary = Trainer::from_setup(setup, false).unwrap().run(&mut lines).unwrap();
    assert!(summary.finished && summary.records[0].train_loss.is_finite());
    assert!(lines.0.iter().any(|line| line.contains("Warning: 2 cases")), "{:#?}", lines.0);
}

#[test]
fn a_checkpoint_of_another_architecture_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), TrainOptions { epochs: 1, ..options() });
    let mut other = setup(&folder.path().join("fold_0"), options());
    let text = serde_json::to_string(&other.plans).unwrap();
    assert!(text.contains("[4,8,16]"));
    other.plans = serde_json::from_str(&text.replace("[4,8,16]", "[4,8,12]")).unwrap();
    let error = Trainer::from_setup(other, true).err().unwrap().to_string();
    assert!(
        error.contains("checkpoint_") && error.contains("another network") && error.contains("shape"),
        "{error}"
    );
}

#[test]
fn elastic_deformation_and_pairs_are_options() {
    let folder = tempfile::tempdir().unwrap();
    let left_right = Some(nnunet_augment::LeftRight { axis: 2, pairs: vec![[1, 2]] });
    let augmentation = AugmentOptions { p_elastic: 0.5, left_right, ..AugmentOptions::default() };
    assert!(run(folder.path(), TrainOptions { epochs: 1, augmentation, ..options() }).finished);
}

/// The network's own arithmetic on one and on two threads, with one and two threads that load.
#[test]
fn one_and_two_threads_give_the_same_weights() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        pool.install(|| run(folder.path(), TrainOptions { loader_threads: threads, ..options() }));
        let path = folder.path().join("fold_0/checkpoint_final.safetensors");
        let (tensors, _) = nnunet_nn::weights::read_safetensors(&path).unwrap();
        let values = |t: candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.into_iter().map(|(n, t)| (n, values(t))).collect::<std::collections::BTreeMap<_, _>>()
    };
    let one = run(1);
    assert!(one.len() > 20 && one == run(2));
    assert!(one == run(1), "the same twice");
}
