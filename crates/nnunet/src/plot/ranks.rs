//! How often each method has each rank, as circles.

use std::path::Path;

use nnunet_infer::Ranking;
use plotters::prelude::*;

use super::{PlotError, embed_font, write_png};

const CELL: u32 = 70;

/// Draws the bootstrap frequencies of the ranks (aggregate then rank) into a PNG file: one column per method, best mean
/// score first, one row per rank, circles whose area is the share of the samples, a cross at the rank over all cases.
///
/// # Errors
/// [`PlotError::Empty`] without a method or bootstrap sample; otherwise what kept the picture from being drawn or written.
pub fn rank_frequencies(ranking: &Ranking, path: &Path) -> Result<(), PlotError> {
    let samples: usize = ranking.aggregate_stability.rank_counts.first().map_or(0, |row| row.iter().sum());
    if samples == 0 {
        return Err(PlotError::Empty { path: path.to_owned(), what: "no bootstrap sample was drawn" });
    }
    embed_font();
    let n = ranking.methods.len() as u32;
    let size = (CELL * n + 140, CELL * n + 170);
    let mut pixels = vec![0u8; (size.0 * size.1 * 3) as usize];
    draw(ranking, samples, size, &mut pixels)
        .map_err(|e| PlotError::Draw { path: path.to_owned(), reason: e.to_string() })?;
    write_png(path, size.0 as usize, size.1 as usize, &pixels)
}

fn draw(
    ranking: &Ranking,
    samples: usize,
    size: (u32, u32),
    pixels: &mut [u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    root.fill(&WHITE)?;
    let n = ranking.methods.len() as f64;
    let name = |value: f64| {
        let near = (value.round() - value).abs() < 0.01 && value >= 0.5;
        let method = near.then(|| ranking.methods.get(value.round() as usize - 1)).flatten();
        method.map_or_else(String::new, |m| m.name.chars().take(24).collect())
    };
    let mut chart = ChartBuilder::on(&root)
        .caption("Ranks in bootstrap samples", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(70)
        .y_label_area_size(50)
        .build_cartesian_2d(0.5..n + 0.5, (0.5..n + 0.5).step(1.0))?;
    let angle = if ranking.methods.len() > 3 { FontTransform::Rotate90 } else { FontTransform::None };
    chart
        .configure_mesh()
        .disable_mesh()
        .y_desc("rank")
        .x_labels(ranking.methods.len() * 2 + 1)
        .y_labels(ranking.methods.len() * 2 + 1)
        .x_label_formatter(&|v| name(*v))
        .y_label_formatter(&|v| if (v.round() - v).abs() < 0.01 { format!("{v:.0}") } else { String::new() })
        .x_label_style(("sans-serif", 13).into_font().transform(angle))
        .draw()?;
    for (i, counts) in ranking.aggregate_stability.rank_counts.iter().enumerate() {
        let x = i as f64 + 1.0;
        let circles = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(rank, count)| {
            let radius = (*count as f64 / samples as f64).sqrt() * f64::from(CELL) * 0.42;
            Circle::new((x, rank as f64 + 1.0), radius.max(1.0), RGBColor(31, 90, 180).mix(0.75).filled())
        });
        chart.draw_series(circles)?;
        let rank = ranking.methods[i].aggregate_then_rank as f64;
        chart.draw_series([Cross::new((x, rank), 6, BLACK.stroke_width(2))])?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nnunet_infer::{RankOptions, ScoreTable, rank_methods};

    use super::*;

    fn ranking(bootstrap_samples: usize) -> Ranking {
        let table = ScoreTable {
            methods: vec!["a".into(), "b".into()],
            cases: vec!["0".into(), "1".into(), "2".into()],
            scores: vec![vec![0.9, 0.8], vec![0.7, 0.8], vec![0.9, 0.8]],
            left_out: Vec::new(),
        };
        rank_methods(&table, &RankOptions { bootstrap_samples, ..Default::default() }).unwrap()
    }

    #[test]
    fn frequencies_become_a_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranks.png");
        rank_frequencies(&ranking(100), &path).unwrap();
        assert_eq!(&std::fs::read(&path).unwrap()[1..4], b"PNG");
    }

    #[test]
    fn no_sample_is_an_error_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranks.png");
        assert!(rank_frequencies(&ranking(0), &path).unwrap_err().to_string().contains("bootstrap"));
        assert!(!path.exists());
    }
}
