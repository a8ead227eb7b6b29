use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::ArrayView4;
#[cfg(feature = "npz")]
use nnunet_image::npz::Spill;
use nnunet_image::{CaseReader, LabelMap, reader_by_name};
#[cfg(feature = "npz")]
use nnunet_preprocess::CaseFrame;
use nnunet_preprocess::CaseProperties;

use super::predicted::{Predicted, Results};
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
    sink: Option<&'a CaseSink<'a>>,
}

/// Gets the probabilities of a case of this name, `(channel, z, y, x)`, some planes of the image at a time, from the first to the
/// last.
pub type TakeProbabilities<'a> = dyn Fn(&str, ArrayView4<'_, f32>) -> Result<(), InferError> + Sync + 'a;

/// Where the results of cases go instead of into files of the model's format; see [`Predictor::predict_inputs`].
#[derive(Clone, Copy)]
pub struct CaseSink<'a> {
    /// Gets the segmentation of each case, after all of its probabilities, on the grid of its [`CaseInput`](crate::CaseInput).
    pub labels: &'a (dyn Fn(&str, LabelMap) -> Result<(), InferError> + Sync),
    /// Gets the probabilities, where they are wanted.
    pub probabilities: Option<&'a TakeProbabilities<'a>>,
    /// Whether what comes of a case is there, for [`BatchOptions::keep_existing`].
    pub exists: &'a (dyn Fn(&str) -> bool + Sync),
}

impl<'a> Output<'a> {
    /// # Errors
    /// The folder cannot be made or written to, or the plans' reader is not there.
    pub(super) fn new(
        predictor: &'a Predictor,
        folder: &'a Path,
        options: &'a BatchOptions,
        sink: Option<&'a CaseSink<'a>>,
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
        Ok(Self { folder, ending: &predictor.dataset.file_ending, reader, options, sink })
    }

    fn file(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}{ending}"))
    }

    pub(super) fn exists(&self, id: &str) -> bool {
        let probabilities = !self.options.save_probabilities || self.file(id, ".npz").is_file();
        let labels = self.sink.map_or_else(|| self.file(id, self.ending).is_file(), |sink| (sink.exists)(id));
        labels && probabilities
    }

    /// What is wanted of the cases.
    pub(super) fn wanted(&self) -> Results<'a> {
        let taken = self.sink.is_some_and(|sink| sink.probabilities.is_some());
        if taken || self.options.needs_probabilities() {
            Results::Streamed(self.folder)
        } else {
            Results::Labels
        }
    }

    /// Writes the files of a case; the segmentation comes last, so that where it is, all are.
    pub(super) fn write(
        &self,
        id: &str,
        predictor: &Predictor,
        predicted: Predicted,
        properties: &CaseProperties,
    ) -> Result<(), InferError> {
        let labels = self.labels(id, predictor, predicted, properties)?;
        match self.sink {
            Some(sink) => (sink.labels)(id, labels),
            None => Ok(self.reader.write_labels(&self.file(id, self.ending), &labels)?),
        }
    }

    /// The labels, when what is asked for beside them has been written and handed on.
    fn labels(
        &self,
        id: &str,
        predictor: &Predictor,
        predicted: Predicted,
        properties: &CaseProperties,
    ) -> Result<LabelMap, InferError> {
        let take = self.sink.and_then(|sink| sink.probabilities);
        #[cfg(feature = "npz")]
        if self.options.needs_probabilities() {
            return self.write_probabilities(id, predictor, predicted, properties, take);
        }
        let _ = properties;
        match take {
            Some(take) => predicted.stream(predictor, &mut |slab| take(id, slab)),
            None => Ok(predicted.finish(predictor)?.labels),
        }
    }

    /// Writes what is asked for beside the segmentation, slab by slab.
    #[cfg(feature = "npz")]
    fn write_probabilities(
        &self,
        id: &str,
        predictor: &Predictor,
        predicted: Predicted,
        properties: &CaseProperties,
        take: Option<&TakeProbabilities<'_>>,
    ) -> Result<LabelMap, InferError> {
        let heads = predictor.rules.num_heads();
        let mut spill = Spill::new(self.folder, heads)?;
        let labels = predicted.stream(predictor, &mut |slab| {
            if let Some(take) = take {
                take(id, slab)?;
            }
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
