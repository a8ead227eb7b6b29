//! What is done to folders of predictions.

use anyhow::Result;

use crate::args::{ApplyPostprocessingArgs, DeterminePostprocessingArgs, EnsembleArgs};
use crate::ui::Ui;

pub(crate) fn ensemble(args: &EnsembleArgs, ui: Ui) -> Result<()> {
    let stage = ui.stage("ensemble");
    let cases = nnunet::ensemble(&args.input, &args.output, args.save_probabilities, &|progress| {
        stage.update(progress);
    })?;
    stage.finish();
    println!("{cases} cases written to {}", args.output.display());
    Ok(())
}

pub(crate) fn determine(args: &DeterminePostprocessingArgs, ui: Ui) -> Result<()> {
    let (plans, dataset) = (args.description.plans.as_deref(), args.description.dataset_json.as_deref());
    let report = nnunet::determine_postprocessing(&args.input, &args.reference, plans, dataset)?;
    for step in &report.postprocessing.steps {
        let names: Vec<String> = step.classes().iter().map(ToString::to_string).collect();
        println!("keep the largest component of {}", names.join(", "));
    }
    if report.postprocessing.steps.is_empty() {
        println!("nothing improves the predictions");
    }
    let (before, after) = (report.before.foreground_mean.dice, report.after.foreground_mean.dice);
    ui.detail(&format!("mean foreground Dice: {before:.4} before, {after:.4} after"));
    println!("{}", args.input.join("postprocessing.json").display());
    Ok(())
}

pub(crate) fn apply(args: &ApplyPostprocessingArgs, ui: Ui) -> Result<()> {
    let stage = ui.stage("postprocessing");
    let (plans, dataset) = (args.description.plans.as_deref(), args.description.dataset_json.as_deref());
    nnunet::apply_postprocessing(
        &args.input,
        &args.output,
        &args.postprocessing,
        plans,
        dataset,
        &|progress| stage.update(progress),
    )?;
    stage.finish();
    println!("{}", args.output.display());
    Ok(())
}
