//! Predictions against references.

use anyhow::Result;
use nnunet::infer::{ExtendedOptions, Summary};

use crate::args::EvaluateArgs;
use crate::ui::Ui;

pub(crate) fn evaluate(args: &EvaluateArgs, ui: Ui) -> Result<()> {
    let output = args.output.clone().unwrap_or_else(|| args.prediction.join("summary.json"));
    let summary = nnunet::evaluate(
        &args.reference,
        &args.prediction,
        &args.dataset_json,
        !args.allow_missing,
        &output,
    )?;
    ui.detail(&format!("{} cases", summary.metric_per_case.len()));
    print_scores(&summary);
    println!("{}", output.display());
    if let Some(file) = &args.extended {
        let options = ExtendedOptions { surface_tolerance: args.surface_tolerance };
        let extended =
            nnunet::evaluate_extended(&args.reference, &args.prediction, &args.dataset_json, &options, file)?;
        for (class, m) in &extended.mean {
            println!(
                "{class}: NSD {:.4}, HD95 {:.2} mm, lesion F1 {:.4}",
                m.surface_dice, m.hausdorff_95, m.lesion_f1
            );
        }
        println!("{}", file.display());
    }
    Ok(())
}

/// Mean Dice per class and over the foreground.
pub(crate) fn print_scores(summary: &Summary) {
    for (class, metrics) in &summary.mean {
        println!("Dice {class}: {:.4}", metrics.dice);
    }
    println!("mean foreground Dice: {:.4}", summary.foreground_mean.dice);
}
