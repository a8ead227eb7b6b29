use std::ops::Range;

use half::f16;
use ndarray::ArrayView3;
use rayon::prelude::*;

use crate::export::largest;
use crate::logits::{Logits, Number, Values, zeros};
use crate::{Accumulator, InferError};

/// Mean logits `(z, y, x, channel)` of overlapping tiles and the largest channel of each voxel, as the sliding window blends
/// them: `tiles` are first voxels, which may be outside, and logits `(z, y, x, channel)` of `patch` voxels each, weighted by
/// `importance` (all the same without it).
///
/// # Errors
/// A tile or map of another size, or a mean that is not finite: no tile reaches the voxel.
pub fn blend_tiles(
    shape: [usize; 3],
    channels: usize,
    patch: [usize; 3],
    tiles: &[([isize; 3], Vec<f32>)],
    importance: Option<ArrayView3<'_, f32>>,
) -> Result<(Vec<f32>, Vec<i16>), InferError> {
    let expected = patch.iter().product::<usize>();
    let importance: Option<Vec<f32>> = importance.map(|map| map.iter().copied().collect());
    if let Some(map) = importance.as_ref().filter(|map| map.len() != expected) {
        return Err(InferError::NetworkOutput { found: map.len(), expected });
    }
    let mut sums = Buffers::<f32>::new(shape, channels)?;
    for (origin, logits) in tiles {
        if logits.len() != expected * channels {
            return Err(InferError::NetworkOutput { found: logits.len(), expected: expected * channels });
        }
        sums.add(&Tile { logits, patch, origin: *origin }, importance.as_deref());
    }
    let mean = sums.average([0; 3])?;
    let labels = mean.par_chunks(channels.max(1)).map(largest).collect();
    Ok((mean, labels))
}

/// Weighted sums of tiles, and the sums of their weights.
pub(crate) enum Sums {
    F32(Buffers<f32>),
    F16(Buffers<f16>),
}

/// The tile that is added: logits `(z, y, x, channel)` of a patch whose first voxel lies at `origin`, which
/// may be outside.
pub(crate) struct Tile<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) patch: [usize; 3],
    pub(crate) origin: [isize; 3],
}

impl Sums {
    pub(crate) fn new(kind: Accumulator, shape: [usize; 3], channels: usize) -> Result<Self, InferError> {
        Ok(match kind {
            Accumulator::F32 => Self::F32(Buffers::new(shape, channels)?),
            Accumulator::F16 => Self::F16(Buffers::new(shape, channels)?),
        })
    }

    /// Adds the part of a tile that lies inside. `importance` has one weight per voxel of the patch; without
    /// it all are 1.
    pub(crate) fn add(&mut self, tile: &Tile<'_>, importance: Option<&[f32]>) {
        match self {
            Self::F32(buffers) => buffers.add(tile, importance),
            Self::F16(buffers) => buffers.add(tile, importance),
        }
    }

    /// The weighted means; `start` is the first voxel, for errors.
    ///
    /// # Errors
    /// A mean that is infinite or not a number.
    pub(crate) fn finish(self, start: [usize; 3]) -> Result<Logits, InferError> {
        match self {
            Self::F32(buffers) => buffers.finish(start, Values::F32),
            Self::F16(buffers) => buffers.finish(start, Values::F16),
        }
    }
}

pub(crate) struct Buffers<N> {
    shape: [usize; 3],
    channels: usize,
    logits: Vec<N>,
    weights: Vec<N>,
}

impl<N: Number> Buffers<N> {
    fn new(shape: [usize; 3], channels: usize) -> Result<Self, InferError> {
        let voxels = shape.iter().product::<usize>();
        let logits = zeros(voxels.saturating_mul(channels))?;
        Ok(Self { shape, channels, logits, weights: zeros(voxels)? })
    }

    fn add(&mut self, tile: &Tile<'_>, importance: Option<&[f32]>) {
        let [_, height, width] = self.shape;
        let [ky, kx] = [tile.patch[1], tile.patch[2]];
        let channels = self.channels;
        // Voxels of the image that the tile reaches.
        let inside: [Range<usize>; 3] = std::array::from_fn(|axis| {
            let end = tile.origin[axis].saturating_add_unsigned(tile.patch[axis]);
            let limit = |v: isize| v.clamp(0, self.shape[axis] as isize) as usize;
            limit(tile.origin[axis])..limit(end)
        });
        let first = |axis: usize, at: usize| (at as isize - tile.origin[axis]) as usize;
        let plane = height * width;
        let logits = self.logits.par_chunks_mut((plane * channels).max(1));
        let weights = self.weights.par_chunks_mut(plane.max(1));
        logits.zip(weights).enumerate().skip(inside[0].start).take(inside[0].len()).for_each(
            |(z, planes)| {
                for y in inside[1].clone() {
                    let from = (first(0, z) * ky + first(1, y)) * kx + first(2, inside[2].start);
                    let to = y * width + inside[2].start;
                    let n = inside[2].len();
                    let row = &tile.logits[from * channels..(from + n) * channels];
                    let logits = &mut planes.0[to * channels..(to + n) * channels];
                    add_row(
                        logits,
                        &mut planes.1[to..to + n],
                        row,
                        importance.map(|map| &map[from..from + n]),
                    );
                }
            },
        );
    }

    fn finish(self, start: [usize; 3], values: fn(Vec<N>) -> Values) -> Result<Logits, InferError> {
        let (shape, channels) = (self.shape, self.channels);
        Ok(Logits { shape, channels, values: values(self.average(start)?) })
    }

    fn average(mut self, start: [usize; 3]) -> Result<Vec<N>, InferError> {
        let channels = self.channels.max(1);
        let block = 4096;
        let bad = self
            .logits
            .par_chunks_mut(block * channels)
            .zip(self.weights.par_chunks(block))
            .enumerate()
            .filter_map(|(number, (logits, weights))| {
                let voxel = divide(logits, weights, channels)?;
                Some(number * block + voxel)
            })
            .min();
        if let Some(voxel) = bad {
            let [_, y, x] = self.shape;
            let local = [voxel / (y * x), voxel / x % y, voxel % x];
            return Err(InferError::NotFinite {
                voxel: std::array::from_fn(|axis| start[axis] + local[axis]),
            });
        }
        Ok(self.logits)
    }
}

fn add_row<N: Number>(logits: &mut [N], weights: &mut [N], row: &[f32], importance: Option<&[f32]>) {
    let channels = logits.len() / weights.len().max(1);
    let voxels = logits.chunks_exact_mut(channels.max(1)).zip(row.chunks_exact(channels.max(1)));
    for (i, ((to, from), sum)) in voxels.zip(weights).enumerate() {
        let weight = importance.map_or(1.0, |map| map[i]);
        for (to, from) in to.iter_mut().zip(from) {
            *to = N::rounded(to.get() + from * weight);
        }
        *sum = N::rounded(sum.get() + weight);
    }
}

/// Divides by the weights; returns the first voxel whose mean is not finite.
fn divide<N: Number>(logits: &mut [N], weights: &[N], channels: usize) -> Option<usize> {
    let mut bad = None;
    for (voxel, (values, weight)) in logits.chunks_exact_mut(channels).zip(weights).enumerate() {
        for value in values {
            *value = N::rounded(value.get() / weight.get());
            if !value.get().is_finite() && bad.is_none() {
                bad = Some(voxel);
            }
        }
    }
    bad
}
