use ndarray::{Array3, Array4, ArrayViewMut, ArrayViewMut2, ArrayViewMut3, Axis, Dimension, RemoveAxis, s};
use nnunet_image::BoundingBox;
use rayon::prelude::*;

use super::decision::Decision;
use super::rows::Rows;
use super::taps::Taps;
use crate::InferError;
use crate::logits::{Logits, zeros};

/// Where the resampled logits belong in the image as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    /// Shape of the transposed image before cropping.
    pub(crate) shape: [usize; 3],
    /// What cropping kept of it.
    pub(crate) bbox: BoundingBox,
    /// Axis `i` of the transposed image is axis `transpose[i]` of the image as read.
    pub(crate) transpose: [usize; 3],
}

impl Placement {
    /// # Errors
    /// A box outside of the image, or axes that are no permutation.
    pub(super) fn check(&self) -> Result<(), InferError> {
        let mut axes = self.transpose;
        axes.sort_unstable();
        if axes != [0, 1, 2] {
            let text = format!("transpose_forward is {:?}, expected an order of 0, 1, 2", self.transpose);
            return Err(InferError::Model(text));
        }
        let BoundingBox { start, end } = self.bbox;
        if (0..3).any(|axis| start[axis] > end[axis] || end[axis] > self.shape[axis]) {
            return Err(InferError::Shape {
                what: "the box that cropping kept",
                found: end.to_vec(),
                expected: self.shape.to_vec(),
            });
        }
        Ok(())
    }

    /// Shape of the image as read.
    pub(super) fn original_shape(&self) -> [usize; 3] {
        let mut shape = [0; 3];
        (0..3).for_each(|axis| shape[self.transpose[axis]] = self.shape[axis]);
        shape
    }
}

/// The image as read, on which results are put block by block.
pub(crate) struct Canvas {
    /// Labels `(z, y, x)`.
    pub(crate) labels: Array3<i16>,
    /// If wanted, probabilities `(channel, z, y, x)`.
    pub(crate) probabilities: Option<Array4<f32>>,
}

impl Canvas {
    /// Outside of what cropping kept, labels are 0; the background's probability is 1 there, a region's 0.
    ///
    /// # Errors
    /// A placement that contradicts itself, or too little memory.
    pub(crate) fn new(
        placement: &Placement,
        channels: usize,
        decision: Decision<'_>,
        with_probabilities: bool,
    ) -> Result<Self, InferError> {
        placement.check()?;
        let shape = placement.original_shape();
        let probabilities =
            if with_probabilities { Some(background(channels, shape, decision)?) } else { None };
        Ok(Self { labels: Array3::zeros(shape), probabilities })
    }

    /// Resamples, decides and puts in place, plane by plane: beside logits and results only a few rows are held.
    ///
    /// `placement` says where the block that `taps` lead to lies; `single` that rows are not rounded to half precision.
    ///
    /// # Errors
    /// A block that does not fit its place.
    pub(crate) fn fill(
        &mut self,
        logits: &Logits,
        taps: &[Taps; 3],
        single: bool,
        placement: &Placement,
        decision: Decision<'_>,
    ) -> Result<(), InferError> {
        placement.check()?;
        let found = taps.each_ref().map(|taps| taps.lower.len());
        if found != placement.bbox.shape() {
            return Err(InferError::Shape {
                what: "the box that cropping kept",
                found: placement.bbox.shape().to_vec(),
                expected: found.to_vec(),
            });
        }
        let [a, b, c] = placement.transpose;
        let BoundingBox { start, end } = placement.bbox;
        let label_view = self.labels.view_mut().permuted_axes([a, b, c]);
        let label_view = label_view.slice_move(s![start[0]..end[0], start[1]..end[1], start[2]..end[2]]);
        let rows = rows_together(label_view.dim());
        let labels = pieces(label_view, Axis(0), Axis(0), rows);
        let begin = || Rows::new(logits, taps, single);
        match &mut self.probabilities {
            None => labels.into_par_iter().for_each_init(begin, |rows, (at, labels)| {
                label_rows(rows, at, labels, decision);
            }),
            Some(probabilities) => {
                let view = probabilities.view_mut().permuted_axes([0, a + 1, b + 1, c + 1]);
                let inside = s![.., start[0]..end[0], start[1]..end[1], start[2]..end[2]];
                let probabilities = pieces(view.slice_move(inside), Axis(1), Axis(1), rows);
                let both: Vec<_> = probabilities.into_iter().zip(labels).collect();
                both.into_par_iter().for_each_init(begin, |rows, ((at, probabilities), (_, labels))| {
                    probability_rows(rows, at, probabilities, labels, decision);
                });
            }
        }
        Ok(())
    }

    /// All background again.
    pub(super) fn clear(&mut self, decision: Decision<'_>) {
        self.labels.fill(0);
        if let Some(probabilities) = &mut self.probabilities {
            for (channel, mut values) in probabilities.outer_iter_mut().enumerate() {
                values.fill(if channel == 0 && decision == Decision::Labels { 1.0 } else { 0.0 });
            }
        }
    }
}

/// Rows that are a thread's work: planes, if there are enough of them.
fn rows_together((planes, rows, _): (usize, usize, usize)) -> usize {
    let tasks = 4 * rayon::current_num_threads();
    if planes >= tasks { rows.max(1) } else { (planes * rows).div_ceil(tasks).clamp(1, rows.max(1)) }
}

/// Plane and first row, and some rows from there on.
type Piece<'a, T, D> = ([usize; 2], ArrayViewMut<'a, T, D>);

/// Cuts a view into planes along one axis, and these into pieces of so many rows along an axis of theirs; each with its plane
/// and its first row.
fn pieces<T, D: RemoveAxis>(
    view: ArrayViewMut<'_, T, D>,
    plane_axis: Axis,
    row_axis: Axis,
    rows: usize,
) -> Vec<Piece<'_, T, D::Smaller>>
where
    D::Smaller: Dimension,
{
    let mut found = Vec::new();
    let mut planes = view;
    for z in 0..planes.len_of(plane_axis) {
        let (plane, rest) = planes.split_at(plane_axis, 1);
        planes = rest;
        let mut plane = plane.index_axis_move(plane_axis, 0);
        let mut y = 0;
        while plane.len_of(row_axis) > 0 {
            let taken = rows.min(plane.len_of(row_axis));
            let (piece, rest) = plane.split_at(row_axis, taken);
            plane = rest;
            found.push(([z, y], piece));
            y += taken;
        }
    }
    found
}

/// The probabilities where the image was cropped away.
fn background(
    channels: usize,
    [z, y, x]: [usize; 3],
    decision: Decision<'_>,
) -> Result<Array4<f32>, InferError> {
    let voxels = z * y * x;
    let mut values = zeros::<f32>(voxels.saturating_mul(channels))?;
    if decision == Decision::Labels {
        values[..voxels.min(channels * voxels)].fill(1.0);
    }
    let wrong = |e: ndarray::ShapeError| InferError::Model(e.to_string());
    Array4::from_shape_vec((channels, z, y, x), values).map_err(wrong)
}

fn label_rows(
    rows: &mut Rows<'_>,
    [z, y]: [usize; 2],
    mut labels: ArrayViewMut2<'_, i16>,
    decision: Decision<'_>,
) {
    let channels = rows.channels();
    for (i, mut line) in labels.outer_iter_mut().enumerate() {
        let voxels = rows.at(z, y + i).chunks_exact(channels);
        line.iter_mut().zip(voxels).for_each(|(label, logits)| *label = decision.label(logits));
    }
}

fn probability_rows(
    rows: &mut Rows<'_>,
    [z, y]: [usize; 2],
    mut probabilities: ArrayViewMut3<'_, f32>,
    mut labels: ArrayViewMut2<'_, i16>,
    decision: Decision<'_>,
) {
    let channels = rows.channels();
    // The voxels of a row one after the other, before its channels go apart.
    let mut row = vec![0.0; labels.dim().1 * channels];
    for (i, mut line) in labels.outer_iter_mut().enumerate() {
        let voxels = rows.at(z, y + i).chunks_exact(channels).zip(row.chunks_exact_mut(channels));
        for (label, (logits, values)) in line.iter_mut().zip(voxels) {
            decision.probabilities(logits, values);
            *label = decision.label_of_probabilities(values);
        }
        for (channel, mut line) in probabilities.index_axis_mut(Axis(1), i).outer_iter_mut().enumerate() {
            let values = row.iter().skip(channel).step_by(channels);
            line.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use nnunet_image::ResampleOptions;

    use super::super::taps::axis_taps;
    use super::*;

    fn place(
        logits: &Logits,
        taps: &[Taps; 3],
        placement: &Placement,
        decision: Decision<'_>,
        with_probabilities: bool,
    ) -> Result<(Array3<i16>, Option<Array4<f32>>), InferError> {
        let mut canvas = Canvas::new(placement, logits.channels, decision, with_probabilities)?;
        canvas.fill(logits, taps, false, placement, decision)?;
        Ok((canvas.labels, canvas.probabilities))
    }

    /// Logits that say label `x + 1`, cut out at (1, 0, 2) of a transposed image.
    fn example(transpose: [usize; 3]) -> (Logits, [Taps; 3], Placement) {
        let array = Array4::from_shape_fn((4, 2, 2, 3), |(c, _, _, x)| if c == x + 1 { 2.0 } else { -1.0 });
        let taps =
            axis_taps([2, 2, 3], [2, 2, 3], [1.0; 3], [1.0; 3], &ResampleOptions::probabilities()).unwrap();
        let bbox = BoundingBox { start: [1, 0, 2], end: [3, 2, 5] };
        (Logits::from_array(array.view()), taps, Placement { shape: [4, 3, 6], bbox, transpose })
    }

    #[test]
    fn labels_and_probabilities_land_where_they_were_cut_out() {
        for transpose in [[0, 1, 2], [2, 0, 1], [1, 0, 2], [1, 2, 0]] {
            let (logits, taps, placement) = example(transpose);
            let (labels, probabilities) = place(&logits, &taps, &placement, Decision::Labels, true).unwrap();
            let (plain, none) = place(&logits, &taps, &placement, Decision::Labels, false).unwrap();
            assert_eq!((&plain, none), (&labels, None));
            let probabilities = probabilities.unwrap();
            let transposed = labels.view().permuted_axes(transpose);
            assert_eq!(transposed.dim(), (4, 3, 6));
            let seen =
                probabilities.view().permuted_axes([0, transpose[0] + 1, transpose[1] + 1, transpose[2] + 1]);
            for ((z, y, x), &label) in transposed.indexed_iter() {
                let inside = (1..3).contains(&z) && y < 2 && (2..5).contains(&x);
                assert_eq!(label, if inside { x as i16 - 1 } else { 0 });
                let background = if inside { (-3.0_f32).exp() / (1.0 + 3.0 * (-3.0_f32).exp()) } else { 1.0 };
                assert!((seen[[0, z, y, x]] - background).abs() < 1e-6);
                let sum: f32 = (0..4).map(|c| seen[[c, z, y, x]]).sum();
                assert!((sum - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn regions_have_no_background() {
        let (logits, taps, placement) = example([0, 1, 2]);
        let decision = Decision::Regions(&[1, 7, 8, 9]);
        let (labels, probabilities) = place(&logits, &taps, &placement, decision, true).unwrap();
        assert_eq!(labels[[1, 0, 2]], 7);
        assert_eq!(labels[[0, 0, 2]], 0);
        let probabilities = probabilities.unwrap();
        assert_eq!(probabilities[[0, 0, 0, 0]], 0.0);
        assert!((probabilities[[0, 1, 0, 2]] - 1.0 / (1.0 + 1.0_f32.exp())).abs() < 1e-6);
    }

    #[test]
    fn boxes_that_do_not_fit_are_refused() {
        let (logits, taps, placement) = example([0, 1, 2]);
        let refused =
            |placement: Placement| place(&logits, &taps, &placement, Decision::Labels, false).unwrap_err();
        let outside = BoundingBox { start: [3, 0, 2], end: [5, 2, 5] };
        let error = refused(Placement { bbox: outside, ..placement.clone() }).to_string();
        assert!(error.contains("[5, 2, 5]") && error.contains("[4, 3, 6]"), "{error}");
        let small = BoundingBox { start: [1, 0, 2], end: [2, 2, 5] };
        let error = refused(Placement { bbox: small, ..placement.clone() }).to_string();
        assert!(error.contains("[1, 2, 3]") && error.contains("[2, 2, 3]"), "{error}");
        let error = refused(Placement { transpose: [0, 0, 1], ..placement }).to_string();
        assert!(error.contains("[0, 0, 1]"), "{error}");
    }
}
