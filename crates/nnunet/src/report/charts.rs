//! Charts as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::plot::{PlotError, embed_font};

/// One line of a chart; the x coordinate is the index.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
    /// Which colour of the list.
    pub(super) colour: usize,
    /// Thin lines are for what only accompanies.
    pub(super) thin: bool,
}

/// Values that belong together, drawn as dots above one name.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
}

const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 90, 180),
    RGBColor(200, 60, 40),
    RGBColor(20, 120, 50),
    RGBColor(150, 80, 180),
    RGBColor(215, 130, 20),
    RGBColor(20, 140, 150),
    RGBColor(120, 80, 50),
    RGBColor(90, 100, 110),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, PlotError> {
    embed_font();
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?))
    };
    drawn.map_err(|error| PlotError::Draw {
        path: Path::new("report").to_owned(),
        reason: error.to_string(),
    })?;
    // A picture inside a page scales with it.
    let (width, height) = size;
    Ok(text.replacen(
        &format!("width=\"{width}\" height=\"{height}\""),
        &format!("width=\"{width}\" height=\"{height}\" role=\"img\""),
        1,
    ))
}

/// Lowest and highest finite value with a margin; `None` without any.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let margin = ((high - low) * 0.06).max(high.abs().max(1.0) * 0.01);
    Some((low - margin, high + margin))
}

/// Lines over epochs; `None` if no value is finite.
pub(super) fn lines(lines: &[Line], y: &str, zero_to_one: bool) -> Result<Option<String>, PlotError> {
    let epochs = lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let all = lines.iter().flat_map(|line| line.values.iter().copied());
    let Some((low, high)) = range(all) else { return Ok(None) };
    let (low, high) = if zero_to_one { (0.0, 1.0) } else { (low, high) };
    let picture = svg((1000, 340), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..(epochs as f64 - 1.0).max(1.0), low..high)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc(y)
            .x_labels(epochs.clamp(2, 12))
            .x_label_formatter(&|v| if v.fract().abs() < 1e-6 { format!("{v:.0}") } else { String::new() })
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for line in lines {
            let colour = COLOURS[line.colour % COLOURS.len()].mix(if line.thin { 0.45 } else { 1.0 });
            let style = colour.stroke_width(if line.thin { 1 } else { 2 });
            let points = line.values.iter().enumerate().map(|(i, v)| (i as f64, *v));
            chart
                .draw_series(LineSeries::new(points.filter(|(_, v)| v.is_finite()), style))?
                .label(line.name.clone())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(if zero_to_one {
                SeriesLabelPosition::UpperLeft
            } else {
                SeriesLabelPosition::UpperRight
            })
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.2))
            .label_font(("sans-serif", 13))
            .draw()?;
        Ok(())
    })?;
    Ok(Some(picture))
}

/// Dots of several groups beside each other, each with a bar at its median; `None` if no value is finite.
pub(super) fn dots(
    groups: &[Group],
    y: &str,
    width: u32,
    at_most_one: bool,
) -> Result<Option<String>, PlotError> {
    let all = groups.iter().flat_map(|group| group.values.iter().copied());
    let Some((low, high)) = range(all) else { return Ok(None) };
    let (low, high) = if at_most_one { (low.min(0.5), 1.0) } else { (low.min(0.0), high * 1.05) };
    let picture = svg((width, 300), |area| {
        let count = groups.len() as f64;
        let name = |v: &f64| {
            let near = (v - v.round()).abs() < 0.01 && *v > -0.01;
            let group = near.then(|| groups.get(v.round() as usize)).flatten();
            group.map_or_else(String::new, |g| g.name.chars().take(18).collect())
        };
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.5..count - 0.5, low..high)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_desc(y)
            .x_labels(groups.len() * 2 + 1)
            .x_label_formatter(&name)
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (i, group) in groups.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let values: Vec<f64> = group.values.iter().copied().filter(|v| v.is_finite()).collect();
            let spots = values.iter().enumerate().map(|(k, v)| {
                let x = i as f64 + spread(k) * 0.5;
                Circle::new((x, *v), 3, colour.mix(0.55).filled())
            });
            chart.draw_series(spots)?;
            if let Some(middle) = median(&values) {
                let bar = vec![(i as f64 - 0.32, middle), (i as f64 + 0.32, middle)];
                chart.draw_series([PathElement::new(bar, BLACK.stroke_width(2))])?;
            }
        }
        Ok(())
    })?;
    Ok(Some(picture))
}

/// From -0.5 to 0.5, the same for the same index and never the same for neighbours: multiples of the golden ratio.
fn spread(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_895).fract() - 0.5
}

/// The median; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    (n > 0).then(|| (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_have_one_circle_per_finite_value() {
        let groups = [
            Group { name: "z".into(), values: vec![1.0, 2.0, f64::NAN] },
            Group { name: "y".into(), values: vec![3.0] },
        ];
        let svg = dots(&groups, "mm", 300, false).unwrap().unwrap();
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
        assert!(svg.starts_with("<svg width=\"300\" height=\"300\" role=\"img\""), "{svg}");
        assert!(dots(&[], "mm", 300, false).unwrap().is_none());
    }

    #[test]
    fn lines_without_a_finite_value_are_not_drawn() {
        let line = |values: Vec<f64>| Line { name: "loss".into(), values, colour: 0, thin: false };
        assert!(lines(&[line(vec![f64::NAN])], "loss", false).unwrap().is_none());
        let svg = lines(&[line(vec![0.5, f64::NAN, -0.5])], "loss", false).unwrap().unwrap();
        assert!(svg.contains("epoch") && svg.contains("loss"), "{svg}");
    }

    #[test]
    fn medians_of_even_and_odd_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, f64::NAN, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN]), None);
    }
}
