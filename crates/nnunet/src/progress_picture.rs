//! `progress.png`, drawn anew after each epoch.

use std::path::PathBuf;

use nnunet_train::{Control, EpochRecord, IterationInfo, TrainCallback};

use crate::plot::{CurvePoint, training_curve};

/// Hands everything on to another callback and draws the curves of the training.
pub(crate) struct ProgressPicture<'a> {
    pub(crate) inner: &'a mut dyn TrainCallback,
    pub(crate) points: Vec<CurvePoint>,
    pub(crate) title: String,
    pub(crate) path: PathBuf,
}

impl TrainCallback for ProgressPicture<'_> {
    fn on_start(&mut self, records: &[EpochRecord]) {
        self.points = records.iter().map(CurvePoint::from).collect();
        self.inner.on_start(records);
    }

    fn on_iteration(&mut self, info: &IterationInfo) {
        self.inner.on_iteration(info);
    }

    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        self.points.push(CurvePoint::from(record));
        // A picture that cannot be drawn is no reason to lose a training.
        if let Err(error) = training_curve(&self.points, &self.title, &self.path) {
            self.inner.log(&error.to_string());
        }
        self.inner.on_epoch_end(record)
    }

    fn log(&mut self, line: &str) {
        self.inner.log(line);
    }
}
