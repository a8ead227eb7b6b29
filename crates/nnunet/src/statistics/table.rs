//! Statistics as a table.

use super::StatisticsReport;

impl StatisticsReport {
    /// The statistics as CSV (RFC 4180, with line feeds): one row per case and label, the columns of all channels side by side. What
    /// has no value is empty.
    pub fn to_csv(&self) -> String {
        let mut text = row(self.header().iter().map(String::as_str));
        for case in &self.cases {
            for (name, label) in &case.labels {
                let numbers: Vec<String> = label.labels.iter().map(i16::to_string).collect();
                let mut cells = vec![
                    case.case.clone(),
                    name.clone(),
                    numbers.join(" "),
                    label.voxels.to_string(),
                    cell(label.volume_ml),
                ];
                cells.extend((0..3).map(|axis| cell(label.centroid_mm.map(|c| c[axis]))));
                // x, y, z, as the centroid has them.
                let corner = |at: fn(&nnunet_infer::VoxelBox) -> [usize; 3], axis: usize| {
                    label.bounding_box.as_ref().map(|b| at(b)[2 - axis].to_string()).unwrap_or_default()
                };
                cells.extend((0..3).map(|axis| corner(|b| b.first, axis)));
                cells.extend((0..3).map(|axis| corner(|b| b.last, axis)));
                for channel in 0..self.channels.len() {
                    let found = label.intensities.get(channel);
                    let of = [
                        found.and_then(|i| i.mean),
                        found.and_then(|i| i.sd),
                        found.and_then(|i| i.min),
                        found.and_then(|i| i.max),
                        found.and_then(|i| i.median),
                    ];
                    cells.extend(of.map(cell));
                    cells.push(found.map(|i| i.not_finite.to_string()).unwrap_or_default());
                }
                text += &row(cells.iter().map(String::as_str));
            }
        }
        text
    }

    fn header(&self) -> Vec<String> {
        let fixed = [
            "case",
            "name",
            "labels",
            "voxels",
            "volume_ml",
            "centroid_x_mm",
            "centroid_y_mm",
            "centroid_z_mm",
            "first_x",
            "first_y",
            "first_z",
            "last_x",
            "last_y",
            "last_z",
        ];
        let measures = ["mean", "sd", "min", "max", "median", "not_finite"];
        let of_channel = |channel: &String| measures.map(|measure| format!("{channel}_{measure}"));
        fixed.into_iter().map(str::to_owned).chain(self.channels.iter().flat_map(of_channel)).collect()
    }
}

fn cell(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// A line; cells with commas, quotes or line breaks are quoted.
fn row<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(row(["a", "b,c", "d \"e\"", ""].into_iter()), "a,\"b,c\",\"d \"\"e\"\"\",\n");
        assert_eq!(cell(Some(0.1)) + &cell(None), "0.1");
    }
}
