//! The inner loops of resampling: rows whose neighbours all exist, read without bounds checks.
//!
//! Every index comes from [`RowTables`], which only holds indices whose whole cell was checked against the shape;
//! the functions here check that the source has that shape. The safe counterpart is [`super::resample`]'s treatment
//! of border voxels; a property test holds them equal.
#![allow(unsafe_code)]

use super::affine::{FRACTION_BITS, Row};

/// Where the voxels of one row's interior read: index of the lower corner and fractions per axis.
#[derive(Debug, Default)]
pub(crate) struct RowTables {
    base: Vec<u32>,
    fraction: [Vec<f32>; 3],
    /// Shape that the indices were checked against.
    shape: [usize; 3],
    /// Whether z has no fractions, so that four corners decide.
    planar: bool,
}

/// The fraction of a coordinate as f32, 24 bits of it.
pub(super) fn fraction(coordinate: i64) -> f32 {
    fraction_of(coordinate as u32)
}

fn fraction_of(lower_half: u32) -> f32 {
    const SCALE: f32 = 1.0 / (1 << 24) as f32;
    (lower_half >> 8) as i32 as f32 * SCALE
}

impl RowTables {
    /// Fills the tables for the voxels `first..end` of `row` in a volume of `shape`.
    ///
    /// False, with empty tables, if the range is empty or a cell would leave the volume.
    pub(super) fn fill(&mut self, row: &Row, (first, end): (usize, usize), shape: [usize; 3]) -> bool {
        self.planar = row.is_planar();
        self.shape = shape;
        self.base.clear();
        self.fraction.iter_mut().for_each(Vec::clear);
        if first >= end || !fits(row, first, end, shape, self.planar) {
            return false;
        }
        let start = row.at(first);
        self.base.resize(end - first, 0);
        let [mut z, mut y, mut x] = start.map(|c| c as u64);
        let [step_z, step_y, step_x] = row.step.map(|c| c as u64);
        let (height, width) = (shape[1] as u32, shape[2] as u32);
        let index = |c: u64| (c >> FRACTION_BITS) as u32;
        for base in &mut self.base {
            *base = (index(z) * height + index(y)) * width + index(x);
            z = z.wrapping_add(step_z);
            y = y.wrapping_add(step_y);
            x = x.wrapping_add(step_x);
        }
        for axis in usize::from(self.planar)..3 {
            // Fractions are the lower half of the coordinates, whose sums do not depend on the upper half.
            let (start, step) = (start[axis] as u32, row.step[axis] as u32);
            let at = move |j: u32| start.wrapping_add(j.wrapping_mul(step));
            self.fraction[axis].extend((0..(end - first) as u32).map(|j| fraction_of(at(j))));
        }
        true
    }

    /// Distances from a corner to the next row and plane, after checking that source and target are those of the
    /// tables. Without fractions in z there is no need of another plane.
    fn strides(&self, source: usize, target: usize) -> (usize, usize) {
        assert_eq!(
            source,
            self.shape.iter().product::<usize>(),
            "the source is not the volume of the tables"
        );
        assert_eq!(target, self.base.len(), "the target is not the row of the tables");
        (self.shape[2], self.shape[1] * self.shape[2])
    }
}

/// Whether all corners of the cells of voxels `first..end` are voxels of `shape`.
///
/// Coordinates are linear along a row, so its two ends decide.
fn fits(row: &Row, first: usize, end: usize, shape: [usize; 3], planar: bool) -> bool {
    let voxels = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    voxels.is_some_and(|voxels| u32::try_from(voxels).is_ok())
        && [row.at(first), row.at(end - 1)].iter().all(|at| {
            (0..3).all(|axis| {
                let upper = i64::from(!(planar && axis == 0));
                at[axis] >= 0 && (at[axis] >> FRACTION_BITS) + upper < shape[axis] as i64
            })
        })
}

/// Interpolates one row of an image.
///
/// # Panics
/// If `source` or `target` do not have the lengths that the tables were filled for.
pub(super) fn image(source: &[f32], tables: &RowTables, target: &mut [f32]) {
    let (row, plane) = tables.strides(source.len(), target.len());
    // SAFETY: `fill` checked that for each base index b the voxels b, b + 1, b + row, b + row + 1, and the same one
    // plane on where z has fractions, are voxels of a volume of `tables.shape`; `strides` checked that this is the
    // source's length.
    let at = |index: usize| unsafe { *source.get_unchecked(index) };
    let mix = |a: f32, b: f32, f: f32| a + (b - a) * f;
    let flat = |b: usize, fy: f32, fx: f32| {
        mix(mix(at(b), at(b + 1), fx), mix(at(b + row), at(b + row + 1), fx), fy)
    };
    let [fz, fy, fx] = &tables.fraction;
    let voxels = target.iter_mut().zip(&tables.base).zip(fy.iter().zip(fx));
    if tables.planar {
        for ((value, &b), (&fy, &fx)) in voxels {
            *value = flat(b as usize, fy, fx);
        }
    } else {
        for (((value, &b), (&fy, &fx)), &fz) in voxels.zip(fz) {
            let b = b as usize;
            *value = mix(flat(b, fy, fx), flat(b + plane, fy, fx), fz);
        }
    }
}

/// Finds the labels of one row: where all corners agree that label, otherwise what `decide` says about voxel `j` of
/// the row and its corners.
///
/// # Panics
/// If `source` or `target` do not have the lengths that the tables were filled for.
pub(super) fn labels(
    source: &[i16],
    tables: &RowTables,
    target: &mut [i16],
    decide: impl Fn(usize, &[i16; 8]) -> i16,
) {
    let (row, plane) = tables.strides(source.len(), target.len());
    let next = if tables.planar { 0 } else { plane };
    // SAFETY: as in `image`; without fractions in z the second plane is the first again.
    let at = |index: usize| unsafe { *source.get_unchecked(index) };
    for (j, (value, &b)) in target.iter_mut().zip(&tables.base).enumerate() {
        let b = b as usize;
        let pair = |i: usize| [at(i), at(i + 1)];
        let pairs = [pair(b), pair(b + row), pair(b + next), pair(b + next + row)];
        let [[first, _], ..] = pairs;
        let same = [first, first];
        *value = if pairs[0] == same && pairs[1] == same && pairs[2] == same && pairs[3] == same {
            first
        } else {
            let mut corners = [0; 8];
            corners.as_chunks_mut().0.copy_from_slice(&pairs);
            decide(j, &corners)
        };
    }
}
