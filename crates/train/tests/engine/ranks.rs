//! Trainings whose batches are shared by several ranks.

use std::collections::BTreeMap;
use std::path::Path;

use crate::device::emulated;
use crate::drawn::{options, setup};
use crate::runs::{fold, weights};
use crate::variants::regions_and_ignore_setup;
use nnunet_nn::Precision;
use nnunet_train::{
    Cluster, Control, EpochRecord, StopToken, TrainCallback, TrainError, TrainOptions, TrainSetup,
    TrainSummary, Trainer, local_cluster,
};

type Weights = BTreeMap<String, Vec<f32>>;

/// Trains with as many ranks as there are clusters, each in a thread of its own; what each has in the end.
fn train(
    clusters: Vec<Cluster>,
    make: &(dyn Fn(Cluster) -> TrainSetup + Sync),
    resume: bool,
) -> Vec<Result<(Weights, TrainSummary), TrainError>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = clusters
            .into_iter()
            .map(|cluster| {
                scope.spawn(move || {
                    let mut trainer = Trainer::from_setup(make(cluster), resume)?;
                    let summary = trainer.run(&mut ())?;
                    Ok((weights(&trainer), summary))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Relative distance of all weights together.
fn distance(a: &Weights, b: &Weights) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, a) in a {
        for (a, b) in a.iter().zip(&b[name]) {
            difference += f64::from(a - b).powi(2);
            norm += f64::from(*b).powi(2);
        }
    }
    (difference / norm).sqrt()
}

fn plain(folder: &Path, batch_dice: bool, cluster: Cluster) -> TrainSetup {
    let mut setup = setup(folder, TrainOptions { cluster, ..options() });
    if let Some(configuration) = setup.plans.configurations.get_mut("2d") {
        configuration.insert("batch_dice".to_owned(), batch_dice.into());
    }
    setup
}

#[test]
fn two_and_three_ranks_train_to_the_weights_of_one_process() {
    for batch_dice in [true, false] {
        let alone = tempfile::tempdir().unwrap();
        let one =
            train(vec![Cluster::default()], &|cluster| plain(&fold(&alone), batch_dice, cluster), false);
        let (expected, summary) = one.into_iter().next().unwrap().unwrap();
        for size in [2, 3] {
            let folder = tempfile::tempdir().unwrap();
            let all =
                train(local_cluster(size), &|cluster| plain(&fold(&folder), batch_dice, cluster), false);
            let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
            // Sums in another order: the weights agree to 1e-4 after three epochs, the ranks to the last bit.
            let found = distance(&all[0].0, &expected);
            assert!(found < 1e-4, "batch Dice {batch_dice}, {size} ranks: {found}");
            assert!(all.iter().all(|(weights, _)| *weights == all[0].0));
            for (record, expected) in all[0].1.records.iter().zip(&summary.records) {
                assert!((record.train_loss - expected.train_loss).abs() < 1e-4);
                assert!((record.val_loss - expected.val_loss).abs() < 1e-3);
            }
            // The first rank wrote what a process on its own would have written.
            assert_eq!(crate::runs::files(&fold(&folder)), crate::runs::files(&fold(&alone)));
        }
    }
}

#[test]
fn regions_and_ignored_voxels_are_shared_as_well() {
    let run = |clusters: Vec<Cluster>| {
        let folder = tempfile::tempdir().unwrap();
        let make = |cluster| regions_and_ignore_setup(&fold(&folder), TrainOptions { cluster, ..options() });
        train(clusters, &make, false).into_iter().next().unwrap().unwrap().0
    };
    let found = distance(&run(local_cluster(2)), &run(vec![Cluster::default()]));
    assert!(found < 1e-4, "{found}");
}

#[test]
fn devices_that_share_batches_train_to_the_weights_of_one() {
    let Some(accelerator) = emulated() else { return };
    let options = TrainOptions { epochs: 1, precision: Precision::F32, ..options() };
    let options = TrainOptions { accelerator: Some(accelerator), ..options };
    let run = |clusters: Vec<Cluster>, regions: bool, batch_dice: bool| {
        let folder = tempfile::tempdir().unwrap();
        let make = |cluster| {
            let options = TrainOptions { cluster, ..options.clone() };
            let mut setup = match regions {
                true => regions_and_ignore_setup(&fold(&folder), options),
                false => setup(&fold(&folder), options),
            };
            if let Some(configuration) = setup.plans.configurations.get_mut("2d") {
                configuration.insert("batch_dice".to_owned(), batch_dice.into());
            }
            setup
        };
        train(clusters, &make, false).into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    for (regions, batch_dice) in [(false, true), (false, false), (true, true)] {
        let alone = run(vec![Cluster::default()], regions, batch_dice);
        let ranks = run(local_cluster(2), regions, batch_dice);
        // Sums in another order: the weights agree to 1e-4, those of the ranks to the last bit.
        let found = distance(&ranks[0].0, &alone[0].0);
        assert!(found < 1e-4, "regions {regions}, batch Dice {batch_dice}: {found}");
        assert_eq!(ranks[0].0, ranks[1].0);
        for (record, expected) in ranks[0].1.records.iter().zip(&alone[0].1.records) {
            assert!((record.train_loss - expected.train_loss).abs() < 1e-4);
            assert!((record.val_loss - expected.val_loss).abs() < 1e-3);
        }
    }
}

#[test]
fn ranks_resume_together_to_the_same_end() {
    struct StopAfterFirst;
    impl TrainCallback for StopAfterFirst {
        fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
            if record.epoch == 0 { Control::Stop } else { Control::Continue }
        }
    }
    let whole = tempfile::tempdir().unwrap();
    let expected = train(local_cluster(2), &|cluster| plain(&fold(&whole), true, cluster), false);
    let folder = tempfile::tempdir().unwrap();
    // The first rank's callback stops both.
    let finished: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = local_cluster(2)
            .into_iter()
            .map(|cluster| {
                let folder = &folder;
                scope.spawn(move || {
                    let mut trainer =
                        Trainer::from_setup(plain(&fold(folder), true, cluster), false).unwrap();
                    trainer.run(&mut StopAfterFirst).unwrap().finished
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(finished, [false, false]);
    let resumed = train(local_cluster(2), &|cluster| plain(&fold(&folder), true, cluster), true);
    let weights =
        |all: Vec<Result<(Weights, TrainSummary), TrainError>>| all.into_iter().next().unwrap().unwrap().0;
    assert_eq!(weights(resumed), weights(expected));
}

#[test]
fn a_rank_that_fails_ends_the_others_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let make = |cluster: Cluster| {
        let broken = cluster.rank() == 1;
        let mut setup = plain(&fold(&folder), true, cluster);
        if broken {
            setup.split.train = vec!["case_missing".to_owned()];
        }
        setup
    };
    let errors: Vec<String> =
        train(local_cluster(2), &make, false).into_iter().map(|r| r.unwrap_err().to_string()).collect();
    assert!(errors[0].contains("rank 1 has left") && errors[0].contains("case_missing"), "{errors:?}");
    assert!(errors[1].contains("case_missing"), "{errors:?}");
}

#[test]
fn a_token_stops_all_ranks_and_more_ranks_than_samples_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stop = StopToken::default();
    stop.stop();
    let make = |cluster: Cluster| {
        let only = if cluster.rank() == 1 { stop.clone() } else { StopToken::default() };
        setup(&fold(&folder), TrainOptions { cluster, stop: only, ..options() })
    };
    for result in train(local_cluster(2), &make, false) {
        assert!(!result.unwrap().1.finished);
    }
    let folder = tempfile::tempdir().unwrap();
    let results = train(local_cluster(5), &|cluster| plain(&fold(&folder), true, cluster), false);
    for result in results {
        assert!(result.unwrap_err().to_string().contains("at least one sample for each rank"));
    }
}
