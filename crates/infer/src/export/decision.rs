/// How the logits of a voxel become a label and probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Decision<'a> {
    /// Exclusive labels: softmax; the channel with the largest value, the first of several.
    Labels,
    /// Regions: sigmoid per channel; of the regions above one half, the last one's entry of the class order.
    Regions(&'a [i16]),
}

impl Decision<'_> {
    /// The label that the logits of one voxel give.
    pub(crate) fn label(self, logits: &[f32]) -> i16 {
        match self {
            Self::Labels => largest(logits),
            Self::Regions(order) => last_region(order, logits.iter().map(|&logit| sigmoid(logit))),
        }
    }

    /// The label that the probabilities of one voxel give; it can differ from that of the logits where
    /// rounding makes two probabilities equal.
    pub(crate) fn label_of_probabilities(self, probabilities: &[f32]) -> i16 {
        match self {
            Self::Labels => largest(probabilities),
            Self::Regions(order) => last_region(order, probabilities.iter().copied()),
        }
    }

    /// The probabilities of one voxel.
    pub(crate) fn probabilities(self, logits: &[f32], out: &mut [f32]) {
        match self {
            Self::Labels => softmax(logits, out),
            Self::Regions(_) => out.iter_mut().zip(logits).for_each(|(to, logit)| *to = sigmoid(*logit)),
        }
    }
}

/// The first of the largest values.
pub(crate) fn largest(values: &[f32]) -> i16 {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best as i16
}

fn last_region(order: &[i16], probabilities: impl Iterator<Item = f32>) -> i16 {
    let mut label = 0;
    for (&region, probability) in order.iter().zip(probabilities) {
        if probability > 0.5 {
            label = region;
        }
    }
    label
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn softmax(logits: &[f32], out: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (to, logit) in out.iter_mut().zip(logits) {
        *to = (logit - largest).exp();
        sum += *to;
    }
    out.iter_mut().for_each(|value| *value /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_labels_wins() {
        assert_eq!(Decision::Labels.label(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(Decision::Labels.label(&[0.0, 0.0]), 0);
        assert_eq!(Decision::Labels.label_of_probabilities(&[0.2, 0.3, 0.5]), 2);
    }

    #[test]
    fn later_regions_overwrite_earlier_ones_above_one_half() {
        let probabilities = [[0.9, 0.9, 0.2], [0.4, 0.6, 0.1], [0.6, 0.2, 0.9], [0.5, 0.5, 0.51]];
        let labels = probabilities.map(|p| Decision::Regions(&[1, 2, 3]).label_of_probabilities(&p));
        assert_eq!(labels, [2, 2, 3, 3]);
        assert_eq!(Decision::Regions(&[1, 2, 3]).label_of_probabilities(&[0.5; 3]), 0);
    }

    #[test]
    fn regions_of_logits_need_more_than_zero_in_single_precision() {
        let decision = Decision::Regions(&[4, 2]);
        assert_eq!(decision.label(&[1.0, -1.0]), 4);
        assert_eq!(decision.label(&[1.0, 1.0]), 2);
        // The sigmoid of so small a number is one half.
        assert_eq!(decision.label(&[1e-9, -1.0]), 0);
    }

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let mut out = [0.0; 3];
        Decision::Labels.probabilities(&[1000.0, 999.0, -1000.0], &mut out);
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((out[0] - 0.731_058_6).abs() < 1e-6 && out[2] == 0.0, "{out:?}");
        Decision::Regions(&[1, 2, 3]).probabilities(&[0.0, 1.0, -200.0], &mut out);
        assert!(out[0] == 0.5 && (out[1] - 0.731_058_6).abs() < 1e-6 && out[2] == 0.0, "{out:?}");
    }
}
