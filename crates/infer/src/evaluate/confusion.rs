use std::collections::BTreeMap;

use ndarray::ArrayView3;
use nnunet_fingerprint::{Class, json};
use serde::{Deserialize, Serialize};

use crate::InferError;

/// How one class of one case was segmented, in voxels. Fields are written in the reference's order and under
/// its names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// `2 TP / (2 TP + FP + FN)`; not a number if the class is in neither segmentation.
    #[serde(rename = "Dice", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub dice: f64,
    /// Voxels of the class in the reference alone.
    #[serde(rename = "FN")]
    pub false_negatives: u64,
    /// Voxels of the class in the prediction alone.
    #[serde(rename = "FP")]
    pub false_positives: u64,
    /// `TP / (TP + FP + FN)`; not a number if the class is in neither segmentation.
    #[serde(rename = "IoU", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub iou: f64,
    /// Voxels of the class in neither.
    #[serde(rename = "TN")]
    pub true_negatives: u64,
    /// Voxels of the class in both.
    #[serde(rename = "TP")]
    pub true_positives: u64,
    /// Voxels of the class in the prediction.
    pub n_pred: u64,
    /// Voxels of the class in the reference.
    pub n_ref: u64,
}

pub(super) fn null_is_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// How often each pair of labels meets in two segmentations; the metrics of any class follow from it.
///
/// ```
/// use ndarray::array;
/// use nnunet_fingerprint::Class;
/// use nnunet_infer::Confusion;
///
/// let reference = array![[[0, 1, 1], [2, 3, 3]]];
/// let prediction = array![[[0, 1, 2], [2, 0, 1]]];
/// let confusion = Confusion::count(reference.view(), prediction.view()).unwrap();
/// assert_eq!(confusion.metrics(&Class::Label(1), None).dice, 0.5);
/// assert_eq!(confusion.metrics(&Class::Region(vec![2, 3]), None).dice, 0.4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// (reference, prediction) → voxels.
    pairs: BTreeMap<(i16, i16), u64>,
}

impl Confusion {
    /// Counts the pairs of labels.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn count(
        reference: ArrayView3<'_, i16>,
        prediction: ArrayView3<'_, i16>,
    ) -> Result<Self, InferError> {
        if reference.dim() != prediction.dim() {
            return Err(InferError::Shape {
                what: "the prediction",
                found: prediction.shape().to_vec(),
                expected: reference.shape().to_vec(),
            });
        }
        // Labels come in runs, so that the map is rarely asked.
        let mut pairs = BTreeMap::new();
        let (mut current, mut run) = ((0, 0), 0);
        for pair in reference.iter().copied().zip(prediction.iter().copied()) {
            if pair != current {
                *pairs.entry(current).or_insert(0) += run;
                (current, run) = (pair, 0);
            }
            run += 1;
        }
        *pairs.entry(current).or_insert(0) += run;
        pairs.retain(|_, count| *count > 0);
        Ok(Self { pairs })
    }

    /// How well a class was found. Voxels whose reference is `ignore` do not count.
    pub fn metrics(&self, class: &Class, ignore: Option<i16>) -> Metrics {
        let within = |label: i16| class.labels().contains(&label);
        let [mut tp, mut fp, mut fn_, mut tn] = [0_u64; 4];
        for (&(reference, prediction), &count) in &self.pairs {
            match (within(reference), within(prediction)) {
                _ if ignore == Some(reference) => {}
                (true, true) => tp += count,
                (true, false) => fn_ += count,
                (false, true) => fp += count,
                (false, false) => tn += count,
            }
        }
        // Zero by zero is not a number, as it should be for a class that is nowhere.
        let errors = (fp + fn_) as f64;
        Metrics {
            dice: 2.0 * tp as f64 / (2.0 * tp as f64 + errors),
            false_negatives: fn_,
            false_positives: fp,
            iou: tp as f64 / (tp as f64 + errors),
            true_negatives: tn,
            true_positives: tp,
            n_pred: tp + fp,
            n_ref: tp + fn_,
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    fn example() -> Confusion {
        let reference = array![[[0, 1, 1], [2, 3, 3]]];
        let prediction = array![[[0, 1, 2], [2, 0, 1]]];
        Confusion::count(reference.view(), prediction.view()).unwrap()
    }

    #[test]
    fn labels_have_the_values_of_the_reference() {
        let one = example().metrics(&Class::Label(1), None);
        assert_eq!((one.dice, one.iou), (0.5, 1.0 / 3.0));
        assert_eq!((one.false_positives, one.true_positives), (1, 1));
        assert_eq!((one.false_negatives, one.true_negatives), (1, 3));
        assert_eq!((one.n_pred, one.n_ref), (2, 2));
        assert_eq!(example().metrics(&Class::Label(2), None).dice, 2.0 / 3.0);
        let three = example().metrics(&Class::Label(3), None);
        assert_eq!((three.dice, three.iou), (0.0, 0.0));
        let four = example().metrics(&Class::Label(4), None);
        assert!(four.dice.is_nan() && four.iou.is_nan());
        assert_eq!(four.true_negatives, 6);
    }

    #[test]
    fn ignored_voxels_do_not_count() {
        let one = example().metrics(&Class::Label(1), Some(3));
        assert_eq!(one.dice, 2.0 / 3.0);
        assert_eq!((one.false_positives, one.true_negatives), (0, 2));
    }

    #[test]
    fn regions_are_unions() {
        let whole = example().metrics(&Class::Region(vec![1, 2, 3]), None);
        assert!((whole.dice - 8.0 / 9.0).abs() < 1e-15);
        assert_eq!(example().metrics(&Class::Region(vec![2, 3]), None).dice, 0.4);
    }

    #[test]
    fn shapes_must_agree() {
        let (a, b) = (Array3::zeros((1, 2, 3)), Array3::zeros((1, 3, 2)));
        let error = Confusion::count(a.view(), b.view()).unwrap_err().to_string();
        assert!(error.contains("[1, 3, 2]") && error.contains("[1, 2, 3]"), "{error}");
    }

    #[test]
    fn empty_segmentations_have_no_pairs() {
        let empty = Array3::zeros((0, 2, 3));
        let metrics = Confusion::count(empty.view(), empty.view()).unwrap().metrics(&Class::Label(1), None);
        assert!(metrics.dice.is_nan());
        assert_eq!(metrics.true_negatives, 0);
    }
}
