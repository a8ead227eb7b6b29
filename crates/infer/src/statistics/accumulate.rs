//! Counts, places and moments of labels, slice by slice.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{ArrayView3, Axis};
use nnunet_fingerprint::Class;
use rayon::prelude::*;

/// Mean and spread of values, mergeable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) not_finite: u64,
}

impl Moments {
    const EMPTY: Self =
        Self { count: 0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, not_finite: 0 };

    /// Welford's update.
    fn add(&mut self, value: f32) {
        if !value.is_finite() {
            self.not_finite += 1;
            return;
        }
        let value = f64::from(value);
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Chan, Golub & LeVeque, *Algorithms for computing the sample variance*, The American Statistician 37 (1983).
    fn merge(&mut self, other: &Self) {
        self.not_finite += other.not_finite;
        if other.count == 0 {
            return;
        }
        let total = (self.count + other.count) as f64;
        let apart = other.mean - self.mean;
        self.squares += other.squares + apart * apart * (self.count as f64 * other.count as f64 / total);
        self.mean += apart * other.count as f64 / total;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Standard deviation of a sample; 0 for a single value.
    pub(super) fn sd(&self) -> f64 {
        if self.count > 1 { (self.squares / (self.count - 1) as f64).sqrt() } else { 0.0 }
    }
}

/// Where the voxels of a label lie and what they hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extent {
    pub(super) voxels: u64,
    /// Sums of the indices (z, y, x).
    sums: [u64; 3],
    pub(super) first: [usize; 3],
    pub(super) last: [usize; 3],
    /// One per channel.
    pub(super) moments: Vec<Moments>,
}

impl Extent {
    pub(super) fn empty(channels: usize) -> Self {
        Self {
            voxels: 0,
            sums: [0; 3],
            first: [usize::MAX; 3],
            last: [0; 3],
            moments: vec![Moments::EMPTY; channels],
        }
    }

    fn add(&mut self, at: [usize; 3]) {
        self.voxels += 1;
        for axis in 0..3 {
            self.sums[axis] += at[axis] as u64;
            self.first[axis] = self.first[axis].min(at[axis]);
            self.last[axis] = self.last[axis].max(at[axis]);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.voxels += other.voxels;
        for axis in 0..3 {
            self.sums[axis] += other.sums[axis];
            self.first[axis] = self.first[axis].min(other.first[axis]);
            self.last[axis] = self.last[axis].max(other.last[axis]);
        }
        for (own, others) in self.moments.iter_mut().zip(&other.moments) {
            own.merge(others);
        }
    }

    /// Mean index (z, y, x).
    pub(super) fn mean_index(&self) -> Option<[f64; 3]> {
        (self.voxels > 0).then(|| self.sums.map(|sum| sum as f64 / self.voxels as f64))
    }
}

/// Extents of all labels of the classes that occur. Slices are merged in their order, whichever thread was done first.
pub(super) fn extents(
    labels: ArrayView3<'_, i16>,
    channels: &[ArrayView3<'_, f32>],
    classes: &[Class],
) -> BTreeMap<i16, Extent> {
    let wanted: BTreeSet<i16> = classes.iter().flat_map(|class| class.labels().iter().copied()).collect();
    let slices: Vec<BTreeMap<i16, Extent>> =
        (0..labels.len_of(Axis(0))).into_par_iter().map(|z| slice(labels, channels, &wanted, z)).collect();
    let mut all = BTreeMap::<i16, Extent>::new();
    for (label, extent) in slices.into_iter().flatten() {
        all.entry(label).or_insert_with(|| Extent::empty(channels.len())).merge(&extent);
    }
    all
}

fn slice(
    labels: ArrayView3<'_, i16>,
    channels: &[ArrayView3<'_, f32>],
    wanted: &BTreeSet<i16>,
    z: usize,
) -> BTreeMap<i16, Extent> {
    let mut found = BTreeMap::new();
    for (y, row) in labels.index_axis(Axis(0), z).outer_iter().enumerate() {
        let mut x = 0;
        while x < row.len() {
            let label = row[x];
            let end = (x..row.len()).find(|&x| row[x] != label).unwrap_or(row.len());
            if wanted.contains(&label) {
                let extent = found.entry(label).or_insert_with(|| Extent::empty(channels.len()));
                (x..end).for_each(|x| extent.add([z, y, x]));
                for (channel, moments) in channels.iter().zip(&mut extent.moments) {
                    (x..end).for_each(|x| moments.add(channel[[z, y, x]]));
                }
            }
            x = end;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_moments_are_those_of_all_values() {
        let values: Vec<f32> = (0..50).map(|i| 1000.0 + (i as f32 * 1.7).sin()).collect();
        let of = |values: &[f32]| {
            let mut moments = Moments::EMPTY;
            values.iter().for_each(|&value| moments.add(value));
            moments
        };
        let (whole, mut parts) = (of(&values), of(&values[..13]));
        parts.merge(&of(&[]));
        parts.merge(&of(&values[13..]));
        assert_eq!((parts.count, parts.min, parts.max), (whole.count, whole.min, whole.max));
        assert!((parts.mean - whole.mean).abs() < 1e-10 && (parts.sd() - whole.sd()).abs() < 1e-10);
        assert_eq!(of(&[3.0]).sd(), 0.0);
    }
}
