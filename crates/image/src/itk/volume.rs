//! Sizes, space and values to an image.

use std::path::{Path, PathBuf};

use ndarray::Array4;

use super::frame::Space;
use crate::{Image, ImageError};

/// Sizes along x, y, z, …: 2 to 4 of them.
pub(super) fn check_axes(path: &Path, sizes: &[u64]) -> Result<(), ImageError> {
    if (2..=4).contains(&sizes.len()) {
        return Ok(());
    }
    Err(ImageError::format(path, format!("expected 2, 3 or 4 axes, found {}", sizes.len())))
}

/// More than one value per voxel.
pub(super) fn components(path: &Path, found: u64) -> ImageError {
    let reason =
        format!("{found} values per voxel: an image file holds one, several channels are several files");
    ImageError::format(path, reason)
}

/// Values in file order, x fastest; a fourth axis becomes the channels.
pub(super) fn image(
    path: &Path,
    sizes: &[u64],
    values: Vec<f32>,
    space: &Space,
) -> Result<Image, ImageError> {
    let geometry = space.geometry(path)?;
    let size = |k: usize| sizes.get(k).map_or(1, |&n| n as usize);
    let dims = (size(3), size(2), size(1), size(0));
    let data = Array4::from_shape_vec(dims, values)
        .map_err(|e| ImageError::format(path, format!("shape {dims:?}: {e}")))?;
    Ok(Image { data, geometry })
}

/// A data file by its name relative to the header.
pub(super) fn beside(header: &Path, name: &str) -> PathBuf {
    header.parent().unwrap_or(Path::new("")).join(name)
}

/// Names of data files that differ in a number: `slice%03d.raw` with first and last number and step.
#[derive(Debug)]
pub(super) struct Numbered {
    before: String,
    after: String,
    width: usize,
    zeros: bool,
    first: i64,
    step: i64,
    /// How many there are.
    pub(super) files: u64,
}

impl Numbered {
    /// `pattern` has one `%d`, perhaps with a width.
    pub(super) fn new(
        header: &Path,
        pattern: &str,
        [first, last, step]: [i64; 3],
    ) -> Result<Self, ImageError> {
        let wrong = |reason: &str| {
            let numbers = format!("data files {pattern:?} from {first} to {last} by {step}");
            ImageError::format(header, format!("{numbers}: {reason}"))
        };
        let (before, rest) = pattern.split_once('%').ok_or_else(|| wrong("no % in the name"))?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (width, after) = rest.split_at(digits);
        let after =
            after.strip_prefix(['d', 'i', 'u']).ok_or_else(|| wrong("expected a number like %03d"))?;
        let zeros = width.starts_with('0');
        let width: usize = if width.is_empty() { 0 } else { width.parse().unwrap_or(usize::MAX) };
        let files = (i128::from(last) - i128::from(first)).checked_div(i128::from(step));
        match files.map(|n| u64::try_from(n + 1)) {
            Some(Ok(files)) if width <= 20 && files > 0 => {
                let (before, after) = (before.to_owned(), after.to_owned());
                Ok(Self { before, after, width, zeros, first, step, files })
            }
            _ => Err(wrong("no such files can be")),
        }
    }

    pub(super) fn name(&self, index: u64) -> String {
        let Self { before, after, width, .. } = self;
        let number = i128::from(self.first) + i128::from(index) * i128::from(self.step);
        match self.zeros {
            true => format!("{before}{number:0width$}{after}"),
            false => format!("{before}{number:width$}{after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_does() {
        let names = |pattern: &str, range| {
            let names = Numbered::new(Path::new("a.nhdr"), pattern, range)?;
            Ok::<_, ImageError>((0..names.files).map(|i| names.name(i)).collect::<Vec<_>>())
        };
        assert_eq!(names("s%d.raw", [9, 10, 1]).unwrap(), ["s9.raw", "s10.raw"]);
        assert_eq!(names("s%03d", [7, 1, -3]).unwrap(), ["s007", "s004", "s001"]);
        assert_eq!(names("%2dx", [1, 1, 1]).unwrap(), [" 1x"]);
        for (pattern, range) in
            [("s", [1, 2, 1]), ("s%s", [1, 2, 1]), ("s%d", [1, 2, 0]), ("%d", [5, 1, 1]), ("%99d", [1, 2, 1])]
        {
            assert!(names(pattern, range).unwrap_err().to_string().contains("a.nhdr"), "{pattern}");
        }
        let endless = Numbered::new(Path::new("a"), "%d", [i64::MIN, i64::MAX, 1]);
        assert!(endless.is_err());
    }
}
