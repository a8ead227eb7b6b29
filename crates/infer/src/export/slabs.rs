//! The way of an image's probabilities to a place that takes them slab by slab.

use std::ops::Range;

use ndarray::{Array3, ArrayView4, Axis, Slice};
use nnunet_image::{BoundingBox, LabelMap};

use super::place::{Canvas, Placement};
use super::shelf::Shelf;
use super::{Export, Grid};
use crate::InferError;
use crate::logits::Logits;

/// Bytes of a slab, about.
const SLAB: usize = 32 << 20;

/// Takes the probabilities `(channel, z, y, x)` of the next planes of the image as read.
pub type TakeSlab<'a> = dyn FnMut(ArrayView4<'_, f32>) -> Result<(), InferError> + 'a;

/// Logits of a box of the network's grid.
pub(crate) enum Held {
    Memory(Logits, BoundingBox),
    /// Where results are written alone.
    #[cfg_attr(not(feature = "npz"), allow(dead_code))]
    File(Shelf),
}

impl Export<'_> {
    /// Planes of the image as read that are computed together.
    fn slab_planes(&self) -> usize {
        let [_, y, x] = self.placement.original_shape();
        let plane = self.rules.num_heads() * y * x * size_of::<f32>();
        (SLAB / plane.max(1)).max(1)
    }

    /// Bytes that [`Export::stream`] needs beside logits and labels: a slab, and as much for whoever takes it.
    pub(crate) fn stream_bytes(&self) -> usize {
        let [z, y, x] = self.placement.original_shape();
        2 * self.rules.num_heads() * self.slab_planes().min(z) * y * x * size_of::<f32>()
    }

    /// The segmentation, while `take` is handed the probabilities in slabs along the image's first axis, whatever axis that
    /// is in the network's grid.
    ///
    /// `inside` is what of the cropped image is known, with its logits; the rest is background.
    ///
    /// # Errors
    /// Logits that do not fit, or what `take` returns.
    pub(crate) fn stream(
        &self,
        inside: Option<(BoundingBox, Held)>,
        take: &mut TakeSlab<'_>,
    ) -> Result<LabelMap, InferError> {
        self.stream_by(self.slab_planes(), inside, take)
    }

    fn stream_by(
        &self,
        planes: usize,
        inside: Option<(BoundingBox, Held)>,
        take: &mut TakeSlab<'_>,
    ) -> Result<LabelMap, InferError> {
        self.placement.check()?;
        let shape = self.placement.original_shape();
        let axis = self.placement.transpose.iter().position(|&axis| axis == 0).unwrap_or(0);
        let (inside, grid) = self.at_hand(inside)?;
        let mut labels = Array3::zeros(shape);
        let mut canvas: Option<(usize, Canvas)> = None;
        for start in (0..shape[0]).step_by(planes) {
            let range = start..(start + planes).min(shape[0]);
            let placement = self.placement.slab(axis, range.clone());
            let mut slab = match canvas.take() {
                Some((planes, mut canvas)) if planes == range.len() => {
                    canvas.clear(self.decision());
                    canvas
                }
                _ => Canvas::new(&placement, self.rules.num_heads(), self.decision(), true)?,
            };
            if let Some((whole, held)) = &inside
                && let Some(out) = self.share(whole, axis, &range)
            {
                self.put_slab(&mut slab, held, &grid, out, (axis, range.start))?;
            }
            if let Some(probabilities) = &slab.probabilities {
                take(probabilities.view())?;
            }
            labels.slice_axis_mut(Axis(0), Slice::from(range.clone())).assign(&slab.labels);
            canvas = Some((range.len(), slab));
        }
        Ok(LabelMap { data: labels, geometry: self.geometry.clone() })
    }

    /// Logits and the grid that leads from them to the cropped image; where rows cannot be resampled one by one, the logits
    /// are resampled as a whole.
    fn at_hand(
        &self,
        inside: Option<(BoundingBox, Held)>,
    ) -> Result<(Option<(BoundingBox, Held)>, Grid), InferError> {
        match (&self.grid, inside) {
            (Some(grid), inside) => Ok((inside, grid.clone())),
            (None, Some((whole, Held::Memory(logits, _)))) => {
                let (logits, grid) = self.resampled(&logits)?;
                let low = BoundingBox { start: [0; 3], end: self.cropped };
                Ok((Some((whole, Held::Memory(logits, low))), grid))
            }
            (None, _) => Ok((None, Grid::identity(self.cropped))),
        }
    }

    /// What of a box of the cropped image lies in a range of planes of the image as read.
    fn share(&self, whole: &BoundingBox, axis: usize, planes: &Range<usize>) -> Option<BoundingBox> {
        let first = self.placement.bbox.start[axis];
        let mut out = *whole;
        out.start[axis] = out.start[axis].max(planes.start.saturating_sub(first));
        out.end[axis] = out.end[axis].min(planes.end.saturating_sub(first));
        (0..3).all(|axis| out.start[axis] < out.end[axis]).then_some(out)
    }

    fn put_slab(
        &self,
        slab: &mut Canvas,
        held: &Held,
        grid: &Grid,
        out: BoundingBox,
        (axis, first_plane): (usize, usize),
    ) -> Result<(), InferError> {
        let mut placement = self.placement.slab(axis, first_plane..first_plane + slab.labels.dim().0);
        placement.bbox = self.in_image(out);
        placement.bbox.start[axis] -= first_plane;
        placement.bbox.end[axis] -= first_plane;
        match held {
            Held::Memory(logits, low) => {
                let taps = grid.part(out, low.start);
                slab.fill(logits, &taps, grid.single, &placement, self.decision())
            }
            Held::File(shelf) => {
                let low = grid.needed(out);
                let logits = shelf.read(low)?;
                slab.fill(&logits, &grid.part(out, low.start), grid.single, &placement, self.decision())
            }
        }
    }
}

impl Placement {
    /// As if the image had these planes along `axis` only; the box is that of the whole.
    fn slab(&self, axis: usize, planes: Range<usize>) -> Self {
        let mut slab = self.clone();
        slab.shape[axis] = planes.len();
        slab.bbox.start[axis] = 0;
        slab.bbox.end[axis] = planes.len();
        slab
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, concatenate};
    use nnunet_fingerprint::DatasetJson;
    use nnunet_image::Geometry;
    use nnunet_plan::Plans;
    use nnunet_preprocess::CaseProperties;

    use super::*;
    use crate::export::Prediction;

    const DATASET: &str = r#"{"channel_names": {"0": "x"}, "labels": {"background": 0, "a": 1, "b": 2},
        "numTraining": 1, "file_ending": ".nii.gz"}"#;

    fn waves([z, y, x]: [usize; 3]) -> Logits {
        let wave = |(z, y, x, c): (usize, usize, usize, usize)| {
            ((z * 31 + y * 17 + x * 7 + c * 3) as f32 * 0.37).sin() * 4.0
        };
        Logits::from_channels_last(Array4::from_shape_fn((z, y, x, 3), wave))
    }

    /// A slab at a time, from memory and from a file that blocks were put into, is what the whole is at once: whichever axis
    /// of the network's grid the image's first one is, for rows and for functions that need the whole.
    #[test]
    fn slabs_are_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let rules = serde_json::from_str::<DatasetJson>(DATASET).unwrap().label_rules().unwrap();
        let mut plans: Plans =
            serde_json::from_str(include_str!("../../../train/tests/engine/plans.json")).unwrap();
        let mut configuration = plans.configuration("2d").unwrap();
        configuration.spacing = vec![1.0, 1.0, 1.0];
        let low = [6, 7, 5];
        for (transpose, order) in
            [([0, 1, 2], 1), ([2, 0, 1], 1), ([1, 2, 0], 1), ([1, 0, 2], 1), ([2, 0, 1], 3)]
        {
            plans.transpose_forward = transpose;
            configuration.resampling_fn_probabilities_kwargs.order = order;
            let (cropped, shape) = ([9, 8, 10], [11, 12, 13]);
            let properties = CaseProperties {
                geometry: Geometry::default(),
                spacing: [1.0; 3],
                shape_before_cropping: shape,
                bbox: BoundingBox { start: [1, 3, 2], end: [10, 11, 12] },
                shape_after_cropping: cropped,
                class_locations: Vec::new(),
            };
            let export = Export::new(&properties, &plans, &configuration, &rules, true, low).unwrap();
            assert_eq!(export.has_blocks(), order == 1);
            let whole = export.block(export.whole());
            let mut canvas = export.canvas().unwrap();
            export.fill(&mut canvas, &whole, &waves(low)).unwrap();
            let Prediction { labels, probabilities } = export.finish(canvas);
            let expected = probabilities.unwrap();
            for planes in [1, 3, 5, 100] {
                let in_memory = || Held::Memory(waves(low), whole.low);
                let in_file = || {
                    let shelf = Shelf::new(folder.path(), whole.low, 3, false).unwrap();
                    shelf.write(whole.low, &waves(low)).unwrap();
                    Held::File(shelf)
                };
                let held = if order == 1 { vec![in_memory(), in_file()] } else { vec![in_memory()] };
                for held in held {
                    let mut slabs = Vec::new();
                    let mut take = |slab: ArrayView4<'_, f32>| {
                        slabs.push(slab.to_owned());
                        Ok(())
                    };
                    let found = export.stream_by(planes, Some((whole.out, held)), &mut take).unwrap();
                    assert_eq!(found, labels);
                    let views: Vec<_> = slabs.iter().map(|slab| slab.view()).collect();
                    assert_eq!(concatenate(Axis(1), &views).unwrap(), expected, "{transpose:?} by {planes}");
                }
            }
            let mut background = 0.0;
            let mut take = |slab: ArrayView4<'_, f32>| {
                background += slab.index_axis(Axis(0), 0).sum();
                Ok(())
            };
            let found = export.stream_by(4, None, &mut take).unwrap();
            assert!(found.data.iter().all(|label| *label == 0));
            assert_eq!(background, (11 * 12 * 13) as f32);
        }
    }
}
