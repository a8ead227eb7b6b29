//! TensorBoard event files: records of the TFRecord format that hold `Event` messages of protocol buffers.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::time::now;
use crate::{EpochRecord, TrainError};

/// What names of event files begin with; TensorBoard finds them by it.
const PREFIX: &str = "events.out.tfevents.";

/// The event file of one run. A run that goes on from another takes its epochs over into a file of its own.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Replaces the event files of a folder by one with the epochs so far, each with the time it ended.
    pub(crate) fn start(folder: &Path, epochs: &[(EpochRecord, f64)]) -> Result<Self, TrainError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::Io { path, source }
        };
        for entry in std::fs::read_dir(folder).map_err(failed(folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
            }
        }
        let begun = now();
        let path = folder.join(format!("{PREFIX}{}.nnunet.{}", begun as u64, std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed(&path))?;
        let mut events = Self { path, file };
        events.write(&version(begun))?;
        for (record, end) in epochs {
            events.epoch(record, *end)?;
        }
        Ok(events)
    }

    /// Appends the numbers of an epoch that ended at `end`, in seconds since 1970.
    pub(crate) fn epoch(&mut self, record: &EpochRecord, end: f64) -> Result<(), TrainError> {
        self.write(&summary(record, end))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), TrainError> {
        let written = self.file.write_all(&framed(event));
        written.map_err(|source| TrainError::Io { path: self.path.clone(), source })
    }
}

/// The event that every file begins with.
fn version(time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, time);
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

fn summary(record: &EpochRecord, time: f64) -> Vec<u8> {
    let mut values = vec![
        ("loss/train".to_owned(), record.train_loss as f32),
        ("loss/validation".to_owned(), record.val_loss as f32),
        ("dice/mean".to_owned(), record.mean_fg_dice),
        ("dice/moving_average".to_owned(), record.ema_fg_dice),
        ("learning_rate".to_owned(), record.lr as f32),
        ("seconds".to_owned(), record.seconds as f32),
    ];
    let classes = (1..).zip(&record.dice_per_class);
    values.extend(classes.map(|(class, dice)| (format!("dice/class_{class}"), *dice)));
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, tag.as_bytes());
        entry.push(2 << 3 | 5);
        entry.extend(value.to_le_bytes());
        bytes(&mut summary, 1, &entry);
    }
    let mut event = Vec::new();
    double(&mut event, 1, time);
    event.push(2 << 3);
    varint(&mut event, record.epoch as u64);
    bytes(&mut event, 5, &summary);
    event
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length, its checksum, the data, their checksum.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// The checksum as TFRecord stores it.
fn masked(data: &[u8]) -> u32 {
    let sum = crc32c(data);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's checksum, bit by bit: a few hundred bytes an epoch.
fn crc32c(data: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
    !data.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Written by TensorBoard's own message classes: wall time 1.5, step 300, the tags in this order.
    #[test]
    fn events_are_the_protocol_buffers_of_tensorboard() {
        let record = EpochRecord {
            epoch: 300,
            lr: 0.25,
            train_loss: -0.5,
            val_loss: 0.125,
            dice_per_class: vec![0.75],
            mean_fg_dice: 0.75,
            ema_fg_dice: 0.5,
            seconds: 2.0,
        };
        let hex: String = summary(&record, 1.5).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../tests/golden/event.hex").trim());
    }

    #[test]
    fn a_new_run_takes_the_epochs_of_the_old_one_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{PREFIX}1.old")), b"x").unwrap();
        let record: EpochRecord = serde_json::from_str(
            r#"{"epoch":0,"lr":0.1,"train_loss":0.0,"val_loss":0.0,"dice_per_class":[],
            "mean_fg_dice":0.0,"ema_fg_dice":0.0,"seconds":1.0}"#,
        )
        .unwrap();
        let mut events = EventFile::start(folder.path(), &[(record.clone(), 2.0)]).unwrap();
        events.epoch(&EpochRecord { epoch: 1, ..record }, 3.0).unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        // Three whole records: version and two epochs.
        let (data, mut at, mut count) = (std::fs::read(&files[0]).unwrap(), 0, 0);
        while at < data.len() {
            let length = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
            let body = &data[at + 12..at + 12 + length];
            let sum = u32::from_le_bytes(data[at + 12 + length..at + 16 + length].try_into().unwrap());
            assert_eq!(sum, masked(body));
            at += 16 + length;
            count += 1;
        }
        assert_eq!((at, count), (data.len(), 3));
    }
}
