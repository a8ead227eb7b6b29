//! The second stage of a cascade, on drawn cases.

use std::sync::Arc;

use crate::drawn::{Drawn, options, setup};
use nnunet_train::{TrainOptions, TrainSetup, Trainer};

/// A configuration that continues another one.
fn cascade(folder: &std::path::Path, options: TrainOptions, previous: bool) -> TrainSetup {
    let mut setup = setup(&folder.join("fold_0"), options);
    let mut second = setup.plans.configurations["2d"].clone();
    let text = serde_json::to_value(&second).unwrap();
    let mut map = text.as_object().unwrap().clone();
    map.insert("previous_stage".to_owned(), "2d".into());
    second = serde_json::from_value(map.into()).unwrap();
    setup.plans.configurations.insert("2d_cascade".to_owned(), second);
    setup.configuration = "2d_cascade".to_owned();
    let mut source = Drawn::new();
    source.previous = previous;
    setup.source = Arc::new(source);
    setup
}

#[test]
fn the_network_sees_the_previous_stage_and_learns_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions { epochs: 3, iterations_per_epoch: 150, ..options() };
    let mut trainer = Trainer::from_setup(cascade(folder.path(), options, true), false).unwrap();
    let first = trainer.parameters().get("encoder.stages.0.0.convs.0.conv.weight").unwrap();
    assert_eq!(first.dims()[1], 3, "one image channel and one for each foreground label");
    let summary = trainer.run(&mut ()).unwrap();
    let last = summary.records.last().unwrap();
    assert!(last.train_loss < summary.records[0].train_loss, "{:#?}", summary.records);
    assert!(last.mean_fg_dice > 0.8, "{:#?}", summary.records);
}

#[test]
fn a_missing_previous_segmentation_names_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let setup = cascade(folder.path(), options(), false);
    let error = Trainer::from_setup(setup, false).unwrap().run(&mut ()).unwrap_err().to_string();
    assert!(error.contains("case_") && error.contains("previous stage"), "{error}");
}
