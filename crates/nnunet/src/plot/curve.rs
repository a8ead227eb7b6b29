//! The training curves, three panels: losses (left axis) with the pseudo Dice (right axis), seconds per epoch, learning
//! rate.

use std::path::Path;

use nnunet_train::EpochRecord;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{PlotError, embed_font, write_png};

const SIZE: (u32, u32) = (1000, 1300);
/// Heights of the panels below the first.
const SMALL: u32 = 340;

/// One number of an epoch.
type Value = fn(&CurvePoint) -> f64;

/// One epoch of a training curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Mean training loss of the epoch.
    pub train_loss: f64,
    /// Mean validation loss of the epoch.
    pub val_loss: f64,
    /// Mean pseudo Dice over the foreground classes, NaN if no class occurred.
    pub pseudo_dice: f64,
    /// Exponential moving average of the pseudo Dice.
    pub ema_dice: f64,
    /// Duration of the epoch.
    pub seconds: f64,
    /// Learning rate of the epoch.
    pub lr: f64,
}

impl From<&EpochRecord> for CurvePoint {
    fn from(record: &EpochRecord) -> Self {
        Self {
            train_loss: record.train_loss,
            val_loss: record.val_loss,
            pseudo_dice: record.mean_fg_dice.into(),
            ema_dice: record.ema_fg_dice.into(),
            seconds: record.seconds,
            lr: record.lr,
        }
    }
}

/// Draws losses and pseudo Dice, duration and learning rate of each epoch (counted from 0) into a PNG file.
///
/// # Errors
/// [`PlotError::Empty`] without a point; otherwise what kept the picture from being drawn or written.
pub fn training_curve(points: &[CurvePoint], title: &str, path: &Path) -> Result<(), PlotError> {
    if points.is_empty() {
        return Err(PlotError::Empty { path: path.to_owned(), what: "no epoch has been recorded" });
    }
    embed_font();
    let mut pixels = vec![0u8; (SIZE.0 * SIZE.1 * 3) as usize];
    draw(points, title, &mut pixels)
        .map_err(|e| PlotError::Draw { path: path.to_owned(), reason: e.to_string() })?;
    write_png(path, SIZE.0 as usize, SIZE.1 as usize, &pixels)
}

fn draw(points: &[CurvePoint], title: &str, pixels: &mut [u8]) -> Result<(), Box<dyn std::error::Error>> {
    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (top, rest) = root.split_vertically(SIZE.1 - 2 * SMALL);
    let (middle, bottom) = rest.split_vertically(SMALL);
    draw_losses(points, title, &top)?;
    draw_small(points, "seconds per epoch", |p| p.seconds, &middle)?;
    draw_small(points, "learning rate", |p| p.lr, &bottom)?;
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// One number of each epoch, from 0 up.
fn draw_small(
    points: &[CurvePoint],
    name: &str,
    value: Value,
    area: &Area<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let values =
        || points.iter().enumerate().map(|(i, p)| (i as f64, value(p))).filter(|(_, v)| v.is_finite());
    let high = values().map(|(_, v)| v).fold(0.0, f64::max).max(1e-9);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .right_y_label_area_size(60)
        .build_cartesian_2d(0.0..(points.len() as f64 - 1.0).max(1.0), 0.0..high * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(name)
        .x_label_formatter(&|v| epoch_label(*v))
        .x_labels(points.len().clamp(2, 12))
        .y_label_formatter(&|v| if high < 0.1 { format!("{v:.1e}") } else { format!("{v:.1}") })
        .label_style(("sans-serif", 16))
        .light_line_style(BLACK.mix(0.05))
        .draw()?;
    chart.draw_series(LineSeries::new(values(), RGBColor(31, 90, 180).stroke_width(2)))?;
    Ok(())
}

fn draw_losses(
    points: &[CurvePoint],
    title: &str,
    root: &Area<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let losses = || points.iter().flat_map(|p| [p.train_loss, p.val_loss]).filter(|v| v.is_finite());
    let low = losses().fold(f64::INFINITY, f64::min).min(-0.1);
    let high = losses().fold(f64::NEG_INFINITY, f64::max).max(0.1);
    let epochs = 0.0..(points.len() as f64 - 1.0).max(1.0);
    let mut chart = ChartBuilder::on(root)
        .caption(title, ("sans-serif", 26))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .right_y_label_area_size(60)
        .build_cartesian_2d(epochs.clone(), low - 0.05..high + 0.05)?
        .set_secondary_coord(epochs, 0.0..1.0);
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc("loss")
        .x_label_formatter(&|v| epoch_label(*v))
        .x_labels(points.len().clamp(2, 12))
        .label_style(("sans-serif", 16))
        .light_line_style(BLACK.mix(0.05))
        .draw()?;
    chart.configure_secondary_axes().y_desc("pseudo Dice").label_style(("sans-serif", 16)).draw()?;

    let line = |value: Value| {
        points.iter().enumerate().map(move |(i, p)| (i as f64, value(p))).filter(|(_, v)| v.is_finite())
    };
    let series: [(&str, RGBColor, Value, bool); 4] = [
        ("training loss", RGBColor(31, 90, 180), |p| p.train_loss, false),
        ("validation loss", RGBColor(200, 60, 40), |p| p.val_loss, false),
        ("pseudo Dice", RGBColor(120, 180, 120), |p| p.pseudo_dice, true),
        ("pseudo Dice, moving average", RGBColor(20, 120, 50), |p| p.ema_dice, true),
    ];
    for (name, colour, value, right) in series {
        let drawn = LineSeries::new(line(value), colour.stroke_width(2));
        let entry = if right { chart.draw_secondary_series(drawn)? } else { chart.draw_series(drawn)? };
        entry
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 16))
        .draw()?;
    Ok(())
}

/// Only whole epochs are labelled.
fn epoch_label(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 { format!("{value:.0}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(loss: f64) -> CurvePoint {
        CurvePoint {
            train_loss: loss,
            val_loss: loss + 0.1,
            pseudo_dice: f64::NAN,
            ema_dice: 0.5,
            seconds: 3.0,
            lr: 0.01,
        }
    }

    #[test]
    fn a_curve_with_gaps_becomes_a_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.png");
        training_curve(&[point(0.4), point(-0.2), point(f64::NAN)], "three epochs", &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert!(bytes.len() > 4000, "only {} bytes", bytes.len());
    }

    #[test]
    fn no_epoch_is_an_error_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.png");
        let error = training_curve(&[], "none", &path).unwrap_err();
        assert!(error.to_string().contains("progress.png"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn labels_are_whole_epochs() {
        assert_eq!(epoch_label(3.0), "3");
        assert_eq!(epoch_label(2.5), "");
    }
}
