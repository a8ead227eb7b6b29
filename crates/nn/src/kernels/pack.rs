//! Weights in the order that the kernels read them, and zero-padded slabs of activations.

use rayon::prelude::*;

use super::shape::Correlation;

/// Weights of a correlation: `[block of output channels][tap][input channel][lane]`, zero beyond the last channel.
pub(crate) struct PackedWeights {
    pub(crate) data: Vec<f32>,
    /// Output channels per block.
    pub(crate) block: usize,
}

/// Packs the weights that `weight(tap, input channel, output channel)` gives; taps are numbered z, y, x, x fastest.
pub(crate) fn pack_weights(
    plan: &Correlation,
    block: usize,
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> PackedWeights {
    let taps: usize = plan.taps.iter().product();
    let (ci, co) = (plan.input.channels, plan.output.channels);
    let blocks = co.div_ceil(block);
    let mut data = vec![0.0; blocks * taps * ci * block];
    data.par_chunks_mut((taps * ci * block).max(1)).enumerate().for_each(|(number, chunk)| {
        for (row, lanes) in chunk.chunks_exact_mut(block).enumerate() {
            let (tap, channel) = (row / ci, row % ci);
            let first = number * block;
            for (lane, value) in lanes.iter_mut().take(co - first).enumerate() {
                *value = weight(tap, channel, first + lane);
            }
        }
    });
    PackedWeights { data, block }
}

/// The input of a run of output planes with its zero padding, as contiguous planes, rows and voxels.
#[derive(Clone, Copy)]
pub(crate) struct SlabShape {
    /// Values per row.
    pub(crate) row: usize,
    /// Values per plane.
    pub(crate) plane: usize,
}

impl SlabShape {
    pub(crate) fn of(plan: &Correlation) -> Self {
        let extent = |a: usize| (plan.count[a].max(1) - 1) * plan.in_stride[a] + plan.taps[a];
        let row = extent(2) * plan.input.channels;
        Self { row, plane: extent(1) * row }
    }

    /// Input planes that `planes` output planes read.
    pub(crate) fn input_planes(plan: &Correlation, planes: usize) -> usize {
        (planes.max(1) - 1) * plan.in_stride[0] + plan.taps[0]
    }
}

/// Whether the input needs no copy: every output reads exactly its own voxel.
pub(crate) fn reads_in_place(plan: &Correlation) -> bool {
    plan.taps == [1; 3] && plan.in_stride == [1; 3] && plan.offset == [0; 3] && plan.count == plan.input.space
}

/// Copies what the output planes `first..first + planes` of sample `sample` read into `slab`, with zeros outside.
pub(crate) fn fill_slab(
    plan: &Correlation,
    x: &[f32],
    sample: usize,
    first: usize,
    planes: usize,
    slab: &mut Vec<f32>,
) {
    let shape = SlabShape::of(plan);
    let input_planes = SlabShape::input_planes(plan, planes);
    slab.resize(input_planes * shape.plane, 0.0);
    let [_, ny, nx] = plan.input.space;
    let ci = plan.input.channels;
    let whole = &x[sample * plan.input.voxels() * ci..(sample + 1) * plan.input.voxels() * ci];
    for (i, plane) in slab.chunks_exact_mut(shape.plane).enumerate() {
        let z = (first * plan.in_stride[0] + i) as isize + plan.offset[0];
        if z < 0 || z >= plan.input.space[0] as isize {
            plane.fill(0.0);
            continue;
        }
        for (j, row) in plane.chunks_exact_mut(shape.row).enumerate() {
            let y = j as isize + plan.offset[1];
            if y < 0 || y >= ny as isize {
                row.fill(0.0);
                continue;
            }
            let source = &whole[(z as usize * ny + y as usize) * nx * ci..][..nx * ci];
            copy_shifted(source, row, plan.offset[2] * ci as isize);
        }
    }
}

/// `row[i] = source[i + shift]`, zero where that is outside.
fn copy_shifted(source: &[f32], row: &mut [f32], shift: isize) {
    let from = shift.max(0) as usize;
    let to = ((-shift).max(0) as usize).min(row.len());
    let n = source.len().saturating_sub(from).min(row.len() - to);
    row[..to].fill(0.0);
    row[to..to + n].copy_from_slice(&source[from..from + n]);
    row[to + n..].fill(0.0);
}
