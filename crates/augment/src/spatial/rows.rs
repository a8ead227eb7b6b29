//! The inner loops of resampling: rows whose neighbours all exist, read without bounds checks.
//!
//! Every index comes from [`RowTables`], which only holds indices whose whole cell was checked against the shape;
//! the functions here check that the source has that shape. The safe counterpart is [`super::resample`]'s treatment
//! of border voxels; a property test holds them equal.
#![allow(unsafe_code)]

use super::affine::{FRACTION_BITS, Row};
use crate::simd::{Kernel, widest};

/// Where the voxels of one row's interior read: index of the lower corner and fractions per axis.
#[derive(Debug, Default)]
pub(crate) struct RowTables {
    base: Vec<u32>,
    fraction: [Vec<f32>; 3],
    /// Shape that the indices were checked against.
    shape: [usize; 3],
    /// Whether z has no fractions, so that four corners decide.
    planar: bool,
    /// For each voxel whether its corners disagree about the label.
    mixed: Vec<bool>,
}

/// The fraction of a coordinate as f32, 24 bits of it.
pub(super) fn fraction(coordinate: i64) -> f32 {
    fraction_of(coordinate as u32)
}

#[inline(always)]
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
        widest(Fill { tables: self, row, first, count: end - first });
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

/// The loop of [`RowTables::fill`].
struct Fill<'a> {
    tables: &'a mut RowTables,
    row: &'a Row,
    first: usize,
    count: usize,
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { tables, row, first, count } = self;
        let start = row.at(first);
        tables.base.resize(count, 0);
        let [z, y, x] = start.map(|c| c as u64);
        let [step_z, step_y, step_x] = row.step.map(|c| c as u64);
        let (height, width) = (tables.shape[1] as u32, tables.shape[2] as u32);
        let index = |c: u64| (c >> FRACTION_BITS) as u32;
        for (j, base) in (0u64..).zip(&mut tables.base) {
            let at = |start: u64, step: u64| index(start.wrapping_add(j.wrapping_mul(step)));
            *base = (at(z, step_z) * height + at(y, step_y)) * width + at(x, step_x);
        }
        for axis in usize::from(tables.planar)..3 {
            // Fractions are the lower half of the coordinates, whose sums do not depend on the upper half.
            let (start, step) = (start[axis] as u32, row.step[axis] as u32);
            tables.fraction[axis].resize(count, 0.0);
            for (j, fraction) in (0u32..).zip(&mut tables.fraction[axis]) {
                *fraction = fraction_of(start.wrapping_add(j.wrapping_mul(step)));
            }
        }
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
    widest(Interpolate { source, tables, target, row, plane });
}

/// The loop of [`image`], whose checks it relies on.
struct Interpolate<'a> {
    source: &'a [f32],
    tables: &'a RowTables,
    target: &'a mut [f32],
    row: usize,
    plane: usize,
}

impl Kernel for Interpolate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { source, tables, target, row, plane } = self;
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
}

/// Finds the labels of one row: where all corners agree that label, otherwise what `decide` says about voxel `j` of
/// the row and its corners.
///
/// # Panics
/// If `source` or `target` do not have the lengths that the tables were filled for.
pub(super) fn labels(
    source: &[i16],
    tables: &mut RowTables,
    target: &mut [i16],
    decide: impl Fn(usize, &[i16; 8]) -> i16,
) {
    let (row, plane) = tables.strides(source.len(), target.len());
    // Without fractions in z the second plane is the first again.
    let next = if tables.planar { 0 } else { plane };
    tables.mixed.resize(target.len(), false);
    let RowTables { base, mixed, .. } = tables;
    if !widest(Agree { source, base, mixed, target, row, next }) {
        return;
    }
    for ((j, value), &b) in target.iter_mut().enumerate().zip(&*base).filter(|((j, _), _)| mixed[*j]) {
        let b = b as usize;
        let pair = |i: usize| [source[i], source[i + 1]];
        let mut corners = [0; 8];
        corners.as_chunks_mut().0.copy_from_slice(&[
            pair(b),
            pair(b + row),
            pair(b + next),
            pair(b + next + row),
        ]);
        *value = decide(j, &corners);
    }
}

/// The first loop of [`labels`], whose checks it relies on: the label of one corner, and whether others differ. True if
/// any voxel's corners do.
struct Agree<'a> {
    source: &'a [i16],
    base: &'a [u32],
    mixed: &'a mut [bool],
    target: &'a mut [i16],
    row: usize,
    next: usize,
}

impl Kernel for Agree<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { source, base, mixed, target, row, next } = self;
        // Two neighbours at once, whatever their order in memory.
        // SAFETY: as in `Interpolate`: b and b + 1 are voxels for each b that is asked for.
        let pair = |i: usize| unsafe { source.as_ptr().add(i).cast::<u32>().read_unaligned() };
        let mut any = 0;
        for ((&b, mixed), value) in base.iter().zip(mixed).zip(target) {
            let b = b as usize;
            let first = pair(b);
            let twice = (first & 0xffff) * 0x1_0001;
            let differ = (first ^ twice)
                | (pair(b + row) ^ twice)
                | (pair(b + next) ^ twice)
                | (pair(b + next + row) ^ twice);
            *mixed = differ != 0;
            any |= differ;
            // Either half will do: where it counts, they are equal.
            *value = first as u16 as i16;
        }
        any != 0
    }
}
