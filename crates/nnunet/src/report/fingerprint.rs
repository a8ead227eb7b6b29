//! The fingerprint as plots.

use nnunet_fingerprint::{DatasetJson, Fingerprint};

use super::charts::{Group, dots, median};
use super::html::Page;
use crate::Error;

const AXES: [&str; 3] = ["z", "y", "x"];

pub(super) fn section(page: &mut Page, of: &Fingerprint, dataset: &DatasetJson) -> Result<(), Error> {
    page.heading(2, "Fingerprint");
    page.note(&format!(
        "{} cases; cropping to non-zero keeps {:.1} % of the voxels of the median case. Each dot is a case, the bar is the \
         median.",
        of.spacings.len(),
        100.0 * of.median_relative_size_after_cropping
    ));
    let per_axis = |value: &dyn Fn(usize, usize) -> f64| -> Vec<Group> {
        AXES.iter()
            .enumerate()
            .map(|(axis, name)| Group {
                name: (*name).to_owned(),
                values: (0..of.spacings.len().min(of.shapes_after_crop.len()))
                    .map(|i| value(i, axis))
                    .collect(),
            })
            .collect()
    };
    let charts: [(&str, &str, Vec<Group>); 3] = [
        ("Voxels after cropping", "voxels", per_axis(&|i, a| of.shapes_after_crop[i][a] as f64)),
        ("Spacing", "mm", per_axis(&|i, a| of.spacings[i][a])),
        (
            "Extent after cropping",
            "mm",
            per_axis(&|i, a| of.shapes_after_crop[i][a] as f64 * of.spacings[i][a]),
        ),
    ];
    page.begin_pictures();
    for (caption, unit, groups) in &charts {
        if let Some(svg) = dots(groups, unit, 420, false)? {
            page.chart(&svg, caption);
        }
    }
    page.end_pictures();
    let rows: Vec<Vec<String>> = charts
        .iter()
        .map(|(name, unit, groups)| {
            let text = |group: &Group| median(&group.values).map_or("–".to_owned(), |m| format!("{m:.4}"));
            let mut row = vec![format!("{name} ({unit}), median")];
            row.extend(groups.iter().map(text));
            row
        })
        .collect();
    page.table(&["", "z", "y", "x"], &rows);
    intensities(page, of, dataset);
    Ok(())
}

fn intensities(page: &mut Page, of: &Fingerprint, dataset: &DatasetJson) {
    let rows: Vec<Vec<String>> = of
        .foreground_intensity_properties_per_channel
        .iter()
        .map(|(channel, p)| {
            let name = dataset.channel_names.get(channel).map_or("", String::as_str);
            let mut row = vec![format!("{channel} {name}")];
            let values = [p.min, p.percentile_00_5, p.median, p.mean, p.percentile_99_5, p.max, p.std];
            row.extend(values.map(|value| format!("{value:.2}")));
            row
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    page.heading(3, "Intensities of the foreground");
    page.table(&["channel", "min", "0.5 %", "median", "mean", "99.5 %", "max", "std"], &rows);
}
