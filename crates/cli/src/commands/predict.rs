//! Images to segmentations with a trained model.

use anyhow::{Result, bail};
use nnunet::image::DicomSelector;
use nnunet::infer::{Accumulator, CancelToken, PredictorOptions};
use nnunet::train::Launch;
use nnunet::{DicomOutput, DicomPredictRequest, PredictRequest};

use crate::args::{OutputFormat, PredictArgs};
use crate::commands::device_spec;
use crate::ui::Ui;

pub(crate) fn predict(args: &PredictArgs, ui: Ui) -> Result<()> {
    let (num_parts, part_id) = share(args);
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
            memory_gb: args.memory_gb,
            ..PredictorOptions::default()
        },
        device: device_spec(&args.compute)?,
        save_probabilities: args.save_probabilities,
        probabilities_as_nifti: args.save_probabilities_nifti,
        allow_misplaced_channels: args.allow_misplaced_channels,
        keep_existing: args.continue_prediction,
        previous_stage: args.previous_stage.clone(),
        cancel: CancelToken::new(),
        num_parts,
        part_id,
    };
    let asked = !args.series.is_empty()
        || args.codes.is_some()
        || args.fractional
        || args.output_format != [OutputFormat::Nifti];
    let stage = ui.stage("predict");
    let report = if asked || nnunet::holds_dicom(&request) {
        let request = DicomPredictRequest {
            predict: request,
            series: args.series.iter().cloned().map(DicomSelector).collect(),
            outputs: args.output_format.iter().map(|&format| format.into()).collect(),
            fractional: args.fractional,
            codes: args.codes.clone(),
        };
        nnunet::predict_dicom(&request, &|line| stage.say(line), &|progress| stage.update(progress))?
    } else {
        nnunet::predict(&request, &|line| stage.say(line), &|progress| stage.update(progress))?
    };
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

impl From<OutputFormat> for DicomOutput {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Nifti => Self::Nifti,
            OutputFormat::DicomSeg => Self::Seg,
            OutputFormat::Rtstruct => Self::Structures,
        }
    }
}

/// The share of this process: as asked, or its place among the processes that `mpirun` started.
fn share(args: &PredictArgs) -> (usize, usize) {
    if (args.num_parts, args.part_id) != (1, 0) {
        return (args.num_parts, args.part_id);
    }
    Launch::of_environment().find_map(|launch| Some((launch.size, launch.rank?))).unwrap_or((1, 0))
}
