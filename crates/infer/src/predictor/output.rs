use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnunet_image::npz::{NpzArray, write_npz};
use nnunet_image::{CaseReader, reader_by_name};
use nnunet_preprocess::CaseProperties;

use super::properties::{Properties, with_ending};
use super::{BatchOptions, Predictor};
use crate::{InferError, Prediction};

/// Where predictions are written, and how.
pub(super) struct Output<'a> {
    folder: &'a Path,
    pub(super) ending: &'a str,
    pub(super) reader: Arc<dyn CaseReader>,
    options: &'a BatchOptions,
}

impl<'a> Output<'a> {
    /// # Errors
    /// The folder cannot be made or written to, or the plans' reader is not there.
    pub(super) fn new(
        predictor: &'a Predictor,
        folder: &'a Path,
        options: &'a BatchOptions,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot write there: {error}");
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Better to know before hours of work than after.
        let trial = folder.join(format!(".writable-{}", std::process::id()));
        std::fs::write(&trial, "").and_then(|()| std::fs::remove_file(&trial)).map_err(failed)?;
        let reader =
            reader_by_name(&predictor.plans.image_reader_writer).map_err(|error| error.to_string())?;
        if options.probabilities_as_nifti && !cfg!(feature = "nifti") {
            return Err(
                "this build cannot write probabilities as NIfTI; build with the feature `nifti`".to_owned()
            );
        }
        Ok(Self { folder, ending: &predictor.dataset.file_ending, reader, options })
    }

    fn file(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}{ending}"))
    }

    pub(super) fn exists(&self, id: &str) -> bool {
        let probabilities = !self.options.save_probabilities || self.file(id, ".npz").is_file();
        self.file(id, self.ending).is_file() && probabilities
    }

    /// Writes the files of a case; the segmentation comes last, so that where it is, all are.
    pub(super) fn write(
        &self,
        id: &str,
        prediction: Prediction,
        properties: &CaseProperties,
    ) -> Result<(), InferError> {
        if let Some(probabilities) = prediction.probabilities {
            #[cfg(feature = "nifti")]
            if self.options.probabilities_as_nifti {
                self.write_nifti(id, &probabilities, properties)?;
            }
            if self.options.save_probabilities {
                write_properties(&self.file(id, ""), properties, self.reader.name())?;
                let arrays = [("probabilities", NpzArray::F32(probabilities.into_dyn()))];
                write_npz(&self.file(id, ".npz"), &arrays)?;
            }
        }
        Ok(self.reader.write_labels(&self.file(id, self.ending), &prediction.labels)?)
    }

    /// One image per channel.
    #[cfg(feature = "nifti")]
    fn write_nifti(
        &self,
        id: &str,
        probabilities: &ndarray::Array4<f32>,
        properties: &CaseProperties,
    ) -> Result<(), InferError> {
        for (number, channel) in probabilities.outer_iter().enumerate() {
            let data = channel.insert_axis(ndarray::Axis(0)).to_owned();
            let image = nnunet_image::Image { data, geometry: properties.geometry.clone() };
            let path = self.folder.join(format!("{id}_probabilities_{number}.nii.gz"));
            nnunet_image::write_image(&path, &image)?;
        }
        Ok(())
    }
}

fn write_properties(stem: &Path, properties: &CaseProperties, reader: &str) -> Result<(), InferError> {
    Properties::of(properties).write(stem, reader)
}

/// The previous stage's segmentation of a case.
pub(super) fn previous_file(folder: &Path, id: &str, ending: &str) -> Result<PathBuf, InferError> {
    let file = with_ending(&folder.join(id), ending);
    if file.is_file() {
        return Ok(file);
    }
    Err(InferError::file(&file, "not found; the previous stage's segmentation of the case should be there"))
}
