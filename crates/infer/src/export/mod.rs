//! From logits on the network's grid to labels on the image's.

mod decision;
mod place;
mod rows;
mod taps;

use ndarray::{Array4, ArrayView4};
use nnunet_image::{LabelMap, ResampleOptions, resample_image};
use nnunet_plan::{Configuration, LabelRules, Plans};
use nnunet_preprocess::{CaseProperties, resampling};

use crate::InferError;
use crate::logits::Logits;
use decision::Decision;
use place::{Placement, place};
use taps::axis_taps;

/// A segmented image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// One label per voxel of the image as it was read, with its geometry.
    pub labels: LabelMap,
    /// Probabilities of labels (including background) or regions, `(channel, z, y, x)` in the shape of the
    /// image as it was read. Where preprocessing cropped the image away, the background is certain.
    pub probabilities: Option<Array4<f32>>,
}

/// Turns the logits `(channel, z, y, x)` of a preprocessed case into a segmentation of the image as it was
/// read.
///
/// Logits are resampled to the cropped image (linear, by default), decided upon, put where they were cropped
/// from, and the transposition is undone; all this plane by plane, so that nothing but `logits` and the
/// results grows with the image. Exclusive labels are the largest logit, the first of several; regions are
/// those with a probability above one half, the last in the class order. With `with_probabilities`, softmax
/// or sigmoid comes before the decision, and is returned.
///
/// # Errors
/// Logits, properties and plans whose shapes or channels do not fit together, or a resampling function that
/// is not supported.
pub fn export_logits(
    logits: ArrayView4<'_, f32>,
    properties: &CaseProperties,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
    with_probabilities: bool,
) -> Result<Prediction, InferError> {
    let export = Export { properties, plans, configuration, rules, with_probabilities };
    export.run(Logits::from_array(logits))
}

/// What decides how logits are exported.
pub(crate) struct Export<'a> {
    pub(crate) properties: &'a CaseProperties,
    pub(crate) plans: &'a Plans,
    pub(crate) configuration: &'a Configuration,
    pub(crate) rules: &'a LabelRules,
    pub(crate) with_probabilities: bool,
}

impl Export<'_> {
    pub(crate) fn run(&self, logits: Logits) -> Result<Prediction, InferError> {
        if logits.channels != self.rules.num_heads() || logits.shape.contains(&0) {
            let [z, y, x] = logits.shape;
            let shape = |channels| vec![channels, z.max(1), y.max(1), x.max(1)];
            let found = vec![logits.channels, z, y, x];
            return Err(InferError::Shape {
                what: "the logits",
                found,
                expected: shape(self.rules.num_heads()),
            });
        }
        let cropped = self.properties.shape_after_cropping;
        let transpose = self.plans.transpose_forward;
        let new_spacing = transpose.map(|axis| self.properties.spacing[axis]);
        let spacing = match *self.configuration.spacing.as_slice() {
            [y, x] => [new_spacing[0], y, x],
            [z, y, x] => [z, y, x],
            _ => return Err(InferError::Model(format!("its spacing is {:?}", self.configuration.spacing))),
        };
        let function = &self.configuration.resampling_fn_probabilities;
        let options = resampling(function, &self.configuration.resampling_fn_probabilities_kwargs)?;
        // Without resampling the shapes are the same, and so nothing is interpolated.
        let options = options.unwrap_or_else(ResampleOptions::probabilities);
        let placement =
            Placement { shape: self.properties.shape_before_cropping, bbox: self.properties.bbox, transpose };
        let decision = self.rules.regions_class_order().map_or(Decision::Labels, Decision::Regions);
        let (labels, probabilities) = match axis_taps(logits.shape, cropped, spacing, new_spacing, &options) {
            Some(taps) => place(&logits, &taps, &placement, decision, self.with_probabilities)?,
            None => {
                let resampled =
                    resample_image(logits.to_array().view(), cropped, spacing, new_spacing, &options)?;
                let logits = Logits::from_array(resampled.view());
                drop(resampled);
                let linear = ResampleOptions::probabilities();
                let taps = axis_taps(cropped, cropped, spacing, new_spacing, &linear);
                let taps = taps.ok_or_else(|| InferError::Model("no resampling".to_owned()))?;
                place(&logits, &taps, &placement, decision, self.with_probabilities)?
            }
        };
        let geometry = self.properties.geometry.clone();
        Ok(Prediction { labels: LabelMap { data: labels, geometry }, probabilities })
    }
}
