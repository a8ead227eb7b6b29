//! One function per command.

mod convert;
mod data;
mod dicom;
mod evaluate;
mod labels;
mod model;
mod postprocess;
mod predict;
mod rank;
mod report;
mod select;
mod self_test;
mod train;

use anyhow::{Context, Result};
use nnunet::nn::DeviceSpec;
use nnunet::{Folders, Project};

use crate::args::{Cli, Command, ComputeArgs, Global};
use crate::ui::Ui;

/// Runs the command that was asked for.
pub(crate) fn run(cli: &Cli, ui: Ui) -> Result<()> {
    if let Some(threads) = cli.global.threads {
        nnunet::set_threads(threads.into())?;
    }
    let folders = folders(&cli.global);
    match &cli.command {
        Command::Verify(args) => data::verify(args, &folders, ui),
        Command::Fingerprint(args) => data::fingerprint(args, &folders, ui),
        Command::Plan(args) => data::plan(args, &folders, ui),
        Command::Preprocess(args) => data::preprocess(args, &folders, ui),
        Command::PreprocessCase(args) => data::preprocess_case(args, ui),
        Command::PlanAndPreprocess(args) => data::plan_and_preprocess(args, &folders, ui),
        Command::Train(args) => train::train(args, &folders, ui),
        Command::Predict(args) => predict::predict(args, ui),
        Command::Evaluate(args) => evaluate::evaluate(args, ui),
        Command::Statistics(args) => labels::statistics(args, ui),
        Command::Preview(args) => labels::preview(args),
        Command::Colours(args) => labels::colours(args),
        Command::Rank(args) => rank::rank(args),
        Command::Report(args) => report::report(args, &folders, ui),
        Command::Ensemble(args) => postprocess::ensemble(args, ui),
        Command::DeterminePostprocessing(args) => postprocess::determine(args, ui),
        Command::ApplyPostprocessing(args) => postprocess::apply(args, ui),
        Command::FindBestConfiguration(args) => select::find_best_configuration(args, &folders, ui),
        Command::Model(command) => model::model(command, &folders),
        Command::ConvertMsd(args) => convert::convert_msd(args, &folders, ui),
        Command::Dicom(command) => dicom::dicom(command),
        Command::SelfTest(args) => self_test::self_test(args, ui),
    }
}

fn folders(global: &Global) -> Folders {
    Folders {
        raw: global.raw.clone(),
        preprocessed: global.preprocessed.clone(),
        results: global.results.clone(),
    }
    .or_environment()
}

fn project(spec: &str, folders: &Folders) -> Result<Project> {
    Project::find(spec, folders.clone()).with_context(|| format!("cannot use data set {spec:?}"))
}

fn device_spec(compute: &ComputeArgs) -> Result<DeviceSpec> {
    parse_device(&compute.device)
}

fn parse_device(device: &str) -> Result<DeviceSpec> {
    device.parse().with_context(|| format!("--device {device}"))
}
