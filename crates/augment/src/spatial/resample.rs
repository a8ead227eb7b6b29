use super::affine::{Affine, FRACTION_BITS, ONE, Row};
use super::labels::{corner_weights, vote};
use super::rows::{self, RowTables};
use super::window::Window;

/// Label of everything outside the loaded patch.
pub(super) const OUTSIDE: i16 = -1;

/// One channel-first array: its voxels and shape.
#[derive(Clone, Copy)]
pub(crate) struct Volume<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) shape: [usize; 3],
}

/// Resamples all channels of image and labels along `affine`, row by row.
///
/// `image` and `labels` hold the voxels of `window`; `patch` is the shape of the targets.
pub(crate) fn resample(
    affine: &Affine,
    window: &Window,
    patch: [usize; 3],
    (image, image_target): (&[f32], &mut [f32]),
    (labels, labels_target): (&[i16], &mut [i16]),
    tables: &mut RowTables,
) {
    let voxels: usize = window.shape.iter().product();
    let count: usize = patch.iter().product();
    let width = patch[2];
    for (z, y) in (0..patch[0]).flat_map(|z| (0..patch[1]).map(move |y| (z, y))) {
        let index = (z * patch[1] + y) * width;
        let mut walk = Walk::new(affine.row(z, y), window, width);
        if !tables.fill(&walk.row, walk.interior, window.shape) {
            walk.interior = (walk.touching.0, walk.touching.0);
        }
        for (source, target) in image.chunks_exact(voxels).zip(image_target.chunks_exact_mut(count)) {
            let source = Volume { data: source, shape: window.shape };
            image_row(&walk, source, tables, &mut target[index..index + width]);
        }
        for (source, target) in labels.chunks_exact(voxels).zip(labels_target.chunks_exact_mut(count)) {
            let source = Volume { data: source, shape: window.shape };
            label_row(&walk, source, tables, &mut target[index..index + width]);
        }
    }
}

/// One row and the ranges of it that need different care.
struct Walk {
    /// Coordinates relative to the window.
    row: Row,
    /// Parity of the window's start: rounding to even needs the coordinates of the loaded patch.
    odd: [bool; 3],
    /// Voxels with at least one neighbour in the window.
    touching: (usize, usize),
    /// Voxels all of whose neighbours are in the window; inside `touching`.
    interior: (usize, usize),
}

impl Walk {
    fn new(mut row: Row, window: &Window, width: usize) -> Self {
        let (mut touching, mut interior) = ((0, width), (0, width));
        for axis in 0..3 {
            row.start[axis] -= window.start[axis] as i64 * ONE;
            let length = window.shape[axis] as i64;
            let last = if axis == 0 && row.is_planar() { length } else { length - 1 };
            touching = overlap(touching, row.within(axis, 1 - ONE, length * ONE, width));
            interior = overlap(interior, row.within(axis, 0, last * ONE, width));
        }
        Self { row, odd: window.start.map(|start| start % 2 == 1), touching, interior }
    }

    /// Voxels with some but not all neighbours.
    fn border(&self) -> impl Iterator<Item = usize> + use<> {
        (self.touching.0..self.interior.0).chain(self.interior.1..self.touching.1)
    }
}

fn overlap(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    let first = a.0.max(b.0);
    (first, a.1.min(b.1).max(first))
}

fn image_row(walk: &Walk, source: Volume<'_, f32>, tables: &RowTables, target: &mut [f32]) {
    target[..walk.touching.0].fill(0.0);
    target[walk.touching.1..].fill(0.0);
    for j in walk.border() {
        let cell = Cell::new(walk.row.at(j), walk.odd);
        let corners = cell.corners(source, 0.0);
        target[j] = corners.iter().zip(cell.weights).map(|(v, w)| v * w).sum();
    }
    rows::image(source.data, tables, &mut target[walk.interior.0..walk.interior.1]);
}

fn label_row(walk: &Walk, source: Volume<'_, i16>, tables: &mut RowTables, target: &mut [i16]) {
    target[..walk.touching.0].fill(OUTSIDE);
    target[walk.touching.1..].fill(OUTSIDE);
    for j in walk.border() {
        let cell = Cell::new(walk.row.at(j), walk.odd);
        target[j] = vote(&cell.corners(source, OUTSIDE), &cell.weights, cell.nearest);
    }
    let first = walk.interior.0;
    let decide = |j: usize, labels: &[i16; 8]| {
        let cell = Cell::new(walk.row.at(first + j), walk.odd);
        vote(labels, &cell.weights, cell.nearest)
    };
    rows::labels(source.data, tables, &mut target[first..walk.interior.1], decide);
}

/// The eight voxels around a coordinate.
pub(super) struct Cell {
    low: [i64; 3],
    pub(super) weights: [f32; 8],
    /// Index of the nearest corner, ties to the even voxel.
    pub(super) nearest: usize,
}

impl Cell {
    pub(super) fn new(at: [i64; 3], odd: [bool; 3]) -> Self {
        let low = at.map(|c| c >> FRACTION_BITS);
        let fraction = at.map(|c| c & (ONE - 1));
        let upper = [0, 1, 2].map(|k| {
            let is_odd = (low[k] & 1 == 1) != odd[k];
            fraction[k] > ONE / 2 || (fraction[k] == ONE / 2 && is_odd)
        });
        let nearest = usize::from(upper[0]) * 4 + usize::from(upper[1]) * 2 + usize::from(upper[2]);
        Self { low, weights: corner_weights(fraction.map(rows::fraction)), nearest }
    }

    /// Values of the corners, `outside` where there is no voxel.
    pub(super) fn corners<T: Copy>(&self, source: Volume<'_, T>, outside: T) -> [T; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|corner| self.corner(corner, source, outside))
    }

    /// Value of the nearest corner.
    pub(super) fn nearest_value<T: Copy>(&self, source: Volume<'_, T>, outside: T) -> T {
        self.corner(self.nearest, source, outside)
    }

    fn corner<T: Copy>(&self, corner: usize, source: Volume<'_, T>, outside: T) -> T {
        let [depth, height, width] = source.shape.map(|length| length as i64);
        let corner = corner as i64;
        let [z, y, x] = [self.low[0] + corner / 4, self.low[1] + corner / 2 % 2, self.low[2] + corner % 2];
        if (0..depth).contains(&z) && (0..height).contains(&y) && (0..width).contains(&x) {
            source.data[((z * height + y) * width + x) as usize]
        } else {
            outside
        }
    }
}
