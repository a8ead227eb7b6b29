//! Images to segmentations with a trained model.

use anyhow::{Result, bail};
use nnunet::PredictRequest;
use nnunet::infer::{Accumulator, PredictorOptions};

use crate::args::PredictArgs;
use crate::commands::device_spec;
use crate::ui::Ui;

pub(crate) fn predict(args: &PredictArgs, ui: Ui) -> Result<()> {
    let request = PredictRequest {
        inputs: args.input.clone(),
        output: args.output.clone(),
        model: args.model.clone(),
        folds: args.folds.iter().map(|fold| fold.parse()).collect::<Result<_, _>>()?,
        checkpoint: args.checkpoint.clone(),
        options: PredictorOptions {
            tile_step_size: args.step,
            use_mirroring: !args.no_mirroring,
            accumulator: if args.accumulator == "f16" { Accumulator::F16 } else { Accumulator::F32 },
            precision: args.compute.precision.into(),
            ..PredictorOptions::default()
        },
        device: device_spec(&args.compute)?,
        save_probabilities: args.save_probabilities,
        keep_existing: args.continue_prediction,
        num_parts: args.num_parts,
        part_id: args.part_id,
    };
    let stage = ui.stage("predict");
    let report = nnunet::predict(&request, &|line| stage.say(line), &|progress| stage.update(progress))?;
    stage.finish();
    for (case, error) in &report.failed {
        eprintln!("error: case {case}: {error}");
    }
    println!("{} cases predicted to {}", report.predicted, args.output.display());
    if !report.failed.is_empty() {
        let names: Vec<&str> = report.failed.iter().map(|(case, _)| case.as_str()).collect();
        bail!("{} cases failed: {}", names.len(), names.join(", "));
    }
    Ok(())
}
