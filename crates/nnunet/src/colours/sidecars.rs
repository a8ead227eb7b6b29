//! Tables of labels in the forms that viewers read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nnunet_fingerprint::json as files_json;
use nnunet_image::fs::write_atomic;
use serde_json::json;

use super::{LabelEntry, LabelTable};
use crate::Error;

/// The files that [`write_label_sidecars`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSidecars {
    /// `PREFIX.label`: ITK-SNAP's label descriptions.
    pub itk_snap: PathBuf,
    /// `PREFIX.ctbl`: 3D Slicer's colour table.
    pub slicer: PathBuf,
    /// `PREFIX.mitklabel.json`: a preset of labels for MITK, with names and colours.
    pub mitk: PathBuf,
    /// `PREFIX.labels.json`: the [`LabelTable`].
    pub json: PathBuf,
}

/// Writes the table as `PREFIX.label`, `PREFIX.ctbl`, `PREFIX.mitklabel.json` and `PREFIX.labels.json`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_label_sidecars(table: &LabelTable, prefix: &Path) -> Result<LabelSidecars, Error> {
    let with = |ending: &str| {
        let mut path = prefix.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let files = LabelSidecars {
        itk_snap: with(".label"),
        slicer: with(".ctbl"),
        mitk: with(".mitklabel.json"),
        json: with(".labels.json"),
    };
    for (path, text) in [(&files.itk_snap, itk_snap(table)), (&files.slicer, slicer(table))] {
        write_atomic(path, |out| out.write_all(text.as_bytes())).map_err(|e| Error::io(path, e))?;
    }
    files_json::write(&files.mitk, &mitk(table))?;
    files_json::write(&files.json, table)?;
    Ok(files)
}

/// One line per label: number, red, green, blue, opacity, visibility in slices and as a surface, name in quotes.
fn itk_snap(table: &LabelTable) -> String {
    let mut text = String::from(
        "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n    0     0    0    0        0  0  0    \"Clear Label\"\n",
    );
    for entry in &table.labels {
        let [r, g, b] = entry.colour;
        let name = one_line(&entry.name).replace('"', "'");
        let _ = writeln!(text, "{:5} {r:5} {g:4} {b:4}        1  1  1    \"{name}\"", entry.value);
    }
    text
}

/// One line per label: number, name without blanks, red, green, blue, opacity.
fn slicer(table: &LabelTable) -> String {
    let mut text =
        String::from("# Color table file\n# number name red green blue opacity\n0 background 0 0 0 0\n");
    for entry in &table.labels {
        let [r, g, b] = entry.colour;
        let name = one_line(&entry.name);
        let name: Vec<&str> = name.split_whitespace().collect();
        let name = if name.is_empty() { format!("label_{}", entry.value) } else { name.join("_") };
        let _ = writeln!(text, "{} {name} {r} {g} {b} 255", entry.value);
    }
    text
}

/// MITK's multi-label JSON, version 3, as a preset: one group with all labels.
fn mitk(table: &LabelTable) -> serde_json::Value {
    let label = |entry: &LabelEntry| json!({"name": entry.name, "value": entry.value, "color": entry.colour});
    let labels: Vec<serde_json::Value> = table.labels.iter().map(label).collect();
    json!({"version": 3, "type": "org.mitk.multilabel.segmentation.preset", "groups": [{"labels": labels}]})
}

/// Control characters would end the line.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::LabelTerms;
    use super::*;

    #[test]
    fn names_cannot_break_the_tables() {
        let entry = |value: i16, name: &str| LabelEntry {
            value,
            name: name.to_owned(),
            colour: [1, 20, 255],
            terms: LabelTerms::default(),
        };
        let table =
            LabelTable { labels: vec![entry(3, "left \"big\"\nlobe"), entry(4, "")], regions: vec![] };
        assert!(itk_snap(&table).ends_with(
            "    3     1   20  255        1  1  1    \"left 'big' lobe\"\n    4     1   20  255        1  1  1    \"\"\n"
        ));
        assert!(slicer(&table).ends_with("3 left_\"big\"_lobe 1 20 255 255\n4 label_4 1 20 255 255\n"));
    }
}
