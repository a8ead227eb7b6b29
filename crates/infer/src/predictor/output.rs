use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "npz")]
use nnunet_image::LabelMap;
#[cfg(feature = "npz")]
use nnunet_image::npz::Spill;
use nnunet_image::{CaseReader, reader_by_name};
#[cfg(feature = "npz")]
use nnunet_preprocess::CaseFrame;
use nnunet_preprocess::CaseProperties;

use super::predicted::Predicted;
#[cfg(feature = "npz")]
use super::properties::Properties;
use super::properties::with_ending;
use super::{BatchOptions, Predictor};
use crate::InferError;

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
        let lacking = if options.needs_probabilities() && !cfg!(feature = "npz") {
            Some(("", "npz"))
        } else if options.probabilities_as_nifti && !cfg!(feature = "nifti") {
            Some((" as NIfTI", "nifti"))
        } else {
            None
        };
        if let Some((form, feature)) = lacking {
            return Err(format!(
                "this build cannot write probabilities{form}; build with the feature `{feature}`"
            ));
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
        predictor: &Predictor,
        predicted: Predicted,
        properties: &CaseProperties,
    ) -> Result<(), InferError> {
        #[cfg(feature = "npz")]
        if self.options.needs_probabilities() {
            let labels = self.write_probabilities(id, predictor, predicted, properties)?;
            return Ok(self.reader.write_labels(&self.file(id, self.ending), &labels)?);
        }
        let _ = properties;
        let labels = predicted.finish(predictor)?.labels;
        Ok(self.reader.write_labels(&self.file(id, self.ending), &labels)?)
    }

    /// Writes what is asked for beside the segmentation, slab by slab.
    #[cfg(feature = "npz")]
    fn write_probabilities(
        &self,
        id: &str,
        predictor: &Predictor,
        predicted: Predicted,
        properties: &CaseProperties,
    ) -> Result<LabelMap, InferError> {
        let heads = predictor.rules.num_heads();
        let mut spill = Spill::new(self.folder, heads)?;
        let labels = predicted.stream(predictor, &mut |slab| {
            let slab = slab.as_standard_layout();
            let channels = slab.outer_iter().enumerate();
            let values: Vec<_> =
                channels.filter_map(|(number, channel)| Some((number, channel.to_slice()?))).collect();
            Ok(spill.push(&values)?)
        })?;
        let (z, y, x) = labels.data.dim();
        #[cfg(feature = "nifti")]
        if self.options.probabilities_as_nifti {
            for number in 0..heads {
                let path = self.folder.join(format!("{id}_probabilities_{number}.nii.gz"));
                spill.write_nifti(&path, number, [z, y, x], &labels.geometry)?;
            }
        }
        if self.options.save_probabilities {
            CaseFrame::of(properties).write(&self.file(id, ""), self.reader.name())?;
            spill.write_npz(&self.file(id, ".npz"), "probabilities", &[heads, z, y, x])?;
        }
        Ok(labels)
    }
}

/// The previous stage's segmentation of a case.
pub(super) fn previous_file(folder: &Path, id: &str, ending: &str) -> Result<PathBuf, InferError> {
    let file = with_ending(&folder.join(id), ending);
    if file.is_file() {
        return Ok(file);
    }
    Err(InferError::file(&file, "not found; the previous stage's segmentation of the case should be there"))
}
