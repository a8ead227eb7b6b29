use serde::Serialize;

use super::LossRules;
use crate::TrainError;

/// Which terms the loss of an output has. The default is nnU-Net's: soft Dice plus cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossTerms {
    /// Smoothing of the soft Dice, 1e-5; none: no Dice term.
    pub dice: Option<f64>,
    /// Cross-entropy (binary where channels are regions); none: no cross-entropy.
    pub entropy: Option<EntropyTerm>,
}

/// How the cross-entropy of voxels is taken and averaged. The default is the plain mean over valid voxels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct EntropyTerm {
    /// This much of the target distribution is spread evenly over all channels, 0.
    pub label_smoothing: f64,
    /// Exponent of the focal factor `(1 - p)^gamma`, where p is the probability of the true label; 0: no factor.
    pub focal_gamma: f64,
    /// Only this part of the voxels counts, those with the largest cross-entropy; 1: all of them.
    ///
    /// Ignored voxels take part in the selection with 0, as in nnU-Net v2.8.1.
    pub top: Option<f64>,
}

impl Default for LossTerms {
    fn default() -> Self {
        Self::DICE_CE
    }
}

impl LossTerms {
    /// Soft Dice plus cross-entropy, nnU-Net's default.
    pub const DICE_CE: Self = Self { dice: Some(1e-5), entropy: Some(EntropyTerm::PLAIN) };
    /// Soft Dice without smoothing plus cross-entropy.
    pub const DICE_CE_NO_SMOOTH: Self = Self { dice: Some(0.0), ..Self::DICE_CE };
    /// Soft Dice alone.
    pub const DICE: Self = Self { entropy: None, ..Self::DICE_CE };
    /// Cross-entropy alone.
    pub const CE: Self = Self { dice: None, ..Self::DICE_CE };
    /// Cross-entropy of the tenth of the voxels where it is largest.
    pub const TOP_K_10: Self =
        Self { dice: None, entropy: Some(EntropyTerm { top: Some(0.1), ..EntropyTerm::PLAIN }) };
    /// [`LossTerms::TOP_K_10`] with a label smoothing of 0.1.
    pub const TOP_K_10_SMOOTHED: Self = Self {
        dice: None,
        entropy: Some(EntropyTerm { label_smoothing: 0.1, top: Some(0.1), ..EntropyTerm::PLAIN }),
    };
    /// Soft Dice plus [`LossTerms::TOP_K_10`].
    pub const DICE_TOP_K_10: Self = Self { dice: Some(1e-5), ..Self::TOP_K_10 };
    /// Soft Dice plus focal cross-entropy with gamma 2.
    pub const DICE_FOCAL: Self =
        Self { dice: Some(1e-5), entropy: Some(EntropyTerm { focal_gamma: 2.0, ..EntropyTerm::PLAIN }) };

    /// Refuses numbers without meaning, and terms that regions do not have.
    pub(crate) fn check(&self, rules: &LossRules) -> Result<(), TrainError> {
        let fail = |found: String, expected| Err(TrainError::Option { option: "loss", found, expected });
        if self.dice.is_none() && self.entropy.is_none() {
            return fail("no term".to_owned(), "Dice, cross-entropy or both");
        }
        if self.dice.is_some_and(|smooth| !(smooth.is_finite() && smooth >= 0.0)) {
            return fail(format!("smoothing {:?}", self.dice), "a finite smoothing, not negative");
        }
        let Some(entropy) = self.entropy else { return Ok(()) };
        if !(0.0..1.0).contains(&entropy.label_smoothing) {
            return fail(format!("label smoothing {}", entropy.label_smoothing), "a smoothing in [0, 1)");
        }
        let gamma = entropy.focal_gamma;
        if !(gamma == 0.0 || (gamma.is_finite() && gamma >= 1.0)) {
            return fail(format!("focal gamma {gamma}"), "0 or at least 1");
        }
        if entropy.top.is_some_and(|top| !(top > 0.0 && top <= 1.0)) {
            return fail(format!("top {:?}", entropy.top), "a part in (0, 1]");
        }
        if rules.has_regions() && entropy != EntropyTerm::PLAIN {
            return fail(
                "top-k, focal or smoothed cross-entropy for overlapping regions".to_owned(),
                "the plain one: regions have no others",
            );
        }
        Ok(())
    }
}

impl EntropyTerm {
    /// Every valid voxel counts the same.
    pub const PLAIN: Self = Self { label_smoothing: 0.0, focal_gamma: 0.0, top: None };
}
