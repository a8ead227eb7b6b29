//! What a person reads about a training: the text log and the table of epochs.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nnunet_image::fs::write_atomic;

use crate::time::{Moment, now};
use crate::{EpochRecord, TrainError};

/// The text log of one run, `training_log_<year>_<month>_<day>_<hh>_<mm>_<ss>.txt`; each line is written at once.
pub(crate) struct TextLog {
    path: PathBuf,
}

impl TextLog {
    pub(crate) fn new(folder: &Path) -> Self {
        let Moment { date: [y, m, d], time: [hour, minute, second], .. } = Moment::from_seconds(now());
        let name = format!("training_log_{y}_{m}_{d}_{hour:02}_{minute:02}_{second:02}.txt");
        Self { path: folder.join(name) }
    }

    pub(crate) fn line(&self, text: &str) -> Result<(), TrainError> {
        let line = format!("{}: {text}\n", Moment::from_seconds(now()));
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|source| TrainError::Io { path: self.path.clone(), source })
    }
}

/// Writes all epochs to `progress.csv`, replacing the file as a whole.
pub(crate) fn write_progress(path: &Path, records: &[EpochRecord]) -> Result<(), TrainError> {
    let classes = records.iter().map(|r| r.dice_per_class.len()).max().unwrap_or(0);
    let mut text = String::from("epoch,lr,train_loss,val_loss,mean_fg_dice,ema_fg_dice,seconds");
    for class in 1..=classes {
        let _ = write!(text, ",pseudo_dice_{class}");
    }
    text.push('\n');
    for r in records {
        let _ = write!(
            text,
            "{},{},{},{},{},{},{:.3}",
            r.epoch, r.lr, r.train_loss, r.val_loss, r.mean_fg_dice, r.ema_fg_dice, r.seconds
        );
        for dice in &r.dice_per_class {
            let _ = write!(text, ",{dice}");
        }
        text.push('\n');
    }
    write_atomic(path, |out| out.write_all(text.as_bytes()))
        .map_err(|source| TrainError::Io { path: path.to_owned(), source })
}

/// Writes all epochs to `progress.jsonl`, one JSON object a line; NaN becomes null.
pub(crate) fn write_progress_lines(path: &Path, records: &[EpochRecord]) -> Result<(), TrainError> {
    let written = write_atomic(path, |out| {
        records.iter().try_for_each(|record| {
            serde_json::to_writer(&mut *out, record)?;
            out.write_all(b"\n")
        })
    });
    written.map_err(|source| TrainError::Io { path: path.to_owned(), source })
}
