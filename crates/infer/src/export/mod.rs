//! From logits on the network's grid to labels on the image's.

mod decision;
mod place;
mod rows;
mod shelf;
mod slabs;
mod taps;

use ndarray::{Array4, ArrayView4};
use nnunet_image::{BoundingBox, Geometry, LabelMap, ResampleOptions, resample_image};
use nnunet_plan::{Configuration, LabelRules, Plans};
use nnunet_preprocess::{CaseProperties, resampling};

use crate::InferError;
use crate::logits::Logits;
use decision::Decision;
pub(crate) use decision::largest;
use place::Placement;
use taps::Grid;

pub(crate) use place::Canvas;
pub(crate) use shelf::Shelf;
pub(crate) use slabs::Held;
pub use slabs::TakeSlab;

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
    export_all(Logits::from_array(logits), properties, plans, configuration, rules, with_probabilities)
}

/// As [`export_logits`], for logits `(z, y, x, channel)`, which are not copied.
///
/// # Errors
/// As [`export_logits`].
pub fn export_logits_channels_last(
    logits: Array4<f32>,
    properties: &CaseProperties,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
    with_probabilities: bool,
) -> Result<Prediction, InferError> {
    let logits = Logits::from_channels_last(logits);
    export_all(logits, properties, plans, configuration, rules, with_probabilities)
}

fn export_all(
    logits: Logits,
    properties: &CaseProperties,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
    with_probabilities: bool,
) -> Result<Prediction, InferError> {
    let export = Export::new(properties, plans, configuration, rules, with_probabilities, logits.shape)?;
    let mut canvas = export.canvas()?;
    export.fill(&mut canvas, &export.block(export.whole()), &logits)?;
    Ok(export.finish(canvas))
}

/// As [`export_logits_channels_last`], without a whole array of probabilities: `take` is handed those of some planes of the
/// image at a time, `(channel, z, y, x)`, from the first to the last.
///
/// # Errors
/// As [`export_logits`], or what `take` returns.
pub fn export_logits_in_slabs(
    logits: Array4<f32>,
    properties: &CaseProperties,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
    take: &mut TakeSlab<'_>,
) -> Result<LabelMap, InferError> {
    let logits = Logits::from_channels_last(logits);
    let export = Export::new(properties, plans, configuration, rules, true, logits.shape)?;
    let Block { out, low } = export.block(export.whole());
    export.check(&logits, low)?;
    export.stream(Some((out, Held::Memory(logits, low))), take)
}

/// A part of the result and the logits that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// The box in the cropped image.
    pub(crate) out: BoundingBox,
    /// The box in the network's grid.
    pub(crate) low: BoundingBox,
}

/// How the logits of a case become its segmentation.
pub(crate) struct Export<'a> {
    rules: &'a LabelRules,
    geometry: Geometry,
    with_probabilities: bool,
    /// Shape of the network's grid, and of the cropped image.
    shape: [usize; 3],
    cropped: [usize; 3],
    spacing: [f64; 3],
    new_spacing: [f64; 3],
    options: ResampleOptions,
    /// None where rows cannot be resampled one by one.
    grid: Option<Grid>,
    placement: Placement,
}

impl<'a> Export<'a> {
    /// `shape` is that of the network's grid.
    pub(crate) fn new(
        properties: &CaseProperties,
        plans: &Plans,
        configuration: &Configuration,
        rules: &'a LabelRules,
        with_probabilities: bool,
        shape: [usize; 3],
    ) -> Result<Self, InferError> {
        let cropped = properties.shape_after_cropping;
        let transpose = plans.transpose_forward;
        if transpose.iter().any(|axis| *axis > 2) {
            let text = format!("transpose_forward is {transpose:?}, expected an order of 0, 1, 2");
            return Err(InferError::Model(text));
        }
        let new_spacing = transpose.map(|axis| properties.spacing[axis]);
        let spacing = match *configuration.spacing.as_slice() {
            [y, x] => [new_spacing[0], y, x],
            [z, y, x] => [z, y, x],
            _ => return Err(InferError::Model(format!("its spacing is {:?}", configuration.spacing))),
        };
        let function = &configuration.resampling_fn_probabilities;
        let options = resampling(function, &configuration.resampling_fn_probabilities_kwargs)?;
        // Without resampling the shapes are the same, and so nothing is interpolated.
        let options = options.unwrap_or_else(ResampleOptions::probabilities);
        let grid = if shape.contains(&0) || cropped.contains(&0) {
            None
        } else {
            Grid::new(shape, cropped, spacing, new_spacing, &options)
        };
        Ok(Self {
            rules,
            geometry: properties.geometry.clone(),
            with_probabilities,
            shape,
            cropped,
            spacing,
            new_spacing,
            options,
            grid,
            placement: Placement {
                shape: properties.shape_before_cropping,
                bbox: properties.bbox,
                transpose,
            },
        })
    }

    /// The whole cropped image.
    pub(crate) fn whole(&self) -> BoundingBox {
        BoundingBox { start: [0; 3], end: self.cropped }
    }

    /// Whether parts of the result need parts of the logits only.
    pub(crate) fn has_blocks(&self) -> bool {
        self.grid.is_some()
    }

    /// The part of the cropped image that a box of the image as read has a share in.
    pub(crate) fn within(&self, region: &BoundingBox) -> Option<BoundingBox> {
        let Placement { bbox, transpose, .. } = &self.placement;
        let start: [usize; 3] =
            std::array::from_fn(|axis| region.start[transpose[axis]].max(bbox.start[axis]));
        let end: [usize; 3] = std::array::from_fn(|axis| region.end[transpose[axis]].min(bbox.end[axis]));
        (0..3).all(|axis| start[axis] < end[axis]).then(|| BoundingBox {
            start: std::array::from_fn(|axis| start[axis] - bbox.start[axis]),
            end: std::array::from_fn(|axis| end[axis] - bbox.start[axis]),
        })
    }

    /// What a part of the cropped image needs.
    pub(crate) fn block(&self, out: BoundingBox) -> Block {
        let whole = BoundingBox { start: [0; 3], end: self.shape };
        let low = match &self.grid {
            Some(grid) if out != self.whole() => grid.needed(out),
            _ => whole,
        };
        Block { out, low }
    }

    /// Voxels of the image as read.
    pub(crate) fn voxels(&self) -> usize {
        self.placement.shape.iter().product()
    }

    fn decision(&self) -> Decision<'_> {
        self.rules.regions_class_order().map_or(Decision::Labels, Decision::Regions)
    }

    /// The image as read, all background.
    pub(crate) fn canvas(&self) -> Result<Canvas, InferError> {
        Canvas::new(&self.placement, self.rules.num_heads(), self.decision(), self.with_probabilities)
    }

    /// # Errors
    /// Logits that are not those of a box of the network's grid.
    fn check(&self, logits: &Logits, low: BoundingBox) -> Result<(), InferError> {
        let heads = self.rules.num_heads();
        if logits.channels != heads || logits.shape != low.shape() || logits.shape.contains(&0) {
            let ([z, y, x], [ez, ey, ex]) = (logits.shape, low.shape().map(|size| size.max(1)));
            return Err(InferError::Shape {
                what: "the logits",
                found: vec![logits.channels, z, y, x],
                expected: vec![heads, ez, ey, ex],
            });
        }
        Ok(())
    }

    /// Puts a block onto the canvas.
    pub(crate) fn fill(&self, canvas: &mut Canvas, block: &Block, logits: &Logits) -> Result<(), InferError> {
        self.check(logits, block.low)?;
        let placement = Placement { bbox: self.in_image(block.out), ..self.placement.clone() };
        if let Some(grid) = &self.grid {
            let taps = grid.part(block.out, block.low.start);
            return canvas.fill(logits, &taps, grid.single, &placement, self.decision());
        }
        let (logits, grid) = self.resampled(logits)?;
        canvas.fill(&logits, &grid.part(block.out, [0; 3]), false, &placement, self.decision())
    }

    /// Where a box of the cropped image lies in the transposed image.
    fn in_image(&self, out: BoundingBox) -> BoundingBox {
        let at =
            |corner: [usize; 3]| std::array::from_fn(|axis| self.placement.bbox.start[axis] + corner[axis]);
        BoundingBox { start: at(out.start), end: at(out.end) }
    }

    /// All logits on the grid of the cropped image, for splines of a higher order.
    fn resampled(&self, logits: &Logits) -> Result<(Logits, Grid), InferError> {
        let (from, to) = (self.spacing, self.new_spacing);
        let resampled = resample_image(logits.to_array().view(), self.cropped, from, to, &self.options)?;
        Ok((Logits::from_array(resampled.view()), Grid::identity(self.cropped)))
    }

    /// The segmentation.
    pub(crate) fn finish(&self, canvas: Canvas) -> Prediction {
        let labels = LabelMap { data: canvas.labels, geometry: self.geometry.clone() };
        Prediction { labels, probabilities: canvas.probabilities }
    }
}
