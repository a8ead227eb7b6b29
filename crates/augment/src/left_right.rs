/// Labels of organs that come in pairs, left and right.
///
/// A mirrored left kidney looks like a right one, so mirroring along the axis from left to right exchanges the labels.
///
/// ```
/// use nnunet_augment::{LeftRight, PipelineConfig};
/// let left_right = Some(LeftRight { axis: 2, pairs: vec![[1, 2], [5, 7]] });
/// let config = PipelineConfig { left_right, ..PipelineConfig::nnunet(&[64, 64, 64], &[false]) };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LeftRight {
    /// Array axis (z = 0, y = 1, x = 2) that runs between left and right.
    pub axis: usize,
    /// Labels that are exchanged with each other.
    pub pairs: Vec<[i16; 2]>,
}

impl LeftRight {
    /// Exchanges the labels of all pairs.
    pub(crate) fn exchange(&self, labels: &mut [i16]) {
        for label in labels {
            for &[left, right] in &self.pairs {
                if *label == left {
                    *label = right;
                    break;
                }
                if *label == right {
                    *label = left;
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LeftRight;

    #[test]
    fn pairs_are_exchanged_and_others_stay() {
        let mut labels = [-1, 0, 1, 2, 3, 5, 7];
        LeftRight { axis: 2, pairs: vec![[1, 2], [5, 7]] }.exchange(&mut labels);
        assert_eq!(labels, [-1, 0, 2, 1, 3, 7, 5]);
    }
}
