//! Whole trainings of a small network on drawn cases.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::drawn::{Drawn, options, setup};
use nnunet_train::{
    AugmentOptions, AugmentSet, Control, EpochRecord, IterationInfo, Phase, StopToken, TrainCallback,
    TrainError, TrainOptions, Trainer,
};

pub(crate) fn fold(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("nnUNetTrainer__nnUNetPlans__2d").join("fold_0")
}

/// Names of all files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("training_log_") && !name.starts_with("events.out.tfevents."))
        .collect();
    names.sort();
    names
}

pub(crate) fn weights(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let map = trainer.parameters().to_map().into_iter();
    map.map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// Trains from the beginning to the end; the weights and the epochs.
fn train(options: TrainOptions) -> (BTreeMap<String, Vec<f32>>, Vec<EpochRecord>) {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::from_setup(setup(&fold(&folder), options), false).unwrap();
    let summary = trainer.run(&mut ()).unwrap();
    assert!(summary.finished);
    (weights(&trainer), summary.records)
}

#[derive(Default)]
struct Listener {
    iterations: Vec<(usize, Phase, usize)>,
    lines: Vec<String>,
    stop_at: Option<(usize, usize)>,
    panic_at: Option<(usize, usize)>,
    stop_after_epoch: Option<usize>,
    token: StopToken,
}

impl TrainCallback for Listener {
    fn on_iteration(&mut self, info: &IterationInfo) {
        self.iterations.push((info.epoch, info.phase, info.iteration));
        let here = (info.phase == Phase::Train).then_some((info.epoch, info.iteration));
        if here.is_some() && here == self.stop_at {
            self.token.stop();
        }
        assert!(here.is_none() || here != self.panic_at, "the listener fails");
    }

    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        if Some(record.epoch) == self.stop_after_epoch { Control::Stop } else { Control::Continue }
    }

    fn log(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }
}

#[test]
fn a_small_network_learns_the_drawn_shapes() {
    let options = TrainOptions {
        epochs: 6,
        iterations_per_epoch: 200,
        val_iterations: 5,
        loader_threads: 2,
        ..options()
    };
    let (_, records) = train(options);
    let last = records.last().unwrap();
    assert_eq!(last.dice_per_class.len(), 2);
    assert!(last.dice_per_class.iter().all(|&dice| dice > 0.85), "{records:#?}");
    assert!(last.train_loss < -0.5 && records[0].train_loss > last.train_loss, "{records:#?}");
    assert!((records[5].lr - 0.05 * (1.0_f64 / 6.0).powf(0.9)).abs() < 1e-12);
}

#[test]
fn the_same_seed_gives_the_same_weights_with_any_number_of_loader_threads() {
    let (first, records) = train(options());
    let (second, again) = train(TrainOptions { loader_threads: 3, ..options() });
    assert_eq!(first, second);
    for (a, b) in records.iter().zip(&again) {
        assert_eq!(
            (a.train_loss, a.val_loss, &a.dice_per_class),
            (b.train_loss, b.val_loss, &b.dice_per_class)
        );
    }
    let (other, _) = train(TrainOptions { seed: 8, ..options() });
    assert_ne!(first, other);
}

#[test]
fn a_model_folder_has_what_predicting_needs_and_no_more_checkpoints_than_promised() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    let mut trainer = Trainer::from_setup(setup(&fold, options()), false).unwrap();
    let mut listener = Listener::default();
    let summary = trainer.run(&mut listener).unwrap();
    assert_eq!(
        files(&fold),
        [
            "checkpoint_best.safetensors",
            "checkpoint_final.safetensors",
            "debug.json",
            "progress.csv",
            "progress.jsonl"
        ]
    );
    assert_eq!(files(fold.parent().unwrap()), ["dataset.json", "fold_0", "plans.json"]);
    assert_eq!(listener.iterations.len(), 3 * 8);
    assert_eq!(listener.iterations[6], (0, Phase::Validate, 0));
    for needle in ["Epoch 2", "Current learning rate: 0.05", "train_loss", "Pseudo dice [", "Training done."]
    {
        assert!(listener.lines.iter().any(|line| line.contains(needle)), "{needle}: {:#?}", listener.lines);
    }
    let paths = std::fs::read_dir(&fold).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().contains("training_log_")).collect();
    assert_eq!(logs.len(), 1);
    assert_eq!(std::fs::read_to_string(&logs[0]).unwrap().lines().count(), listener.lines.len());
    let table = std::fs::read_to_string(fold.join("progress.csv")).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4);
    assert!(
        rows[0].starts_with("epoch,lr,train_loss,val_loss")
            && rows[0].ends_with("pseudo_dice_1,pseudo_dice_2")
    );
    let lines = std::fs::read_to_string(fold.join("progress.jsonl")).unwrap();
    let lines: Vec<EpochRecord> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, summary.records);
    assert!(rows[3].starts_with(&format!("2,{},{}", summary.records[2].lr, summary.records[2].train_loss)));
    let checkpoint = nnunet_nn::read_checkpoint(&fold.join("checkpoint_final.safetensors")).unwrap();
    assert_eq!(checkpoint.weights.len(), trainer.parameters().names().len());
    assert_eq!(
        (checkpoint.trainer_name.as_str(), checkpoint.configuration.as_str()),
        ("nnUNetTrainer", "2d")
    );
    assert_eq!(checkpoint.mirror_axes, Some(vec![0, 1]));
}

#[test]
fn a_folder_with_a_checkpoint_is_refused_and_resuming_nothing_starts_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    let one = TrainOptions { epochs: 1, ..options() };
    let mut listener = Listener::default();
    let mut trainer = Trainer::from_setup(setup(&fold, one.clone()), true).unwrap();
    assert!(trainer.run(&mut listener).unwrap().finished);
    assert!(listener.lines[0].contains("No checkpoint"), "{:?}", listener.lines);
    let error = Trainer::from_setup(setup(&fold, one.clone()), false).err().unwrap();
    assert!(matches!(&error, TrainError::CheckpointExists { path } if path.starts_with(&fold)), "{error}");
    // A finished training that is resumed has nothing left to do.
    let trained = weights(&trainer);
    let mut trainer = Trainer::from_setup(setup(&fold, one), true).unwrap();
    let summary = trainer.run(&mut ()).unwrap();
    assert!(summary.finished && summary.records.len() == 1);
    assert_eq!(weights(&trainer), trained);
}

#[test]
fn stopped_and_resumed_is_the_same_as_uninterrupted() {
    let (expected, records) = train(options());
    for (stop_at, stop_after_epoch) in [(Some((1, 3)), None), (None, Some(1)), (Some((2, 5)), None)] {
        let folder = tempfile::tempdir().unwrap();
        let fold = fold(&folder);
        let mut listener = Listener { stop_at, stop_after_epoch, ..Listener::default() };
        let stoppable = TrainOptions { stop: listener.token.clone(), ..options() };
        let mut trainer = Trainer::from_setup(setup(&fold, stoppable), false).unwrap();
        assert!(!trainer.run(&mut listener).unwrap().finished);
        assert!(fold.join("checkpoint_latest.safetensors").exists());
        assert!(!fold.join("checkpoint_final.safetensors").exists());
        drop(trainer);
        let more_threads = TrainOptions { loader_threads: 2, ..options() };
        let mut trainer = Trainer::from_setup(setup(&fold, more_threads), true).unwrap();
        let summary = trainer.run(&mut ()).unwrap();
        assert_eq!(weights(&trainer), expected);
        assert_eq!(summary.records.len(), 3);
        for (found, expected) in summary.records.iter().zip(&records) {
            assert_eq!(found.train_loss, expected.train_loss);
            assert_eq!(found.ema_fg_dice.to_bits(), expected.ema_fg_dice.to_bits());
        }
        assert!(!fold.join("checkpoint_latest.safetensors").exists());
    }
}

#[test]
fn a_prolonged_training_goes_on_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    let epochs = |epochs| TrainOptions { epochs, ..options() };
    Trainer::from_setup(setup(&fold, epochs(1)), false).unwrap().run(&mut ()).unwrap();
    // Stopped after one more epoch: the latest checkpoint is ahead of the final one and counts.
    let mut listener = Listener { stop_after_epoch: Some(1), ..Listener::default() };
    Trainer::from_setup(setup(&fold, epochs(3)), true).unwrap().run(&mut listener).unwrap();
    let mut listener = Listener::default();
    let mut trainer = Trainer::from_setup(setup(&fold, epochs(3)), true).unwrap();
    let summary = trainer.run(&mut listener).unwrap();
    assert_eq!(listener.iterations[0], (2, Phase::Train, 0));
    assert_eq!(summary.records.len(), 3);
}

#[test]
fn a_training_that_dies_within_an_epoch_leaves_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    let died = catch_unwind(AssertUnwindSafe(|| {
        let mut listener = Listener { panic_at: Some((1, 2)), ..Listener::default() };
        Trainer::from_setup(setup(&fold, options()), false).unwrap().run(&mut listener)
    }));
    assert!(died.is_err());
    assert_eq!(
        files(&fold),
        [
            "checkpoint_best.safetensors",
            "checkpoint_latest.safetensors",
            "debug.json",
            "progress.csv",
            "progress.jsonl"
        ]
    );
    let mut trainer = Trainer::from_setup(setup(&fold, options()), true).unwrap();
    trainer.run(&mut ()).unwrap();
    assert_eq!(weights(&trainer), train(options()).0);
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    let one = TrainOptions { epochs: 1, ..options() };
    Trainer::from_setup(setup(&fold, one.clone()), false).unwrap().run(&mut ()).unwrap();
    let mut other = setup(&fold, one);
    let copy = other.plans.configurations["2d"].clone();
    other.plans.configurations.insert("2d_other".to_owned(), copy);
    other.configuration = "2d_other".to_owned();
    let error = Trainer::from_setup(other, true).err().unwrap().to_string();
    assert!(error.contains("checkpoint_final") && error.contains("2d_other"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_ends_the_training_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let fold = fold(&folder);
    Trainer::from_setup(setup(&fold, TrainOptions { epochs: 1, ..options() }), false)
        .unwrap()
        .run(&mut ())
        .unwrap();
    let kept = std::fs::read(fold.join("checkpoint_final.safetensors")).unwrap();
    let mut broken = Drawn::new();
    for number in 0..4 {
        let (image, labels, _) = broken.get(&format!("case_{number}")).unwrap();
        let broken_case = (image.mapv(|_| f32::NAN), labels.clone());
        broken.insert(&format!("case_{number}"), broken_case);
    }
    let mut setup = setup(&fold, TrainOptions { epochs: 2, ..options() });
    setup.source = Arc::new(broken);
    let error = Trainer::from_setup(setup, true).unwrap().run(&mut ()).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { epoch: 1, iteration: 0, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("epoch 1, iteration 0") && text.contains("case_"), "{text}");
    assert_eq!(std::fs::read(fold.join("checkpoint_final.safetensors")).unwrap(), kept);
}

#[test]
fn errors_of_cases_name_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let mut missing = setup(&fold(&folder), options());
    missing.split.val = vec!["case_99".to_owned()];
    let error = Trainer::from_setup(missing, false).unwrap().run(&mut ()).unwrap_err().to_string();
    assert!(error.contains("case_99"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let mut odd = setup(&fold(&folder), options());
    let mut cases = Drawn::new();
    let (image, labels, _) = cases.get("case_0").unwrap();
    let labelled = (image.clone(), labels.mapv(|label| if label == 2 { 5 } else { label }));
    cases.insert("case_0", labelled);
    odd.source = Arc::new(cases);
    odd.split.train = vec!["case_0".to_owned()];
    let error = Trainer::from_setup(odd, false).unwrap().run(&mut ()).unwrap_err().to_string();
    assert!(error.contains("case_0") && error.contains("label 5"), "{error}");
}

#[test]
fn pretrained_weights_are_taken_but_for_the_heads() {
    let first = tempfile::tempdir().unwrap();
    let one = TrainOptions { epochs: 1, ..options() };
    let mut trainer = Trainer::from_setup(setup(&fold(&first), one.clone()), false).unwrap();
    trainer.run(&mut ()).unwrap();
    let trained = weights(&trainer);
    let second = tempfile::tempdir().unwrap();
    let pretrained = Some(fold(&first).join("checkpoint_final.safetensors"));
    let fresh = weights(&Trainer::from_setup(setup(&fold(&second), one.clone()), false).unwrap());
    let options = TrainOptions { pretrained, ..one };
    let tuned = weights(&Trainer::from_setup(setup(&fold(&second), options), false).unwrap());
    assert!(tuned.keys().any(|name| name.contains(".seg_layers.")));
    for (name, values) in &tuned {
        let expected = if name.contains(".seg_layers.") { &fresh } else { &trained };
        assert_eq!(values, &expected[name], "{name}");
    }
}

#[test]
fn no_checkpoints_are_written_where_none_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let augmentation = AugmentOptions { set: AugmentSet::None, ..AugmentOptions::default() };
    let options = TrainOptions { epochs: 1, checkpoints: false, augmentation, ..options() };
    Trainer::from_setup(setup(&fold(&folder), options), false).unwrap().run(&mut ()).unwrap();
    assert_eq!(files(&fold(&folder)), ["debug.json", "progress.csv", "progress.jsonl"]);
}
