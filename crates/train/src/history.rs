use serde::{Deserialize, Deserializer, Serialize};

use crate::EpochRecord;

/// The curves of a training under the names that nnU-Net gives them; one entry per epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(deserialize_with = "null_is_nan")]
    mean_fg_dice: Vec<f32>,
    #[serde(deserialize_with = "null_is_nan")]
    ema_fg_dice: Vec<f32>,
    #[serde(deserialize_with = "inner_null_is_nan")]
    dice_per_class_or_region: Vec<Vec<f32>>,
    train_losses: Vec<f64>,
    val_losses: Vec<f64>,
    lrs: Vec<f64>,
    epoch_start_timestamps: Vec<f64>,
    epoch_end_timestamps: Vec<f64>,
}

impl History {
    /// Appends an epoch that began at `start` and ended at `end`, in seconds since 1970.
    pub(crate) fn push(&mut self, record: &EpochRecord, start: f64, end: f64) {
        self.mean_fg_dice.push(record.mean_fg_dice);
        self.ema_fg_dice.push(record.ema_fg_dice);
        self.dice_per_class_or_region.push(record.dice_per_class.clone());
        self.train_losses.push(record.train_loss);
        self.val_losses.push(record.val_loss);
        self.lrs.push(record.lr);
        self.epoch_start_timestamps.push(start);
        self.epoch_end_timestamps.push(end);
    }

    pub(crate) fn last_ema(&self) -> Option<f32> {
        self.ema_fg_dice.last().copied()
    }

    /// Epochs since the moving average last rose above all values before; NaN never rises.
    pub(crate) fn epochs_since_best(&self) -> usize {
        let mut best: Option<(usize, f32)> = None;
        for (epoch, &ema) in self.ema_fg_dice.iter().enumerate() {
            if best.is_none_or(|(_, highest)| ema > highest) {
                best = Some((epoch, ema));
            }
        }
        best.map_or(0, |(epoch, _)| self.ema_fg_dice.len() - 1 - epoch)
    }

    /// The epochs as records, each with the time it ended.
    pub(crate) fn with_ends(&self) -> Vec<(EpochRecord, f64)> {
        self.records().into_iter().zip(self.epoch_end_timestamps.iter().copied()).collect()
    }

    /// The epochs again as records; curves of unequal length end at the shortest.
    pub(crate) fn records(&self) -> Vec<EpochRecord> {
        let lengths = [
            self.mean_fg_dice.len(),
            self.ema_fg_dice.len(),
            self.dice_per_class_or_region.len(),
            self.train_losses.len(),
            self.val_losses.len(),
            self.lrs.len(),
            self.epoch_start_timestamps.len(),
            self.epoch_end_timestamps.len(),
        ];
        let epochs = lengths.into_iter().min().unwrap_or(0);
        let record = |epoch: usize| EpochRecord {
            epoch,
            lr: self.lrs[epoch],
            train_loss: self.train_losses[epoch],
            val_loss: self.val_losses[epoch],
            dice_per_class: self.dice_per_class_or_region[epoch].clone(),
            mean_fg_dice: self.mean_fg_dice[epoch],
            ema_fg_dice: self.ema_fg_dice[epoch],
            seconds: self.epoch_end_timestamps[epoch] - self.epoch_start_timestamps[epoch],
        };
        (0..epochs).map(record).collect()
    }
}

/// JSON has no NaN; it is written as null.
fn null_is_nan<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<Option<f32>>::deserialize(from)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect())
}

fn inner_null_is_nan<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f32>>, D::Error> {
    let values = Vec::<Vec<Option<f32>>>::deserialize(from)?;
    let row = |row: Vec<Option<f32>>| row.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect();
    Ok(values.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_with_nan_survive_json() {
        let record = EpochRecord {
            epoch: 0,
            lr: 0.01,
            train_loss: -0.123_456_789_012_345_68,
            val_loss: 0.1,
            dice_per_class: vec![f32::NAN, 0.1],
            mean_fg_dice: 0.1,
            ema_fg_dice: f32::NAN,
            seconds: 2.5,
        };
        let mut history = History::default();
        history.push(&record, 10.0, 12.5);
        let text = serde_json::to_string(&history).unwrap();
        let back: History = serde_json::from_str(&text).unwrap();
        let again = &back.records()[0];
        assert_eq!((again.train_loss, again.seconds, again.lr), (record.train_loss, 2.5, 0.01));
        assert!(again.dice_per_class[0].is_nan() && again.ema_fg_dice.is_nan());
        assert_eq!(again.dice_per_class[1], 0.1);
    }
}
