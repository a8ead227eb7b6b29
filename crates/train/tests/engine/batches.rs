//! Batches depend on seed, epoch and iteration alone.

use std::sync::Arc;

use crate::drawn::Drawn;
use candle_core::Device;
use nnunet_augment::{Pipeline, PipelineConfig};
use nnunet_train::{
    Batch, BatchMaker, BatchPlan, Job, Loader, LossRules, Phase, Sampler, Schedule, TrainError,
};

fn maker(patch: &[usize], batch_size: usize, seed: u64) -> BatchMaker {
    let cases: Vec<String> = (0..4).map(|n| format!("case_{n}")).collect();
    let patch_3d = if patch.len() == 2 { [1, patch[0], patch[1]] } else { [patch[0], patch[1], patch[2]] };
    let plan = |augment: bool| {
        let config = PipelineConfig::nnunet(patch, &[false]);
        let loaded = if augment { config.initial_patch_size() } else { patch_3d };
        let source = Arc::new(Drawn::new());
        let sampler = Sampler::new(source, cases.clone(), patch_3d, loaded, batch_size, 0.33, false).unwrap();
        let pipeline = if augment { Pipeline::training(config) } else { Pipeline::validation(config) };
        BatchPlan { sampler, pipeline }
    };
    let scales = vec![[1.0; 3], [if patch.len() == 2 { 1.0 } else { 0.5 }, 0.5, 0.5]];
    let rules = LossRules::labels(3, None, true);
    BatchMaker {
        train: plan(true),
        validate: plan(false),
        batch_size,
        share: 0..batch_size,
        seed,
        scales,
        rules,
        elsewhere: None,
    }
}

fn batches(threads: usize) -> Vec<Batch> {
    let maker = maker(&[4, 16, 12], 3, 11);
    let schedule = Schedule { epochs: 2, train: 5, validate: 2, first_epoch: 0, first_iteration: 0 };
    let make = move |index| maker.make(schedule.job(index));
    let loader = Loader::start(schedule.len(), threads, threads + 1, make).unwrap();
    loader.collect::<Result<_, TrainError>>().unwrap()
}

#[test]
fn one_and_three_threads_make_the_same_batches() {
    let one = batches(1);
    assert_eq!(one.len(), 14);
    assert_eq!(one, batches(3));
    for (i, a) in one.iter().enumerate() {
        for b in &one[i + 1..] {
            assert_ne!(a.data, b.data, "each batch has random numbers of its own");
        }
    }
}

#[test]
fn batches_are_channels_last_with_targets_at_each_resolution() {
    let maker = maker(&[4, 16, 12], 3, 11);
    let batch = maker.make(Job { epoch: 0, phase: Phase::Train, iteration: 0 }).unwrap();
    assert_eq!((batch.shape, batch.data.len()), ([3, 4, 16, 12, 1], 3 * 4 * 16 * 12));
    let shapes: Vec<_> = batch.targets.iter().map(|targets| targets.shape()).collect();
    assert_eq!(shapes, [[3, 4, 16, 12], [3, 2, 8, 6]]);
    let values = batch.data.clone();
    let (tensor, _) = batch.into_tensor(&Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), [3, 1, 4, 16, 12]);
    let back = tensor.permute((0, 2, 3, 4, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(back, values);
}

#[test]
fn forced_samples_of_cases_with_foreground_show_it() {
    // Validation patches are not rotated, so the voxel that was drawn is in the patch.
    let maker = maker(&[16, 16], 6, 3);
    let mut seen = 0;
    for iteration in 0..20 {
        let batch = maker.make(Job { epoch: 0, phase: Phase::Validate, iteration }).unwrap();
        let targets = &batch.targets[0];
        for (case, labels) in batch.cases.iter().zip(targets.labels().chunks(16 * 16)).skip(4) {
            assert!(labels.iter().all(|&label| label >= 0), "voxels outside the image are background");
            if case != "case_2" {
                assert!(labels.iter().any(|&label| label > 0), "{case} in iteration {iteration}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20);
}

#[test]
fn all_cases_are_drawn_even_if_there_are_fewer_than_samples() {
    let maker = maker(&[16, 16], 9, 5);
    let mut counts = std::collections::BTreeMap::new();
    for iteration in 0..40 {
        let batch = maker.make(Job { epoch: 1, phase: Phase::Train, iteration }).unwrap();
        for case in batch.cases {
            *counts.entry(case).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.values().sum::<i32>(), 360);
    assert!(counts.len() == 4 && counts.values().all(|&count| (60..120).contains(&count)), "{counts:?}");
}
