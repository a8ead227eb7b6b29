use indexmap::IndexMap;
use nnunet_fingerprint::{Class, json};
use serde::{Deserialize, Serialize};

use super::confusion::{Metrics, null_is_nan};

/// Means of [`Metrics`]; what is not a number was left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanMetrics {
    /// Mean Dice.
    #[serde(rename = "Dice", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub dice: f64,
    /// Mean number of voxels of the class in the reference alone.
    #[serde(rename = "FN", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub false_negatives: f64,
    /// Mean number of voxels of the class in the prediction alone.
    #[serde(rename = "FP", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub false_positives: f64,
    /// Mean intersection over union.
    #[serde(rename = "IoU", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub iou: f64,
    /// Mean number of voxels of the class in neither.
    #[serde(rename = "TN", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub true_negatives: f64,
    /// Mean number of voxels of the class in both.
    #[serde(rename = "TP", serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub true_positives: f64,
    /// Mean number of voxels of the class in the prediction.
    #[serde(serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub n_pred: f64,
    /// Mean number of voxels of the class in the reference.
    #[serde(serialize_with = "json::nan", deserialize_with = "null_is_nan")]
    pub n_ref: f64,
}

/// One case of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseSummary {
    /// Metrics per class; keys as in [`Summary::mean`].
    pub metrics: IndexMap<String, Metrics>,
    /// The prediction.
    pub prediction_file: String,
    /// Its reference.
    pub reference_file: String,
}

/// The scores of a folder of predictions; as JSON it is nnU-Net's `summary.json`.
///
/// Write it with [`nnunet_fingerprint::json::write`], which knows the reference's floats and its bare `NaN`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Plain mean of `mean` over the classes: not a number if one of them is.
    pub foreground_mean: MeanMetrics,
    /// Mean over the cases per class: `"1"` is a label, `"(1, 2)"` a region. The keys are in the order of
    /// text.
    pub mean: IndexMap<String, MeanMetrics>,
    /// The cases, by name.
    pub metric_per_case: Vec<CaseSummary>,
}

impl Summary {
    /// Means of the cases' metrics. Each case must have all classes.
    pub(crate) fn new(classes: &[Class], metric_per_case: Vec<CaseSummary>) -> Self {
        let mut keys: Vec<String> = classes.iter().map(Class::to_string).collect();
        keys.sort();
        let of_class = |key: &String| {
            let cases: Vec<[f64; 8]> =
                metric_per_case.iter().filter_map(|case| case.metrics.get(key).map(values)).collect();
            MeanMetrics::from_values(std::array::from_fn(|i| nan_mean(cases.iter().map(|case| case[i]))))
        };
        let mean: IndexMap<String, MeanMetrics> =
            keys.iter().map(|key| (key.clone(), of_class(key))).collect();
        // In the order of the classes, on which the last digit of a sum depends.
        let foreground: Vec<[f64; 8]> = classes
            .iter()
            .map(Class::to_string)
            .filter(|key| key != "0")
            .filter_map(|key| mean.get(&key).map(MeanMetrics::values))
            .collect();
        let plain = |i: usize| {
            let column: Vec<f64> = foreground.iter().map(|class| class[i]).collect();
            pairwise_sum(&column) / column.len() as f64
        };
        Self { foreground_mean: MeanMetrics::from_values(std::array::from_fn(plain)), mean, metric_per_case }
    }
}

fn values(m: &Metrics) -> [f64; 8] {
    let counts =
        [m.false_negatives, m.false_positives, m.true_negatives, m.true_positives, m.n_pred, m.n_ref];
    let [fn_, fp, tn, tp, n_pred, n_ref] = counts.map(|count| count as f64);
    [m.dice, fn_, fp, m.iou, tn, tp, n_pred, n_ref]
}

impl MeanMetrics {
    fn values(&self) -> [f64; 8] {
        let m = self;
        [
            m.dice,
            m.false_negatives,
            m.false_positives,
            m.iou,
            m.true_negatives,
            m.true_positives,
            m.n_pred,
            m.n_ref,
        ]
    }

    fn from_values(values: [f64; 8]) -> Self {
        let [dice, false_negatives, false_positives, iou, true_negatives, true_positives, n_pred, n_ref] =
            values;
        Self { dice, false_negatives, false_positives, iou, true_negatives, true_positives, n_pred, n_ref }
    }
}

/// Mean of the numbers that are numbers; not a number if there is none.
pub(super) fn nan_mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    let count = values.iter().filter(|value| !value.is_nan()).count();
    let zeroed: Vec<f64> = values.iter().map(|&value| if value.is_nan() { 0.0 } else { value }).collect();
    pairwise_sum(&zeroed) / count as f64
}

/// Sum in NumPy's order of additions, so that means agree to the last digit.
fn pairwise_sum(values: &[f64]) -> f64 {
    match values.len() {
        0..8 => values.iter().sum(),
        8..=128 => {
            let (blocks, rest) = values.as_chunks::<8>();
            let mut lanes = [0.0; 8];
            for block in blocks {
                lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += value);
            }
            let [a, b, c, d, e, f, g, h] = lanes;
            rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
        }
        len => {
            let half = len / 2 - len / 2 % 8;
            pairwise_sum(&values[..half]) + pairwise_sum(&values[half..])
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::super::Confusion;
    use super::*;

    fn case(name: &str, classes: &[Class], reference: Array3<i16>, prediction: Array3<i16>) -> CaseSummary {
        let confusion = Confusion::count(reference.view(), prediction.view()).unwrap();
        let metrics =
            classes.iter().map(|class| (class.to_string(), confusion.metrics(class, None))).collect();
        CaseSummary { metrics, prediction_file: name.to_owned(), reference_file: name.to_owned() }
    }

    #[test]
    fn classes_that_are_nowhere_make_the_foreground_mean_not_a_number() {
        let classes = [1, 2].map(Class::Label);
        let one = case("a", &classes, array![[[1, 0]]], array![[[1, 0]]]);
        let two = case("b", &classes, array![[[0, 0]]], array![[[0, 0]]]);
        let summary = Summary::new(&classes, vec![one, two]);
        assert_eq!(summary.mean["1"].dice, 1.0);
        assert_eq!(summary.mean["1"].true_positives, 0.5);
        assert!(summary.mean["2"].dice.is_nan() && summary.foreground_mean.dice.is_nan());
        assert_eq!(summary.foreground_mean.true_negatives, (1.5 + 2.0) / 2.0);
    }

    #[test]
    fn text_is_that_of_the_reference_and_reads_back() {
        let classes = [Class::Region(vec![1, 2]), Class::Region(vec![3]), Class::Label(10), Class::Label(2)];
        let summary =
            Summary::new(&classes, vec![case("a.nii.gz", &classes, array![[[1, 0]]], array![[[1, 2]]])]);
        let keys: Vec<&String> = summary.mean.keys().collect();
        assert_eq!(keys, ["(1, 2)", "(3,)", "10", "2"]);
        let text = json::to_string(&summary).unwrap();
        let start = "{\n    \"foreground_mean\": {\n        \"Dice\": NaN,\n        \"FN\": 0.0,\n        \"FP\": 0.5,";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("\"metric_per_case\": [\n        {\n            \"metrics\": {\n"), "{text}");
        assert!(text.contains("\"FN\": 0,\n                    \"FP\": 1,"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        json::write(&path, &summary).unwrap();
        let back: Summary = json::read(&path).unwrap();
        assert_eq!(json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn long_sums_are_split_like_numpy() {
        // 1 is lost in 2^53 unless small numbers are added among themselves first.
        let mut values = vec![1.0; 256];
        values[0] = 2.0_f64.powi(53);
        let sequential: f64 = values.iter().sum();
        assert_eq!(sequential, 2.0_f64.powi(53));
        assert_eq!(pairwise_sum(&values), 2.0_f64.powi(53) + 240.0);
        assert_eq!(pairwise_sum(&[1.0; 1000]), 1000.0);
        assert_eq!(pairwise_sum(&[0.5; 13]), 6.5);
    }
}
