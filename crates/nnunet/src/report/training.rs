//! Training curves.

use super::charts::{Line, lines};
use super::found::Model;
use super::html::{Page, number};
use crate::Error;
use crate::plot::CurvePoint;

pub(super) fn section(page: &mut Page, model: &Model) -> Result<(), Error> {
    page.heading(3, "Training");
    let folds: Vec<_> = model.folds.iter().filter(|fold| !fold.epochs.is_empty()).collect();
    if folds.is_empty() {
        page.note("No fold has a record of its epochs (progress.jsonl or training_log_*.txt).");
        return Ok(());
    }
    let line = |name: String, colour: usize, thin: bool, value: fn(&CurvePoint) -> f64, of: &[CurvePoint]| {
        Line { name, values: of.iter().map(value).collect(), colour, thin }
    };
    let mut losses = Vec::new();
    let mut dice = Vec::new();
    let mut rows = Vec::new();
    for (colour, fold) in folds.iter().enumerate() {
        let (name, epochs) = (&fold.name, fold.epochs.as_slice());
        losses.push(line(format!("{name}, training"), colour, true, |p| p.train_loss, epochs));
        losses.push(line(format!("{name}, validation"), colour, false, |p| p.val_loss, epochs));
        dice.push(line(format!("{name}, epoch"), colour, true, |p| p.pseudo_dice, epochs));
        dice.push(line(format!("{name}, moving average"), colour, false, |p| p.ema_dice, epochs));
        let best = epochs.iter().map(|p| p.ema_dice).filter(|v| !v.is_nan()).fold(f64::NAN, f64::max);
        let seconds: f64 = epochs.iter().map(|p| p.seconds).filter(|v| v.is_finite()).sum();
        let last = epochs.last().map_or(f64::NAN, |p| p.train_loss);
        rows.push(vec![
            name.clone(),
            epochs.len().to_string(),
            format!("{:.1} min", seconds / 60.0),
            number(last),
            number(best),
        ]);
    }
    if let Some(svg) = lines(&losses, "loss", false)? {
        page.chart(&svg, "Loss per epoch");
    }
    if let Some(svg) = lines(&dice, "pseudo Dice", true)? {
        page.chart(&svg, "Pseudo Dice of the validation patches, mean over the foreground classes");
    }
    let head = ["fold", "epochs", "time", "last training loss", "best moving average of the pseudo Dice"];
    page.table(&head, &rows);
    Ok(())
}
