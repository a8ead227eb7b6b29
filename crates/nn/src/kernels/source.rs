//! What kernels read: channels-last voxels among others, seen through a map per channel, and zero-padded copies of them.
#![allow(unsafe_code)]

use std::borrow::Cow;

#[cfg(target_arch = "x86_64")]
use super::isa::{Isa, isa};
use super::shape::{Correlation, Dims};

/// `v → act(scale · v + shift)` per channel, with `act(v) = v` for v > 0 and `slope · v` otherwise: what a norm and an
/// activation come to once the statistics are known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelMap {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) slope: Vec<f32>,
}

impl ChannelMap {
    /// The map that changes nothing.
    pub(crate) fn identity(channels: usize) -> Self {
        Self { scale: vec![1.0; channels], shift: vec![0.0; channels], slope: vec![1.0; channels] }
    }

    /// The same map for channels that lie behind `first` others, which stay as they are.
    pub(crate) fn behind(&self, first: usize) -> Self {
        let after = |value: f32, own: &[f32]| [&vec![value; first][..], own].concat();
        Self {
            scale: after(1.0, &self.scale),
            shift: after(0.0, &self.shift),
            slope: after(1.0, &self.slope),
        }
    }

    /// Maps voxels of `pitch` values to voxels of as many values as there are channels.
    pub(crate) fn apply(&self, from: &[f32], pitch: usize, to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        match isa() {
            // SAFETY: `isa()` gives an instruction set only where the processor has it.
            Isa::Avx512 => return unsafe { apply_avx512(self, from, pitch, to) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { apply_avx2(self, from, pitch, to) },
            _ => (),
        }
        apply(self, from, pitch, to);
    }

    /// The value of one channel.
    #[inline(always)]
    pub(crate) fn value(&self, channel: usize, v: f32) -> f32 {
        leaky(v * self.scale[channel] + self.shift[channel], self.slope[channel])
    }
}

/// The factor is selected, not the value: that compiles to a mask where the other compiles to a branch that is mispredicted
/// for every second value.
#[inline(always)]
pub(crate) fn leaky(v: f32, slope: f32) -> f32 {
    v * if v > 0.0 { 1.0 } else { slope }
}

#[inline(always)]
fn apply(map: &ChannelMap, from: &[f32], pitch: usize, to: &mut [f32]) {
    let c = map.scale.len();
    let (scale, shift, slope) = (&map.scale[..c], &map.shift[..c], &map.slope[..c]);
    for (to, from) in to.chunks_exact_mut(c).zip(from.chunks(pitch)) {
        let (to, from) = (&mut to[..c], &from[..c]);
        for i in 0..c {
            to[i] = leaky(from[i] * scale[i] + shift[i], slope[i]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
fn apply_avx512(map: &ChannelMap, from: &[f32], pitch: usize, to: &mut [f32]) {
    apply(map, from, pitch, to);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn apply_avx2(map: &ChannelMap, from: &[f32], pitch: usize, to: &mut [f32]) {
    apply(map, from, pitch, to);
}

/// An activation as a kernel reads it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Values from the first channel of the first voxel on.
    pub(crate) values: &'a [f32],
    /// Values from one voxel to the next: the channels, or more where others lie between.
    pub(crate) pitch: usize,
    /// What the values of each sample go through, or nothing if there is none.
    pub(crate) maps: &'a [ChannelMap],
}

impl<'a> Source<'a> {
    /// The values themselves, voxel after voxel.
    pub(crate) fn plain(values: &'a [f32], channels: usize) -> Self {
        Self { values, pitch: channels, maps: &[] }
    }

    /// Whether the values are what is read, without gaps.
    pub(crate) fn is_plain(&self, channels: usize) -> bool {
        self.maps.is_empty() && self.pitch == channels
    }

    /// Whether there are values for all voxels.
    pub(crate) fn covers(&self, dims: Dims) -> bool {
        let voxels = dims.batch * dims.voxels();
        let mapped = self.maps.is_empty() || self.maps.len() == dims.batch;
        voxels == 0
            || (mapped
                && self.pitch >= dims.channels
                && self.values.len() >= (voxels - 1) * self.pitch + dims.channels)
    }

    /// All values as read, voxel after voxel.
    pub(crate) fn collect(&self, dims: Dims) -> Cow<'a, [f32]> {
        if self.is_plain(dims.channels) {
            return Cow::Borrowed(&self.values[..dims.len()]);
        }
        let mut values = vec![0.0; dims.len()];
        let whole = dims.voxels() * dims.channels;
        for (sample, values) in values.chunks_exact_mut(whole.max(1)).enumerate() {
            self.copy_voxels(sample, sample * dims.voxels(), dims.channels, values);
        }
        Cow::Owned(values)
    }

    /// Fills `to` with voxels of a sample, from voxel number `first` of all samples on.
    pub(crate) fn copy_voxels(&self, sample: usize, first: usize, channels: usize, to: &mut [f32]) {
        if to.is_empty() || channels == 0 {
            return;
        }
        let from = &self.values[first * self.pitch..];
        match self.maps.get(sample) {
            Some(map) => map.apply(from, self.pitch, to),
            None if self.pitch == channels => to.copy_from_slice(&from[..to.len()]),
            None => {
                for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks(self.pitch)) {
                    to.copy_from_slice(&from[..channels]);
                }
            }
        }
    }
}

/// A box of outputs of one sample, counted in outputs of a correlation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    pub(crate) sample: usize,
    pub(crate) start: [usize; 3],
    pub(crate) count: [usize; 3],
}

/// The input of a region with its zero padding, as contiguous planes, rows and voxels.
#[derive(Clone, Copy)]
pub(crate) struct SlabShape {
    /// Values per row.
    pub(crate) row: usize,
    /// Values per plane.
    pub(crate) plane: usize,
    /// Number of planes.
    pub(crate) planes: usize,
}

impl SlabShape {
    pub(crate) fn of(plan: &Correlation, count: [usize; 3]) -> Self {
        let extent = |a: usize| (count[a].max(1) - 1) * plan.in_stride[a] + plan.taps[a];
        let row = extent(2) * plan.input.channels;
        Self { row, plane: extent(1) * row, planes: extent(0) }
    }
}

impl Correlation {
    /// Where the first output of a row of a region lies.
    pub(crate) fn output_at(&self, region: &Region, mz: usize, my: usize) -> usize {
        let [nz, ny, nx] = self.output.space;
        let at = |a: usize, m: usize| self.out_start[a] + (region.start[a] + m) * self.out_step[a];
        (((region.sample * nz + at(0, mz)) * ny + at(1, my)) * nx + at(2, 0)) * self.pitch
    }
}

/// Copies what a region reads into `slab`, with zeros outside of the input.
pub(crate) fn fill_slab(plan: &Correlation, x: &Source<'_>, region: &Region, slab: &mut Vec<f32>) {
    fill_rows(plan, region, slab, |voxel, to| x.copy_voxels(region.sample, voxel, plan.input.channels, to));
}

/// Fills `slab` with what a region reads: zeros outside of the input, inside what `copy` writes from a voxel on, counted over
/// all samples.
pub(crate) fn fill_rows<T: Copy + Default>(
    plan: &Correlation,
    region: &Region,
    slab: &mut Vec<T>,
    mut copy: impl FnMut(usize, &mut [T]),
) {
    let (shape, zero) = (SlabShape::of(plan, region.count), T::default());
    slab.resize(shape.planes * shape.plane, zero);
    let ([nz, ny, nx], ci) = (plan.input.space, plan.input.channels);
    let first: [isize; 3] =
        std::array::from_fn(|a| (region.start[a] * plan.in_stride[a]) as isize + plan.offset[a]);
    let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|at| *at < size);
    // Voxels of a row that lie before the input, inside and behind it.
    let extent = shape.row / ci;
    let before = (first[2].min(0).unsigned_abs()).min(extent);
    let from = first[2].max(0) as usize;
    let within = nx.saturating_sub(from).min(extent - before);
    for (i, plane) in slab.chunks_exact_mut(shape.plane).enumerate() {
        let Some(z) = inside(first[0] + i as isize, nz) else {
            plane.fill(zero);
            continue;
        };
        for (j, row) in plane.chunks_exact_mut(shape.row).enumerate() {
            let Some(y) = inside(first[1] + j as isize, ny) else {
                row.fill(zero);
                continue;
            };
            row[..before * ci].fill(zero);
            let voxel = ((region.sample * nz + z) * ny + y) * nx + from;
            if within > 0 {
                copy(voxel, &mut row[before * ci..(before + within) * ci]);
            }
            row[(before + within) * ci..].fill(zero);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_read_with_its_padding_through_the_map_between_other_channels() {
        // Two channels of voxels of three values; the map doubles, adds one and halves what is below zero.
        let input = Dims { batch: 1, space: [1, 2, 2], channels: 2 };
        let plan = Correlation {
            input,
            output: Dims { channels: 1, ..input },
            count: input.space,
            taps: [1, 3, 3],
            in_stride: [1; 3],
            offset: [0, -1, -1],
            out_start: [0; 3],
            out_step: [1; 3],
            pitch: 1,
        };
        let values = [1.0, -2.0, 9.0, 0.5, 0.0, 9.0, 3.0, -1.0, 9.0, -4.0, 2.0];
        let map = ChannelMap { scale: vec![2.0; 2], shift: vec![1.0; 2], slope: vec![0.5; 2] };
        let source = Source { values: &values, pitch: 3, maps: std::slice::from_ref(&map) };
        assert!(source.covers(input));
        let mapped = [3.0, -1.5, 2.0, 1.0, 7.0, -0.5, -3.5, 5.0];
        assert_eq!(source.collect(input).as_ref(), mapped);
        let mut slab = vec![7.0; 3];
        fill_slab(&plan, &source, &Region { sample: 0, start: [0, 1, 1], count: [1; 3] }, &mut slab);
        let zero = [0.0; 2];
        let row = |a: &[f32], b: &[f32]| [a, b, &zero].concat();
        let expected =
            [row(&mapped[..2], &mapped[2..4]), row(&mapped[4..6], &mapped[6..]), vec![0.0; 6]].concat();
        assert_eq!(slab, expected);
    }
}
