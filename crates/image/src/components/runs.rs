//! Runs of equal labels and the components that they form.

use std::ops::Range;

use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use super::Connectivity;
use super::forest::Forest;

/// Neighbouring voxels of a row with the same label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) start: u32,
    /// One past the last.
    pub(super) end: u32,
    /// Number of the component, from 0 on.
    pub(super) component: u32,
    label: i16,
}

/// All runs of an array, row by row.
pub(super) struct Runs {
    runs: Vec<Run>,
    /// Where the runs of each row begin, and the end of the last.
    rows: Vec<usize>,
    height: usize,
    /// Voxels of each component.
    pub(super) sizes: Vec<u64>,
}

/// Rows before a row that may touch it, as steps along z and y, and how far runs reach beyond their ends towards them.
const NEIGHBOURS: [(isize, isize); 4] = [(0, -1), (-1, 0), (-1, -1), (-1, 1)];

impl Runs {
    /// Runs of the voxels whose `value` is not 0, connected where it is the same.
    pub(super) fn new<T: Copy + Send + Sync>(
        array: ArrayView3<'_, T>,
        value: impl Fn(T) -> i16 + Sync,
        connectivity: Connectivity,
    ) -> Self {
        let (depth, height, _) = array.dim();
        let planes: Vec<(Vec<Run>, Vec<usize>)> =
            array.axis_iter(Axis(0)).into_par_iter().map(|plane| plane_runs(plane, &value)).collect();
        let total: usize = planes.iter().map(|(runs, _)| runs.len()).sum();
        let mut all = Self { runs: Vec::with_capacity(total), rows: vec![0], height, sizes: Vec::new() };
        for (runs, ends) in planes {
            let before = all.runs.len();
            all.rows.extend(ends.iter().map(|end| before + end));
            all.runs.extend(runs);
        }
        all.connect(depth, connectivity);
        all
    }

    /// The runs of a plane with the numbers of their rows.
    pub(super) fn of_plane(&self, z: usize) -> impl Iterator<Item = (usize, Run)> {
        let rows = z * self.height..(z + 1) * self.height;
        rows.flat_map(move |row| {
            self.runs[self.row(row)].iter().map(move |run| (row - z * self.height, *run))
        })
    }

    fn row(&self, row: usize) -> Range<usize> {
        self.rows[row]..self.rows[row + 1]
    }

    /// Numbers the components: slabs of planes on their own, then the seams between them.
    fn connect(&mut self, depth: usize, connectivity: Connectivity) {
        let slabs = rayon::current_num_threads().clamp(1, depth.max(1));
        let bounds: Vec<usize> = (0..=slabs).map(|i| i * depth / slabs).collect();
        let forests: Vec<Vec<u32>> = bounds
            .par_windows(2)
            .map(|slab| {
                let first = self.rows[slab[0] * self.height];
                let last = self.rows[slab[1] * self.height];
                let mut forest = Forest::new(last - first);
                for z in slab[0]..slab[1] {
                    self.join_plane(z, slab[0], first, connectivity, &mut forest);
                }
                forest.0.iter_mut().for_each(|parent| *parent += first as u32);
                forest.0
            })
            .collect();
        let mut forest = Forest(forests.concat());
        for &z in &bounds[1..slabs] {
            self.join_seam(z, connectivity, &mut forest);
        }
        self.number(&mut forest);
    }

    /// Joins the runs of a plane to those before them, as far back as plane `lowest`; runs are numbered from `first` on.
    fn join_plane(
        &self,
        z: usize,
        lowest: usize,
        first: usize,
        connectivity: Connectivity,
        forest: &mut Forest,
    ) {
        for y in 0..self.height {
            for (dz, dy) in NEIGHBOURS {
                if z as isize + dz >= lowest as isize {
                    self.join_rows([z, y], (dz, dy), first, connectivity, forest);
                }
            }
        }
    }

    /// Joins the runs of a plane to those of the plane before it.
    fn join_seam(&self, z: usize, connectivity: Connectivity, forest: &mut Forest) {
        for y in 0..self.height {
            for (dz, dy) in NEIGHBOURS.into_iter().filter(|(dz, _)| *dz != 0) {
                self.join_rows([z, y], (dz, dy), 0, connectivity, forest);
            }
        }
    }

    fn join_rows(
        &self,
        [z, y]: [usize; 2],
        (dz, dy): (isize, isize),
        first: usize,
        connectivity: Connectivity,
        forest: &mut Forest,
    ) {
        let moved = usize::from(dz != 0) + usize::from(dy != 0);
        let reach = match (connectivity, moved) {
            (Connectivity::Faces, 1) | (Connectivity::Edges, 2) => 0,
            (Connectivity::Edges, 1) | (Connectivity::Corners, _) => 1,
            _ => return,
        };
        let Some(other) = y.checked_add_signed(dy).filter(|other| *other < self.height) else { return };
        let here = self.row(z * self.height + y);
        let there = self.row(z.saturating_add_signed(dz) * self.height + other);
        let (mut i, mut j) = (here.start, there.start);
        while i < here.end && j < there.end {
            let (a, b) = (self.runs[i], self.runs[j]);
            let touch =
                |a: Run, b: Run| a.label == b.label && a.start < b.end + reach && b.start < a.end + reach;
            if touch(a, b) {
                forest.join((i - first) as u32, (j - first) as u32);
            }
            // The run that ends first touches nothing behind the other one. Where both end together, each may still reach
            // the corner of the one that comes next.
            if a.end < b.end {
                i += 1;
            } else {
                if a.end == b.end && i + 1 < here.end && touch(self.runs[i + 1], b) {
                    forest.join((i + 1 - first) as u32, (j - first) as u32);
                }
                j += 1;
            }
        }
    }

    /// Gives each set a number in the order of its first run, and measures it.
    fn number(&mut self, forest: &mut Forest) {
        let mut numbers = vec![0u32; self.runs.len()];
        for (at, run) in self.runs.iter_mut().enumerate() {
            let parent = forest.0[at];
            if parent as usize == at {
                numbers[at] = self.sizes.len() as u32;
                self.sizes.push(0);
            } else {
                // The parent comes before and has its number already.
                numbers[at] = numbers[parent as usize];
            }
            run.component = numbers[at];
            self.sizes[run.component as usize] += u64::from(run.end - run.start);
        }
    }
}

/// The runs of a plane, and where those of each row end.
fn plane_runs<T: Copy>(
    plane: ndarray::ArrayView2<'_, T>,
    value: &impl Fn(T) -> i16,
) -> (Vec<Run>, Vec<usize>) {
    let (mut runs, mut ends) = (Vec::new(), Vec::with_capacity(plane.nrows()));
    for row in plane.outer_iter() {
        match row.as_slice() {
            Some(row) => row_runs(row.iter().map(|v| value(*v)), &mut runs),
            None => row_runs(row.iter().map(|v| value(*v)), &mut runs),
        }
        ends.push(runs.len());
    }
    (runs, ends)
}

fn row_runs(values: impl Iterator<Item = i16>, runs: &mut Vec<Run>) {
    let (mut label, mut start, mut x) = (0, 0, 0);
    for value in values {
        if value != label {
            if label != 0 {
                runs.push(Run { start, end: x, component: 0, label });
            }
            (label, start) = (value, x);
        }
        x += 1;
    }
    if label != 0 {
        runs.push(Run { start, end: x, component: 0, label });
    }
}
