//! Label maps beside a store: what one stage of a cascade hands to the next.

use std::path::Path;

use ndarray::{Array3, ArrayView3};

use crate::PreprocessError;
use crate::npy::{self, Npy};
use crate::store::Part;

/// Writes a label map (z, y, x) as an `.npy` file, in one piece.
///
/// # Errors
/// The file cannot be written.
pub fn write_labels(path: &Path, labels: ArrayView3<'_, i16>) -> Result<(), PreprocessError> {
    npy::write(path, labels.shape(), labels.iter())
}

/// Reads a box of a label map that has the given shape: `size` voxels (z, y, x) from `lower` on, which may lie outside,
/// where labels are -1. Only what lies inside is read from the disk.
///
/// # Errors
/// The file is missing or not whole, or holds a label map of another shape.
pub fn read_label_patch(
    path: &Path,
    shape: [usize; 3],
    lower: [i64; 3],
    size: [usize; 3],
) -> Result<Array3<i16>, PreprocessError> {
    let npy = Npy::open::<i16>(path)?;
    if npy.shape != shape {
        let text = format!("shape {:?}, the preprocessed case has {shape:?}", npy.shape);
        return Err(PreprocessError::store(path, text));
    }
    let mut labels = Array3::from_elem(size, -1);
    if let Some(out) = labels.as_slice_mut() {
        let part = Part::new(shape, lower, size);
        part.read(&npy, 1, out).map_err(|e| PreprocessError::io(path, e))?;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_with_minus_one_outside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.npy");
        let labels = Array3::from_shape_fn((2, 3, 4), |(z, y, x)| (100 * z + 10 * y + x) as i16);
        write_labels(&path, labels.view()).unwrap();
        let shape = [2, 3, 4];
        assert_eq!(read_label_patch(&path, shape, [0; 3], shape).unwrap(), labels);
        let part = read_label_patch(&path, shape, [1, -1, 3], [2, 2, 2]).unwrap();
        assert_eq!(part.iter().copied().collect::<Vec<_>>(), [-1, -1, 103, -1, -1, -1, -1, -1]);
        let error = read_label_patch(&path, [2, 3, 5], [0; 3], shape).unwrap_err().to_string();
        assert!(error.contains("case.npy") && error.contains("[2, 3, 5]"), "{error}");
        assert!(read_label_patch(&folder.path().join("none.npy"), shape, [0; 3], shape).is_err());
    }
}
