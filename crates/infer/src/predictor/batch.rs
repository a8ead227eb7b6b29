use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use nnunet_image::BoundingBox;
use nnunet_preprocess::{CaseProperties, PreprocessedCase};

use super::Predictor;
use super::case::CaseInput;
use super::predicted::{Predicted, Results};
use crate::{CancelToken, InferError, Prediction};

/// How many cases are predicted, beside the options of the predictor.
#[derive(Debug, Clone, Default)]
pub struct BatchOptions {
    /// Write the probabilities, too: `<case>.npz` with the array `probabilities`, and the geometry in `<case>.json` and
    /// `<case>.pkl`, which nnU-Net's ensembling reads.
    pub save_probabilities: bool,
    /// Write the probabilities as one image per channel, too: `<case>_probabilities_<channel>.nii.gz`.
    pub probabilities_as_nifti: bool,
    /// Leave cases alone whose files are there.
    pub keep_existing: bool,
    /// Folder with the previous stage's segmentations, `<case><ending>`, for a configuration that continues them.
    pub previous_stage: Option<PathBuf>,
    /// Accept channels whose files say that they lie elsewhere than the first one, as nnU-Net does with a warning.
    pub allow_misplaced_channels: bool,
    /// Ends the predictions early; the cases that are left fail.
    pub cancel: CancelToken,
}

impl BatchOptions {
    pub(super) fn needs_probabilities(&self) -> bool {
        self.save_probabilities || self.probabilities_as_nifti
    }
}

/// A case that is ready for the network.
pub(super) struct Prepared {
    pub(super) case: PreprocessedCase,
    pub(super) region: Option<BoundingBox>,
    pub(super) cancel: CancelToken,
}

/// What the network made of a case, and what is known of the case.
pub(super) type Outcome = Result<(Predicted, CaseProperties), InferError>;

impl Predictor {
    /// Segments images from an iterator, several of which can be on their way at a time: while the network works on one, the
    /// next is taken from the iterator and preprocessed, and the last one is brought to its grid and handed to `sink`.
    ///
    /// Results come in the order of the images, each with its name. An image that fails does not stop the others; an item
    /// that is an error already is handed on.
    pub fn predict_each<I>(
        &self,
        images: I,
        with_probabilities: bool,
        sink: &mut (dyn FnMut(String, Result<Prediction, InferError>) + Send),
    ) where
        I: IntoIterator<Item = (String, Result<CaseInput, InferError>)>,
        I::IntoIter: Send,
    {
        let mut images = images.into_iter();
        let mut prepare = || {
            let (name, image) = images.next()?;
            Some((name, image.and_then(|image| self.prepare(image))))
        };
        let mut finish = |name: String, outcome: Outcome| {
            sink(name, outcome.and_then(|(predicted, _)| predicted.finish(self)));
        };
        let results = if with_probabilities { Results::Probabilities } else { Results::Labels };
        self.pipeline(results, &mut prepare, &mut finish);
    }

    pub(super) fn prepare(&self, input: CaseInput) -> Result<Prepared, InferError> {
        input.cancel.check()?;
        let (region, cancel) = (input.region, input.cancel.clone());
        Ok(Prepared { case: self.preprocess(input)?, region, cancel })
    }

    /// Preparation, network and the rest, each in a thread of its own. Under a limit of memory one case after the other.
    pub(super) fn pipeline<T: Send>(
        &self,
        results: Results<'_>,
        prepare: &mut (dyn FnMut() -> Option<(T, Result<Prepared, InferError>)> + Send),
        finish: &mut (dyn FnMut(T, Outcome) + Send),
    ) {
        let predict = |prepared: Result<Prepared, InferError>| -> Outcome {
            let Prepared { case, region, cancel } = prepared?;
            let properties = case.properties.clone();
            Ok((self.run(case, region, results, &cancel, &|_| {})?, properties))
        };
        if self.options.memory_gb.is_some() {
            while let Some((item, prepared)) = prepare() {
                finish(item, predict(prepared));
            }
            return;
        }
        std::thread::scope(|scope| {
            // Channels without room: one case waits, ready, while another is predicted.
            let (to_network, ready) = sync_channel(0);
            let (to_export, predicted) = sync_channel(0);
            scope.spawn(move || {
                while let Some(next) = prepare() {
                    if to_network.send(next).is_err() {
                        return;
                    }
                }
            });
            scope.spawn(move || {
                for (item, outcome) in predicted {
                    finish(item, outcome);
                }
            });
            for (item, prepared) in ready {
                if to_export.send((item, predict(prepared))).is_err() {
                    return;
                }
            }
        });
    }
}
