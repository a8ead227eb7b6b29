use nnunet_plan::LabelRules;

use super::LossTerms;

/// What the channels of the logits mean, which terms the loss has, and how Dice is averaged.
#[derive(Debug, Clone, PartialEq)]
pub struct LossRules {
    channels: usize,
    ignore: Option<i16>,
    membership: Option<Vec<Vec<bool>>>,
    batch_dice: bool,
    terms: LossTerms,
}

impl LossRules {
    /// Labels `0..channels`, channel 0 being the background: softmax, cross-entropy, Dice without the background.
    ///
    /// Voxels with the label `ignore` count in neither term. `batch_dice` adds the sums over the batch before the
    /// quotient is taken.
    pub fn labels(channels: usize, ignore: Option<i16>, batch_dice: bool) -> Self {
        Self { channels, ignore, membership: None, batch_dice, terms: LossTerms::default() }
    }

    /// Overlapping regions, one channel each: sigmoid, binary cross-entropy, Dice over all channels.
    ///
    /// A voxel belongs to every region that lists its label.
    pub fn regions(regions: &[Vec<i16>], ignore: Option<i16>, batch_dice: bool) -> Self {
        let largest = regions.iter().flatten().copied().max().unwrap_or(0).max(ignore.unwrap_or(0));
        let row = |label: i16| regions.iter().map(|region| region.contains(&label)).collect();
        let membership = (0..=largest.max(0)).map(row).collect();
        let (channels, membership) = (regions.len(), Some(membership));
        Self { channels, ignore, membership, batch_dice, terms: LossTerms::default() }
    }

    /// The rules of a data set: regions where it declares some, labels otherwise.
    pub fn of_dataset(rules: &LabelRules, batch_dice: bool) -> Self {
        if !rules.has_regions() {
            return Self::labels(rules.num_heads(), rules.ignore_label(), batch_dice);
        }
        let regions: Vec<Vec<i16>> = rules.foreground_classes().iter().map(|c| c.labels().to_vec()).collect();
        let mut of = Self::regions(&regions, rules.ignore_label(), batch_dice);
        let known = rules.all_labels().iter().copied().max().unwrap_or(0);
        if let Some(membership) = of.membership.as_mut() {
            let missing = usize::try_from(known + 1).unwrap_or(0).saturating_sub(membership.len());
            membership.extend((0..missing).map(|_| vec![false; of.channels]));
        }
        of
    }

    /// The same rules with other terms of the loss.
    pub fn with_terms(self, terms: LossTerms) -> Self {
        Self { terms, ..self }
    }

    /// The terms of the loss.
    pub fn terms(&self) -> LossTerms {
        self.terms
    }

    /// Number of channels of the logits.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The label whose voxels are left out.
    pub fn ignore(&self) -> Option<i16> {
        self.ignore
    }

    /// Whether the channels are regions.
    pub fn has_regions(&self) -> bool {
        self.membership.is_some()
    }

    /// Whether Dice is taken over the batch instead of per sample.
    pub fn batch_dice(&self) -> bool {
        self.batch_dice
    }

    /// Number of classes that are scored: the channels, without the background where channels are labels.
    pub fn scored_classes(&self) -> usize {
        if self.has_regions() { self.channels } else { self.channels.saturating_sub(1) }
    }

    /// The first of `labels` that the rules do not know.
    pub fn unknown_label(&self, labels: &[i16]) -> Option<i16> {
        let end = self.membership.as_ref().map_or(self.channels, Vec::len);
        let end = i16::try_from(end).unwrap_or(i16::MAX);
        labels.iter().copied().find(|&label| !(0..end).contains(&label) && Some(label) != self.ignore)
    }

    /// Which regions each label belongs to, where channels are regions.
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(crate) fn membership(&self) -> Option<&[Vec<bool>]> {
        self.membership.as_deref()
    }

    /// Row of the membership table: which regions the label belongs to.
    pub(crate) fn row(&self, label: i16) -> Option<&[bool]> {
        self.membership.as_ref().map(|rows| rows[label as usize].as_slice())
    }
}
