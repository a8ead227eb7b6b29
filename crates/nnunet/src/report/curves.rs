//! Epochs of a training, read back from its folder.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;
use crate::plot::CurvePoint;

/// The epochs of a fold: from `progress.jsonl`, or from nnU-Net's text logs where that is missing.
pub(super) fn read_epochs(fold: &Path) -> Result<Vec<CurvePoint>, Error> {
    let lines = fold.join("progress.jsonl");
    if lines.is_file() {
        return json_lines(&read(&lines)?, &lines);
    }
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(fold).map_err(|source| Error::io(fold, source))? {
        let path = entry.map_err(|source| Error::io(fold, source))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("training_log_") && name.ends_with(".txt") {
            logs.push(path);
        }
    }
    logs.sort_by_key(|path| begun(path));
    let mut epochs = Vec::new();
    for log in logs {
        text_log(&read(&log)?, &mut epochs);
    }
    Ok(epochs)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::io(path, source))
}

/// The numbers in the name of a log: year, month, day, hour, minute, second.
fn begun(path: &Path) -> (Vec<u64>, PathBuf) {
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    (name.split('_').filter_map(|part| part.parse().ok()).collect(), path.to_owned())
}

fn json_lines(text: &str, path: &Path) -> Result<Vec<CurvePoint>, Error> {
    let mut epochs = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: Value = serde_json::from_str(line).map_err(|error| Error::Convert {
            path: path.to_owned(),
            reason: format!("line {} is not JSON: {error}", number + 1),
        })?;
        let value = |key: &str| record.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        epochs.push(CurvePoint {
            train_loss: value("train_loss"),
            val_loss: value("val_loss"),
            pseudo_dice: value("mean_fg_dice"),
            ema_dice: value("ema_fg_dice"),
            seconds: value("seconds"),
            lr: value("lr"),
        });
    }
    Ok(epochs)
}

const EMPTY: CurvePoint = CurvePoint {
    train_loss: f64::NAN,
    val_loss: f64::NAN,
    pseudo_dice: f64::NAN,
    ema_dice: f64::NAN,
    seconds: f64::NAN,
    lr: f64::NAN,
};

/// Adds the epochs of one log; a run that was continued repeats the epoch at which it had been interrupted.
fn text_log(text: &str, epochs: &mut Vec<CurvePoint>) {
    let mut current: Option<(usize, CurvePoint)> = None;
    for line in text.lines() {
        let Some(said) = said(line) else { continue };
        let number = |prefix: &str| {
            let rest = said.strip_prefix(prefix)?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        if let Some(epoch) = said.strip_prefix("Epoch ").and_then(|rest| rest.trim().parse().ok()) {
            current = Some((epoch, EMPTY));
            continue;
        }
        let Some((epoch, point)) = &mut current else { continue };
        if let Some(lr) = number("Current learning rate: ") {
            point.lr = lr;
        } else if let Some(loss) = number("train_loss ") {
            point.train_loss = loss;
        } else if let Some(loss) = number("val_loss ") {
            point.val_loss = loss;
        } else if let Some(list) = said.strip_prefix("Pseudo dice ") {
            point.pseudo_dice = mean_of_list(list);
        } else if let Some(seconds) = number("Epoch time: ") {
            point.seconds = seconds;
            finish_epoch(epochs, *epoch, *point);
            current = None;
        }
    }
}

fn finish_epoch(epochs: &mut Vec<CurvePoint>, epoch: usize, mut point: CurvePoint) {
    epochs.truncate(epoch);
    epochs.resize(epoch, EMPTY);
    let before = epochs.last().map_or(f64::NAN, |last| last.ema_dice);
    point.ema_dice = if before.is_nan() { point.pseudo_dice } else { 0.9 * before + 0.1 * point.pseudo_dice };
    epochs.push(point);
}

/// The line without its time.
fn said(line: &str) -> Option<&str> {
    let (time, rest) = line.split_once(": ")?;
    time.starts_with(|c: char| c.is_ascii_digit()).then(|| rest.trim())
}

/// The mean of `[0.5, nan, np.float32(0.7)]` over the numbers that are numbers.
fn mean_of_list(list: &str) -> f64 {
    let inner = list.trim().trim_start_matches('[').trim_end_matches(']');
    let values: Vec<f64> = inner
        .split(',')
        .filter_map(|item| {
            let item = item.trim();
            let number = item.rsplit('(').next().unwrap_or(item).trim_end_matches(')');
            number.parse::<f64>().ok().filter(|value| !value.is_nan())
        })
        .collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\n#####\nPlease cite ...\n2026-01-02 10:00:00.000001: Epoch 0 \n\
        2026-01-02 10:00:00.000001: Current learning rate: 0.01 \n2026-01-02 10:00:01.1: train_loss 0.25 \n\
        2026-01-02 10:00:01.2: val_loss -0.1 \n2026-01-02 10:00:01.3: Pseudo dice [np.float32(0.5), nan, np.float32(0.7)] \n\
        2026-01-02 10:00:01.4: Epoch time: 12.5 s \n2026-01-02 10:00:02.0: Epoch 1 \n2026-01-02 10:00:03.0: train_loss -0.5 \n";

    #[test]
    fn text_logs_of_both_programs_are_understood() {
        let mut epochs = Vec::new();
        text_log(LOG, &mut epochs);
        assert_eq!(epochs.len(), 1, "the second epoch did not end");
        let first = epochs[0];
        assert_eq!((first.train_loss, first.val_loss, first.seconds, first.lr), (0.25, -0.1, 12.5, 0.01));
        assert!((first.pseudo_dice - 0.6).abs() < 1e-9 && first.ema_dice == first.pseudo_dice);
        text_log(
            "2026-01-02 11:00:00.0: Epoch 1\n2026-01-02 11:00:00.0: Pseudo dice [0.8]\n2026-01-02 11:00:00.0: Epoch time: 1 s\n",
            &mut epochs,
        );
        assert_eq!(epochs.len(), 2);
        assert!((epochs[1].ema_dice - 0.62).abs() < 1e-9 && epochs[1].train_loss.is_nan());
    }

    #[test]
    fn a_line_that_is_not_json_is_named() {
        let error =
            json_lines("{\"epoch\":0}\nnot json\n", Path::new("progress.jsonl")).unwrap_err().to_string();
        assert!(error.starts_with("progress.jsonl: line 2 is not JSON"), "{error}");
    }
}
