use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::{LossRules, Targets, kernel};
use crate::{Cluster, TrainError, host::with_slice};

/// The loss of channels-last logits `(batch, z, y, x, channels)`, times `weight`; by default cross-entropy plus
/// negative soft Dice.
///
/// Returns the differentiable scalar and its value without `weight`. Value and gradient are computed together; the
/// backward pass only hands the gradient over. With regions the cross-entropy is binary. Follows nnU-Net v2.8.1: Dice
/// is the mean over samples and channels (`batch_dice` off) or over channels. [`LossRules::with_terms`] chooses other
/// terms.
///
/// # Errors
/// If shapes do not match or a label is neither a channel nor the ignore label.
pub fn segmentation_loss(
    logits: &Tensor,
    targets: &Targets,
    rules: &LossRules,
    weight: f64,
) -> Result<(Tensor, f64), TrainError> {
    loss_of_batch(logits, targets, rules, weight, &Cluster::default())
}

/// [`segmentation_loss`] of a batch of which this rank has a share.
pub(super) fn loss_of_batch(
    logits: &Tensor,
    targets: &Targets,
    rules: &LossRules,
    weight: f64,
    cluster: &Cluster,
) -> Result<(Tensor, f64), TrainError> {
    let voxels = check(logits, targets, rules)?;
    let (value, gradient) = with_slice(logits, |logits| {
        let mut out = vec![0.0; logits.len()];
        let sums = kernel::forward(rules, voxels, logits, targets.labels(), &mut out);
        let (value, coefficients) =
            kernel::evaluate(rules, &sums, logits, targets.labels(), weight, cluster)?;
        kernel::backward(rules, voxels, targets.labels(), &coefficients, &mut out);
        Ok::<_, TrainError>((value, out))
    })??;
    let gradient = Tensor::from_vec(gradient, logits.shape(), &Device::Cpu)?.to_device(logits.device())?;
    let scalar = if logits.device().is_cpu() {
        logits.apply_op1(Precomputed { value: (value * weight) as f32, gradient })?
    } else {
        let slope = (logits * gradient)?.sum_all()?;
        let offset = (value * weight - f64::from(slope.to_scalar::<f32>()?)) as f32;
        (slope + f64::from(offset))?
    };
    Ok((scalar, value))
}

/// The value of [`segmentation_loss`] alone, without a gradient.
///
/// # Errors
/// As [`segmentation_loss`].
pub fn segmentation_loss_value(
    logits: &Tensor,
    targets: &Targets,
    rules: &LossRules,
) -> Result<f64, TrainError> {
    value_of_batch(logits, targets, rules, &Cluster::default())
}

/// [`segmentation_loss_value`] of a batch of which this rank has a share.
pub(super) fn value_of_batch(
    logits: &Tensor,
    targets: &Targets,
    rules: &LossRules,
    cluster: &Cluster,
) -> Result<f64, TrainError> {
    let voxels = check(logits, targets, rules)?;
    with_slice(logits, |logits| {
        let sums = kernel::forward_sums(rules, voxels, logits, targets.labels());
        Ok(kernel::evaluate(rules, &sums, logits, targets.labels(), 1.0, cluster)?.0)
    })?
}

/// Compares shapes and labels; returns the voxels per sample.
fn check(logits: &Tensor, targets: &Targets, rules: &LossRules) -> Result<usize, TrainError> {
    rules.terms().check(rules)?;
    let [b, z, y, x] = targets.shape();
    let expected = [b, z, y, x, rules.channels()];
    if logits.dims() != expected || expected.contains(&0) {
        return Err(TrainError::Shape {
            what: "logits",
            found: format!("{:?}", logits.dims()),
            expected: format!("{expected:?} (batch, z, y, x, channels)"),
        });
    }
    match rules.unknown_label(targets.labels()) {
        Some(label) => Err(TrainError::Label { label, channels: rules.channels() }),
        None => Ok(z * y * x),
    }
}

/// A scalar whose gradient is already known.
struct Precomputed {
    value: f32,
    gradient: Tensor,
}

impl CustomOp1 for Precomputed {
    fn name(&self) -> &'static str {
        "segmentation-loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![self.value]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, above: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let above = above.to_scalar::<f32>()?;
        let gradient = self.gradient.clone();
        Ok(Some(if above == 1.0 { gradient } else { (gradient * f64::from(above))? }))
    }
}
