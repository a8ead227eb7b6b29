use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnunet_fingerprint::json;
use nnunet_image::npz::{NpzArray, write_npz};
use nnunet_image::{CaseReader, reader_by_name};
use nnunet_preprocess::CaseProperties;
use serde::Serialize;

use super::Predictor;
use crate::{InferError, Prediction};

/// Where predictions are written, and how.
pub(super) struct Output<'a> {
    folder: &'a Path,
    ending: &'a str,
    pub(super) reader: Arc<dyn CaseReader>,
    pub(super) save_probabilities: bool,
}

impl<'a> Output<'a> {
    /// # Errors
    /// The folder cannot be made or written to, or the plans' reader is not there.
    pub(super) fn new(
        predictor: &'a Predictor,
        folder: &'a Path,
        save_probabilities: bool,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot write there: {error}");
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Better to know before hours of work than after.
        let trial = folder.join(format!(".writable-{}", std::process::id()));
        std::fs::write(&trial, "").and_then(|()| std::fs::remove_file(&trial)).map_err(failed)?;
        let reader =
            reader_by_name(&predictor.plans.image_reader_writer).map_err(|error| error.to_string())?;
        Ok(Self { folder, ending: &predictor.dataset.file_ending, reader, save_probabilities })
    }

    fn file(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}{ending}"))
    }

    pub(super) fn exists(&self, id: &str) -> bool {
        self.file(id, self.ending).is_file() && (!self.save_probabilities || self.file(id, ".npz").is_file())
    }

    /// Writes the files of a case; the segmentation comes last, so that where it is, all are.
    pub(super) fn write(
        &self,
        id: &str,
        prediction: Prediction,
        properties: Option<&CaseProperties>,
    ) -> Result<(), InferError> {
        if let Some(properties) = properties {
            json::write(&self.file(id, ".json"), &Properties::of(properties))?;
        }
        if let Some(probabilities) = prediction.probabilities {
            let arrays = [("probabilities", NpzArray::F32(probabilities.into_dyn()))];
            write_npz(&self.file(id, ".npz"), &arrays)?;
        }
        Ok(self.reader.write_labels(&self.file(id, self.ending), &prediction.labels)?)
    }
}

/// `<case>.json`: what preprocessing did, under the reference's names.
#[derive(Serialize)]
struct Properties {
    spacing: [f64; 3],
    origin: [f64; 3],
    direction: [[f64; 3]; 3],
    axes_in_file: usize,
    shape_before_cropping: [usize; 3],
    bbox_used_for_cropping: [[usize; 2]; 3],
    shape_after_cropping_and_before_resampling: [usize; 3],
}

impl Properties {
    fn of(case: &CaseProperties) -> Self {
        Self {
            spacing: case.spacing,
            origin: case.geometry.origin,
            direction: case.geometry.direction,
            axes_in_file: case.geometry.dims,
            shape_before_cropping: case.shape_before_cropping,
            bbox_used_for_cropping: std::array::from_fn(|axis| [case.bbox.start[axis], case.bbox.end[axis]]),
            shape_after_cropping_and_before_resampling: case.shape_after_cropping,
        }
    }
}
