//! The JSON file with the spacing of a stack.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ImageError;
use crate::fs::write_atomic;

/// Larger files are not taken for one.
const MOST_BYTES: u64 = 1 << 20;

/// `case.json` for `case_0000.tif`: five characters go with the ending.
pub(super) fn of_image(image: &Path) -> PathBuf {
    let stem = image.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let letters: Vec<char> = stem.chars().collect();
    let kept: String = letters[..letters.len().saturating_sub(5)].iter().collect();
    image.with_file_name(format!("{kept}.json"))
}

/// `case.json` for `case.tif`.
pub(super) fn of_labels(labels: &Path) -> PathBuf {
    let mut name: OsString = labels.file_stem().map(ToOwned::to_owned).unwrap_or_default();
    name.push(".json");
    labels.with_file_name(name)
}

/// The spacing in the order of the array axes; 1 if there is no such file.
pub(super) fn read(path: &Path) -> Result<[f64; 3], ImageError> {
    match path.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok([1.0; 3]),
        Err(e) => return Err(ImageError::io(path, e)),
        Ok(about) if !about.is_file() => return Ok([1.0; 3]),
        Ok(about) if about.len() > MOST_BYTES => {
            let reason = format!("{} bytes: expected a small JSON file with a spacing", about.len());
            return Err(ImageError::format(path, reason));
        }
        Ok(_) => {}
    }
    let text = std::fs::read(path).map_err(|e| ImageError::io(path, e))?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|e| ImageError::format(path, format!("not JSON: {e}")))?;
    let found = value.get("spacing").unwrap_or(&Value::Null);
    let numbers: Option<Vec<f64>> =
        found.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect());
    match numbers.as_deref() {
        Some(&[z, y, x]) if [z, y, x].iter().all(|v| v.is_finite() && *v > 0.0) => Ok([z, y, x]),
        _ => {
            let reason =
                format!("spacing is {found}: expected three numbers above 0, in the order of the axes");
            Err(ImageError::format(path, reason))
        }
    }
}

pub(super) fn write(path: &Path, spacing: [f64; 3]) -> Result<(), ImageError> {
    let text = format!("{:#}\n", json!({ "spacing": spacing }));
    write_atomic(path, |out| out.write_all(text.as_bytes())).map_err(|e| ImageError::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_channel_and_ending() {
        assert_eq!(of_image(Path::new("a/case_01_0000.tif")), Path::new("a/case_01.json"));
        assert_eq!(of_labels(Path::new("a/case_01.tiff")), Path::new("a/case_01.json"));
        assert_eq!(of_image(Path::new("x.tif")), Path::new(".json"));
    }

    #[test]
    fn a_spacing_must_be_three_numbers_above_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.json");
        assert_eq!(read(&path).unwrap(), [1.0; 3]);
        write(&path, [3.0, 0.1, 1e-7]).unwrap();
        assert_eq!(read(&path).unwrap(), [3.0, 0.1, 1e-7]);
        for wrong in [
            "",
            "[1,2,3]",
            "{}",
            r#"{"spacing": [1, 2]}"#,
            r#"{"spacing": [1, 2, 0]}"#,
            r#"{"spacing": [1, -2, 3]}"#,
            r#"{"spacing": [1, "2", 3]}"#,
            r#"{"spacing": [1, 2, 3, 4]}"#,
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("case.json"), "{wrong}");
        }
    }
}
