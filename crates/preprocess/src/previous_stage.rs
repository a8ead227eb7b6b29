//! What the first stage of a cascade predicted for the cases that its second stage trains on.
//!
//! A folder `predicted_next_stage/<configuration>` of the first stage's model folder, with one array of labels (z, y, x) per
//! case, `<id>.npy`, on the grid of the second stage's preprocessed cases.

use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayView3};

use crate::PreprocessError;
use crate::npy::{self, Npy};
use crate::store::Part;

/// A folder of the first stage's predictions.
#[derive(Debug, Clone)]
pub struct PreviousStage {
    folder: PathBuf,
}

impl PreviousStage {
    /// The predictions for `configuration` in the first stage's model folder, whether or not there are any yet.
    pub fn new(model_folder: &Path, configuration: &str) -> Self {
        Self { folder: model_folder.join("predicted_next_stage").join(configuration) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is a prediction for a case.
    pub fn has(&self, id: &str) -> bool {
        self.path(id).is_file()
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.npy"))
    }

    /// Writes the prediction of a case, in 8 bits if its largest label is below 255 and in 16 bits otherwise.
    ///
    /// # Errors
    /// A negative label, or a file that cannot be written.
    pub fn write(&self, id: &str, labels: ArrayView3<'_, i16>) -> Result<(), PreprocessError> {
        std::fs::create_dir_all(&self.folder).map_err(|e| PreprocessError::io(&self.folder, e))?;
        let path = self.path(id);
        if let Some(label) = labels.iter().find(|label| **label < 0) {
            let text = format!("label {label}, a prediction has labels from 0 on");
            return Err(PreprocessError::store(&path, text).in_case(id));
        }
        let written = if labels.iter().all(|&label| label < 255) {
            let values: Vec<u8> = labels.iter().map(|&label| label as u8).collect();
            npy::write(&path, labels.shape(), values.iter(), true)
        } else {
            let values: Vec<u16> = labels.iter().map(|&label| label as u16).collect();
            npy::write(&path, labels.shape(), values.iter(), true)
        };
        written.map(drop).map_err(|e| e.in_case(id))
    }

    /// Reads a box of a prediction: `size` voxels (z, y, x) from `lower` on, which may lie outside, where labels are −1.
    /// `shape` is that of the preprocessed case.
    ///
    /// # Errors
    /// No prediction for this case, or one of another shape.
    pub fn read_patch(
        &self,
        id: &str,
        shape: [usize; 3],
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<Array3<i16>, PreprocessError> {
        let path = self.path(id);
        if !path.is_file() {
            let text = "there is no prediction of the previous stage; train and validate that stage first";
            return Err(PreprocessError::store(&path, text).in_case(id));
        }
        let narrow = Npy::open::<u8>(&path);
        let (npy, wide) = match narrow {
            Ok(npy) => (npy, false),
            Err(_) => (Npy::open::<u16>(&path).map_err(|e| e.in_case(id))?, true),
        };
        if npy.shape != shape {
            let text = format!("shape {:?} (z, y, x), the preprocessed case has {shape:?}", npy.shape);
            return Err(PreprocessError::store(&path, text).in_case(id));
        }
        let part = Part::new(shape, lower, size);
        let mut values = vec![-1i16; size.iter().product()];
        let read = if wide {
            part.read(&npy, 1, &mut values, |v: u16| v as i16)
        } else {
            part.read(&npy, 1, &mut values, |v: u8| i16::from(v))
        };
        read.map_err(|e| PreprocessError::io(&path, e).in_case(id))?;
        Array3::from_shape_vec(size, values)
            .map_err(|e| PreprocessError::store(&path, e.to_string()).in_case(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_back_with_minus_one_outside() {
        let folder = tempfile::tempdir().unwrap();
        let stage = PreviousStage::new(folder.path(), "3d_cascade_fullres");
        for highest in [3i16, 300] {
            let labels = Array3::from_shape_fn(
                (3, 4, 5),
                |(z, y, x)| if (z, y, x) == (1, 2, 3) { highest } else { 1 },
            );
            stage.write("a", labels.view()).unwrap();
            assert!(stage.has("a") && !stage.has("b"));
            let patch = stage.read_patch("a", [3, 4, 5], [0, 1, 2], [4, 2, 2]).unwrap();
            assert_eq!(patch[[1, 1, 1]], highest);
            assert_eq!(patch[[0, 0, 0]], 1);
            assert!(patch.index_axis(ndarray::Axis(0), 3).iter().all(|&label| label == -1));
        }
        let error = |result: Result<Array3<i16>, PreprocessError>| result.unwrap_err().to_string();
        assert!(error(stage.read_patch("b", [3, 4, 5], [0; 3], [1; 3])).contains("case b"));
        assert!(error(stage.read_patch("a", [3, 4, 6], [0; 3], [1; 3])).contains("[3, 4, 6]"));
        let negative = Array3::from_elem((1, 1, 1), -1i16);
        assert!(stage.write("c", negative.view()).unwrap_err().to_string().contains("-1"));
    }
}
