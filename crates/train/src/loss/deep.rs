use candle_core::Tensor;

use super::op::{loss_of_batch, value_of_batch};
use super::{LossRules, Targets};
use crate::{Cluster, TrainError};

/// Weights of the outputs, highest resolution first: halved at each step, the last one zero, their sum one.
///
/// A network with a single output has the weight one (nnU-Net v2.8.1 would divide zero by zero).
pub fn deep_supervision_weights(outputs: usize) -> Vec<f64> {
    if outputs <= 1 {
        return vec![1.0; outputs];
    }
    let mut weights: Vec<f64> = (0..outputs).map(|i| 0.5_f64.powi(i as i32)).collect();
    weights[outputs - 1] = 0.0;
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// The weighted sum of the losses of all outputs. Outputs of weight zero are left out altogether, so their heads
/// have no gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct DeepLoss {
    /// What the channels mean.
    pub rules: LossRules,
    /// One weight per output, highest resolution first.
    pub weights: Vec<f64>,
}

impl DeepLoss {
    /// nnU-Net's weights for a network of `outputs` outputs.
    pub fn new(rules: LossRules, outputs: usize) -> Self {
        Self { rules, weights: deep_supervision_weights(outputs) }
    }

    /// How many outputs, from the highest resolution on, need targets.
    pub fn targets_needed(&self) -> usize {
        self.weights.iter().rposition(|&weight| weight != 0.0).map_or(0, |last| last + 1)
    }

    /// The differentiable loss and its value.
    ///
    /// # Errors
    /// If outputs or targets are missing or do not fit each other.
    pub fn loss(&self, outputs: &[Tensor], targets: &[Targets]) -> Result<(Tensor, f64), TrainError> {
        self.loss_of_batch(outputs, targets, &Cluster::default())
    }

    /// [`DeepLoss::loss`] of a batch of which this rank has a share: the value is that of the whole batch, the gradients of all
    /// ranks add up to its gradient.
    ///
    /// # Errors
    /// As [`DeepLoss::loss`]; or a rank has left.
    pub fn loss_of_batch(
        &self,
        outputs: &[Tensor],
        targets: &[Targets],
        cluster: &Cluster,
    ) -> Result<(Tensor, f64), TrainError> {
        let mut sum: Option<(Tensor, f64)> = None;
        for (logits, targets, weight) in self.terms(outputs, targets)? {
            let (term, value) = loss_of_batch(logits, targets, &self.rules, weight, cluster)?;
            sum = Some(match sum {
                None => (term, value * weight),
                Some((tensor, total)) => ((tensor + term)?, total + value * weight),
            });
        }
        sum.ok_or_else(|| missing(0, self.weights.len()))
    }

    /// The value alone.
    ///
    /// # Errors
    /// As [`DeepLoss::loss`].
    pub fn value(&self, outputs: &[Tensor], targets: &[Targets]) -> Result<f64, TrainError> {
        self.value_of_batch(outputs, targets, &Cluster::default())
    }

    /// The value of [`DeepLoss::loss_of_batch`] alone.
    ///
    /// # Errors
    /// As there.
    pub fn value_of_batch(
        &self,
        outputs: &[Tensor],
        targets: &[Targets],
        cluster: &Cluster,
    ) -> Result<f64, TrainError> {
        let mut sum = 0.0;
        for (logits, targets, weight) in self.terms(outputs, targets)? {
            sum += weight * value_of_batch(logits, targets, &self.rules, cluster)?;
        }
        Ok(sum)
    }

    fn terms<'a>(
        &self,
        outputs: &'a [Tensor],
        targets: &'a [Targets],
    ) -> Result<impl Iterator<Item = (&'a Tensor, &'a Targets, f64)>, TrainError> {
        let needed = self.targets_needed();
        let found = outputs.len().min(targets.len());
        if found < needed {
            return Err(missing(found, needed));
        }
        let weights = self.weights.clone();
        let terms = outputs.iter().zip(targets).zip(weights).map(|((o, t), w)| (o, t, w));
        Ok(terms.filter(|term| term.2 != 0.0))
    }
}

fn missing(found: usize, expected: usize) -> TrainError {
    TrainError::Shape {
        what: "deep supervision",
        found: format!("{found} outputs with targets"),
        expected: format!("{expected}"),
    }
}
