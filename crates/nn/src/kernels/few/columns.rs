//! What the outputs of a correlation read, as rows of a matrix.
#![allow(unsafe_code)]

use super::super::shape::Correlation;
use super::super::source::{Region, SlabShape, Source, fill_slab};

/// Where outputs read: voxels of zero-padded samples, one after another.
pub(super) struct Reach {
    /// The first voxel that each output reads.
    pub(super) first: Vec<usize>,
    /// Voxels from the first to those of the taps.
    pub(super) taps: Vec<usize>,
    /// Voxels of a padded sample, along z, y, x.
    pub(super) padded: [usize; 3],
}

impl Reach {
    pub(super) fn of(plan: &Correlation) -> Self {
        let extent = |a: usize| (plan.count[a].max(1) - 1) * plan.in_stride[a] + plan.taps[a];
        let padded = [extent(0), extent(1), extent(2)];
        let at = |z: usize, y: usize, x: usize| (z * padded[1] + y) * padded[2] + x;
        let ([nz, ny, nx], [sz, sy, sx], [tz, ty, tx]) = (plan.count, plan.in_stride, plan.taps);
        let sample = at(padded[0], 0, 0);
        let all = |[nz, ny, nx]: [usize; 3]| {
            (0..nz).flat_map(move |z| (0..ny).flat_map(move |y| (0..nx).map(move |x| [z, y, x])))
        };
        let first = (0..plan.input.batch)
            .flat_map(|b| all([nz, ny, nx]).map(move |[z, y, x]| b * sample + at(z * sz, y * sy, x * sx)))
            .collect();
        Self { first, taps: all([tz, ty, tx]).map(|[z, y, x]| at(z, y, x)).collect(), padded }
    }

    /// The last tap.
    pub(super) fn last(&self) -> usize {
        self.taps.iter().max().copied().unwrap_or(0)
    }

    /// Voxels of all padded samples.
    pub(super) fn voxels(&self, batch: usize) -> usize {
        batch * self.padded.iter().product::<usize>()
    }
}

/// The samples with zeros around them, channels-last.
pub(super) fn pad(plan: &Correlation, x: &Source<'_>) -> Vec<f32> {
    let shape = SlabShape::of(plan, plan.count);
    let mut all = Vec::with_capacity(plan.input.batch * shape.planes * shape.plane);
    let mut slab = Vec::new();
    for sample in 0..plan.input.batch {
        fill_slab(plan, x, &Region { sample, start: [0; 3], count: plan.count }, &mut slab);
        all.extend_from_slice(&slab);
    }
    all
}

/// Writes what some outputs read of some channels: a row of `pitch` values per output, tap after tap of channel after channel,
/// and zeros behind them. `padded` has voxels of `channels` values.
pub(super) fn fill<T: Copy + Default>(
    reach: &Reach,
    outputs: std::ops::Range<usize>,
    padded: &[T],
    channels: usize,
    own: std::ops::Range<usize>,
    pitch: usize,
    rows: &mut [T],
) {
    let taps = reach.taps.len();
    let used = own.len() * taps;
    assert!(own.end <= channels && used <= pitch && rows.len() >= outputs.len() * pitch);
    let last = reach.last();
    let offsets: Vec<usize> = reach.taps.iter().map(|tap| tap * channels).collect();
    for (output, row) in outputs.zip(rows.chunks_exact_mut(pitch)) {
        let first = reach.first[output];
        let from = &padded[first * channels..(first + last + 1) * channels];
        for (channel, to) in own.clone().zip(row.chunks_exact_mut(taps)) {
            for (to, offset) in to.iter_mut().zip(&offsets) {
                // SAFETY: the tap is at most `last`, and the channel is one of the voxel's.
                *to = unsafe { *from.get_unchecked(offset + channel) };
            }
        }
        row[used..].fill(T::default());
    }
}
