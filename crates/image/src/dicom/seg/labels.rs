use std::collections::BTreeMap;

use ndarray::Array3;

use super::DicomSeg;
use super::read::Kind;
use crate::dicom::geometry::{cross, dot, minus};
use crate::dicom::place_labels;
use crate::dicom::slices::Slice;
use crate::{Geometry, ImageError, LabelMap};

/// How far a slice may be from its place in the stack, as a part of the distance of slices.
const APART: f64 = 0.1;
/// Two frames closer than this many millimetres are in one slice.
const SAME: f64 = 2e-3;
/// Slices that were left out because they are empty may not make the label map larger than this, in voxels.
const MOST_VOXELS: usize = 1 << 28;

impl DicomSeg {
    /// The label map on the smallest grid that holds all frames, slices along their normal.
    ///
    /// A voxel of several segments of a BINARY file is an error; in a FRACTIONAL file the largest fraction wins, the background
    /// having what the segments leave.
    ///
    /// # Errors
    /// Segments that overlap, values that are no segment, or slices that do not make an even stack.
    pub fn to_labels(&self) -> Result<LabelMap, ImageError> {
        let (geometry, places, depth) = self.stack()?;
        let first = &self.frames[0].0;
        let (rows, columns) = (first.rows as usize, first.columns as usize);
        let mut data = Array3::<i16>::zeros((depth, rows, columns));
        let mut by_slice = BTreeMap::<usize, Vec<usize>>::new();
        for (frame, &place) in places.iter().enumerate() {
            by_slice.entry(place).or_default().push(frame);
        }
        for (z, frames) in by_slice {
            let mut slice = data.index_axis_mut(ndarray::Axis(0), z);
            let Some(out) = slice.as_slice_mut() else { continue };
            match self.kind {
                Kind::Binary => self.binary(&frames, out)?,
                Kind::Fractional(most) => self.fractional(&frames, most, out)?,
                Kind::Labels => self.numbered(&frames, out)?,
            }
        }
        Ok(LabelMap { data, geometry })
    }

    /// The label map on the grid of an image; what the file does not cover is background.
    ///
    /// # Errors
    /// As [`DicomSeg::to_labels`], or voxels other than those of the image.
    pub fn to_labels_on(&self, geometry: &Geometry, shape: [usize; 3]) -> Result<LabelMap, ImageError> {
        place_labels(&self.to_labels()?, geometry, shape)
            .map_err(|error| ImageError::format(&self.path, error.to_string()))
    }

    /// Frame of the stack, slice of each frame, number of slices.
    fn stack(&self) -> Result<(Geometry, Vec<usize>, usize), ImageError> {
        let wrong = |reason: String| ImageError::format(&self.path, format!("(0020,0032) {reason}"));
        let first = &self.frames[0].0;
        let normal = cross(first.axes[0], first.axes[1]);
        let along: Vec<f64> = self.frames.iter().map(|(slice, _)| dot(slice.position, normal)).collect();
        let mut sorted = along.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup_by(|b, a| *b - *a <= SAME);
        let nearest = sorted.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        // Slices may be thinner than they are apart, so their thickness says nothing where there are several.
        let said = match nearest.is_infinite() {
            true => first.thickness,
            false => first.between.filter(|said| even(&sorted, *said)),
        };
        let step = said.or(Some(nearest).filter(|step| step.is_finite())).ok_or_else(|| {
            wrong(
                "Image Position (Patient): a single slice without (0018,0088) Spacing Between Slices".into(),
            )
        })?;
        if !even(&sorted, step) {
            let reason =
                format!("Image Position (Patient): slices do not stand {step:.4} mm apart, or a multiple");
            return Err(wrong(reason));
        }
        let lowest = (0..along.len()).min_by(|&a, &b| along[a].total_cmp(&along[b])).unwrap_or_default();
        let origin = self.frames[lowest].0.position;
        let (rows, columns) = (first.rows as usize, first.columns as usize);
        let depth = (((sorted[sorted.len() - 1] - sorted[0]) / step).round() as usize).saturating_add(1);
        let whole = rows.saturating_mul(columns).saturating_mul(depth);
        if depth > sorted.len() && whole > MOST_VOXELS {
            return Err(wrong(format!(
                "Image Position (Patient): {depth} slices, {} are there",
                sorted.len()
            )));
        }
        for (slice, _) in &self.frames {
            let way = minus(slice.position, origin);
            let axial = dot(way, normal);
            let side: [f64; 3] = std::array::from_fn(|i| way[i] - axial * normal[i]);
            if dot(side, side).sqrt() > APART * first.spacing[0].min(first.spacing[1]) {
                return Err(wrong("Image Position (Patient): slices are shifted sideways".to_owned()));
            }
        }
        let columns = [first.axes[0], first.axes[1], normal];
        let geometry = Geometry {
            spacing: [step, first.spacing[0], first.spacing[1]],
            origin,
            direction: std::array::from_fn(|row| columns.map(|column| column[row])),
            ..Geometry::default()
        };
        let places = along.iter().map(|at| ((at - sorted[0]) / step).round() as usize).collect();
        Ok((geometry, places, depth))
    }

    fn binary(&self, frames: &[usize], out: &mut [i16]) -> Result<(), ImageError> {
        for &frame in frames {
            let Some(segment) = self.frames[frame].1 else { continue };
            let label = self.segments[segment].label;
            let start = frame * out.len();
            for (number, value) in out.iter_mut().enumerate() {
                let at = start + number;
                if self.bits.get(at / 8).is_none_or(|byte| byte >> (at % 8) & 1 == 0) {
                    continue;
                }
                if *value != 0 && *value != label {
                    let reason = format!(
                        "(0062,0013) Segments Overlap: labels {value} and {label} share pixel {number} of frame {}",
                        frame + 1
                    );
                    return Err(ImageError::format(&self.path, reason));
                }
                *value = label;
            }
        }
        Ok(())
    }

    fn frame(&self, slice: &Slice, each: usize) -> Result<Vec<f32>, ImageError> {
        let mut values = Vec::new();
        if let Some(frames) = &self.values {
            frames.append(slice, each, &mut values)?;
        }
        Ok(values)
    }

    fn fractional(&self, frames: &[usize], most: u16, out: &mut [i16]) -> Result<(), ImageError> {
        let mut left = vec![f32::from(most); out.len()];
        let mut best = vec![0f32; out.len()];
        let mut in_order = frames.to_vec();
        in_order.sort_by_key(|&frame| self.frames[frame].1);
        for frame in in_order {
            let (slice, segment) = &self.frames[frame];
            let Some(segment) = segment else { continue };
            let values = self.frame(slice, out.len())?;
            for (number, value) in values.into_iter().enumerate() {
                left[number] -= value;
                if value > best[number] {
                    best[number] = value;
                    out[number] = self.segments[*segment].label;
                }
            }
        }
        for (number, value) in out.iter_mut().enumerate() {
            if left[number] >= best[number] {
                *value = 0;
            }
        }
        Ok(())
    }

    fn numbered(&self, frames: &[usize], out: &mut [i16]) -> Result<(), ImageError> {
        for &frame in frames {
            let numbers = self.frame(&self.frames[frame].0, out.len())?;
            for (value, number) in out.iter_mut().zip(numbers) {
                if number == 0.0 {
                    continue;
                }
                let segment = self.numbers.iter().position(|&known| f32::from(known) == number);
                let segment = segment.ok_or_else(|| {
                    let known = &self.numbers;
                    let reason = format!(
                        "(7FE0,0010) Pixel Data: frame {}: expected one of {known:?}, found {number}",
                        frame + 1
                    );
                    ImageError::format(&self.path, reason)
                })?;
                *value = self.segments[segment].label;
            }
        }
        Ok(())
    }
}

/// Whether all distances from the first are multiples of a step.
fn even(sorted: &[f64], step: f64) -> bool {
    sorted.iter().all(|at| {
        let times = (at - sorted[0]) / step;
        (times - times.round()).abs() <= APART
    })
}
