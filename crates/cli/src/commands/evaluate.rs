//! Predictions against references.

use anyhow::Result;
use nnunet::infer::Summary;

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
    Ok(())
}

/// Mean Dice per class and over the foreground.
pub(crate) fn print_scores(summary: &Summary) {
    for (class, metrics) in &summary.mean {
        println!("Dice {class}: {:.4}", metrics.dice);
    }
    println!("mean foreground Dice: {:.4}", summary.foreground_mean.dice);
}
