//! Soft Dice plus cross-entropy.

use std::sync::Arc;

use super::super::array::{Array, View};
use super::super::engine::{Argument, Engine, Kind};
use super::super::exchange::Share;
use super::{LANES, blocks, chunks, count, floats, launch, optional, pointer};
use crate::NnError;
use crate::kernels::Dims;

/// What the channels of logits mean and which terms the loss has.
#[derive(Debug)]
pub struct LossTable {
    /// Channels of the logits.
    pub channels: usize,
    /// The label whose voxels do not count.
    pub ignore: Option<i16>,
    /// Whether Dice is taken over the batch instead of per sample.
    pub batch_dice: bool,
    /// Smoothing of Dice; no Dice without.
    pub dice: Option<f64>,
    /// Whether there is a cross-entropy.
    pub entropy: bool,
    labels: usize,
    membership: Option<Array>,
}

impl LossTable {
    /// Channels are labels.
    pub fn labels(channels: usize, ignore: Option<i16>, batch_dice: bool) -> Self {
        let (dice, entropy) = (Some(1e-5), true);
        Self { channels, ignore, batch_dice, dice, entropy, labels: channels, membership: None }
    }

    /// The same table with other terms: a smoothing of Dice (no Dice without), and whether there is a cross-entropy.
    pub fn with_terms(self, dice: Option<f64>, entropy: bool) -> Self {
        Self { dice, entropy, ..self }
    }

    /// Channels are regions; `membership[label][channel]`.
    ///
    /// # Errors
    /// Rows of different lengths, or the device has no room.
    pub fn regions(
        engine: &Arc<dyn Engine>,
        membership: &[Vec<bool>],
        ignore: Option<i16>,
        batch_dice: bool,
    ) -> Result<Self, NnError> {
        let channels = membership.first().map_or(0, Vec::len);
        if membership.iter().any(|row| row.len() != channels) {
            return Err(NnError::Unsupported("regions: rows of different lengths".to_owned()));
        }
        let bytes: Vec<u8> = membership.iter().flatten().map(|&inside| u8::from(inside)).collect();
        let table = Self::labels(channels, ignore, batch_dice);
        Ok(Self { labels: membership.len(), membership: Some(Array::of_u8(engine, &bytes)?), ..table })
    }
}

/// Labels of a batch and the part of their loss in the whole.
#[derive(Debug, Clone, Copy)]
pub struct LossTarget<'a> {
    /// Samples and voxels.
    pub dims: Dims,
    /// Labels, in the order of the voxels; each is known to the table.
    pub labels: &'a [i16],
    /// Factor of the loss.
    pub weight: f64,
}

/// Adds the weighted loss of f32 logits to the one number in `value`, and returns the gradient as numbers of a kind, if one
/// is given.
///
/// # Errors
/// Shapes that do not fit, a label that the table does not know, or the device failed.
pub fn segmentation_loss(
    logits: View<'_>,
    target: LossTarget<'_>,
    table: &LossTable,
    value: View<'_>,
    gradient: Option<Kind>,
) -> Result<Option<Array>, NnError> {
    table.check(&target)?;
    let labels = Array::of_i16(logits.engine, target.labels)?;
    let LossTarget { dims, weight, .. } = target;
    loss_of_labels(
        &Scored { logits, labels: labels.view(), dims, weight, share: None },
        table,
        value,
        gradient,
    )
}

/// Logits of a batch, or of a share of one, and what they should be.
pub(crate) struct Scored<'a> {
    /// f32.
    pub logits: View<'a>,
    /// 16-bit integers that were checked.
    pub labels: View<'a>,
    /// Samples and voxels.
    pub dims: Dims,
    /// Factor of the loss.
    pub weight: f64,
    /// The device's share where several have a batch together.
    pub share: Option<&'a Share>,
}

/// [`segmentation_loss`] for labels that lie on the device and were checked. Of a share of a batch it gives the loss of the
/// whole batch, and the gradient of the share.
pub(crate) fn loss_of_labels(
    scored: &Scored<'_>,
    table: &LossTable,
    value: View<'_>,
    gradient: Option<Kind>,
) -> Result<Option<Array>, NnError> {
    let &Scored { logits, labels, dims, weight, share } = scored;
    let (dims, engine) = (Dims { channels: table.channels, ..dims }, logits.engine);
    floats(logits, dims.len())?;
    floats(value, 1)?;
    let voxels = dims.batch * dims.voxels();
    labels.expect(Kind::I16)?;
    labels.holds(voxels)?;
    let membership = table.membership.as_ref().map(Array::view);
    let normaliser = normaliser(logits, voxels, dims.channels, membership.is_none())?;
    let words = table.words(dims, weight, share);
    let partial = [pointer(logits), pointer(labels), pointer(normaliser.view()), optional(membership)];
    let totals = totals(scored, dims, &partial, &words)?;
    let whole = share.map_or(dims.batch, |share| share.whole);
    let coefficients = Array::new(engine, Kind::F32, whole * dims.channels * 2 + 1)?;
    let arguments = [
        pointer(totals.view()),
        optional(membership),
        pointer(coefficients.view()),
        pointer(value),
        words.clone(),
    ];
    launch(&**engine, "loss_finish", [1, 1, 1], &arguments)?;
    let Some(kind) = gradient else { return Ok(None) };
    let gradient = Array::new(engine, kind, dims.len())?;
    super::activations(gradient.view(), dims.len())?;
    let arguments = [
        pointer(logits),
        pointer(labels),
        pointer(normaliser.view()),
        optional(membership),
        pointer(coefficients.view()),
        pointer(gradient.view()),
        words,
    ];
    let kernel = format!("loss_gradient_{}", kind.suffix());
    launch(&**engine, &kernel, [blocks(dims.voxels()), dims.batch, 1], &arguments)?;
    Ok(Some(gradient))
}

/// The sums over the voxels of every sample of the whole batch and every channel.
fn totals(scored: &Scored<'_>, dims: Dims, inputs: &[Argument], words: &Argument) -> Result<Array, NnError> {
    let engine = scored.logits.engine;
    let (chunk, number) = chunks(dims.voxels());
    let sums = dims.channels * 5;
    let partial = Array::new(engine, Kind::F32, dims.batch * sums * number)?;
    let arguments = [inputs, &[pointer(partial.view()), words.clone(), count(chunk)?]].concat();
    let grid = [number, dims.channels.div_ceil(LANES), dims.batch];
    launch(&**engine, "loss_partial", grid, &arguments)?;
    let totals = match scored.share {
        None => Array::new(engine, Kind::F64, dims.batch * sums)?,
        Some(share) => {
            share.check(dims.batch)?;
            Array::zeros(engine, Kind::F64, share.whole * sums)?
        }
    };
    let arguments = [pointer(partial.view()), pointer(totals.view()), words.clone(), count(number)?];
    launch(&**engine, "loss_totals", [blocks(dims.batch * sums), 1, 1], &arguments)?;
    if let Some(share) = scored.share {
        // Every device has zeros at the places of the others' samples.
        share.exchange.sum(totals.view())?;
    }
    Ok(totals)
}

/// What the exponentials of each voxel's logits are divided by, if channels are labels.
fn normaliser(logits: View<'_>, voxels: usize, channels: usize, needed: bool) -> Result<Array, NnError> {
    let found = Array::new(logits.engine, Kind::F32, voxels)?;
    if needed {
        let arguments = [pointer(logits), pointer(found.view()), count(voxels)?, count(channels)?];
        launch(&**logits.engine, "loss_normaliser", [blocks(voxels), 1, 1], &arguments)?;
    }
    Ok(found)
}

impl LossTable {
    /// Refuses another number of labels than voxels, and labels that the table does not know.
    pub(crate) fn check(&self, target: &LossTarget<'_>) -> Result<(), NnError> {
        let voxels = target.dims.batch * target.dims.voxels();
        if target.labels.len() != voxels || voxels == 0 {
            let found = target.labels.len();
            return Err(NnError::Unsupported(format!("{found} labels for {voxels} voxels")));
        }
        let unknown =
            |label: i16| Some(label) != self.ignore && !(0..self.labels as i64).contains(&i64::from(label));
        match target.labels.iter().copied().find(|&label| unknown(label)) {
            Some(label) => {
                Err(NnError::Unsupported(format!("label {label}, expected 0 to {}", self.labels - 1)))
            }
            None => Ok(()),
        }
    }

    fn words(&self, dims: Dims, weight: f64, share: Option<&Share>) -> Argument {
        let (whole, first) = share.map_or((dims.batch, 0), |share| (share.whole, share.first));
        let ignore = self.ignore.map_or(-1, i32::from);
        Argument::Words(vec![
            dims.batch as u32,
            dims.voxels() as u32,
            dims.channels as u32,
            ignore.cast_unsigned(),
            u32::from(self.batch_dice),
            u32::from(self.dice.is_some()),
            u32::from(self.entropy),
            (self.dice.unwrap_or(0.0) as f32).to_bits(),
            (weight as f32).to_bits(),
            whole as u32,
            first as u32,
        ])
    }
}
