//! Sums of two activations, and means over boxes.

use rayon::prelude::*;

use super::shape::Dims;
use super::source::{ChannelMap, Source, leaky};

/// `values = act(map(values) + other)` with the map of the sample, voxel by voxel; voxels of `values` are `pitch` values apart.
pub(crate) fn merge(
    values: &mut [f32],
    pitch: usize,
    maps: &[ChannelMap],
    other: Source<'_>,
    dims: Dims,
    slope: f32,
) {
    assert!(other.covers(dims) && pitch >= dims.channels);
    let (c, row) = (dims.channels, dims.space[2]);
    let identity = ChannelMap::identity(c);
    if dims.is_empty() {
        return;
    }
    let rows = dims.batch * dims.space[0] * dims.space[1];
    values.par_chunks_mut(row * pitch).take(rows).enumerate().for_each(|(number, values)| {
        let mut added = vec![0.0; row * c];
        let sample = number / (dims.space[0] * dims.space[1]);
        let map = maps.get(sample).unwrap_or(&identity);
        other.copy_voxels(sample, number * row, c, &mut added);
        for (values, added) in values.chunks_mut(pitch).zip(added.chunks_exact(c)) {
            let (values, added) = (&mut values[..c], &added[..c]);
            for i in 0..c {
                values[i] = leaky(map.value(i, values[i]) + added[i], slope);
            }
        }
    });
}

/// Means over boxes of `stride` voxels; voxels beyond the last whole box are left out.
pub(crate) fn average_pool(x: Source<'_>, input: Dims, stride: [usize; 3], out: &mut [f32]) {
    assert!(x.covers(input));
    let (c, [nz, ny, nx]) = (input.channels, input.space);
    let [oz, oy, ox]: [usize; 3] = std::array::from_fn(|a| input.space[a] / stride[a]);
    if c == 0 || ox == 0 {
        return;
    }
    let share = 1.0 / stride.iter().product::<usize>() as f32;
    let rows = input.batch * oz * oy;
    out.par_chunks_mut(ox * c).take(rows).enumerate().for_each(|(number, out)| {
        let (sample, z, y) = (number / oy / oz, number / oy % oz, number % oy);
        let mut row = vec![0.0; ox * stride[2] * c];
        out.fill(0.0);
        for (dz, dy) in (0..stride[0]).flat_map(|dz| (0..stride[1]).map(move |dy| (dz, dy))) {
            let first = (sample * nz + z * stride[0] + dz) * ny + y * stride[1] + dy;
            x.copy_voxels(sample, first * nx, c, &mut row);
            for (out, voxels) in out.chunks_exact_mut(c).zip(row.chunks_exact(stride[2] * c)) {
                for voxel in voxels.chunks_exact(c) {
                    out.iter_mut().zip(voxel).for_each(|(sum, v)| *sum += v);
                }
            }
        }
        out.iter_mut().for_each(|sum| *sum *= share);
    });
}

/// The first `a` and the other `b` channels of every voxel.
pub(crate) fn split(values: &[f32], a: usize, b: usize) -> (Vec<f32>, Vec<f32>) {
    const VOXELS: usize = 1024;
    let voxels = values.len() / (a + b).max(1);
    let (mut first, mut second) = (vec![0.0; voxels * a], vec![0.0; voxels * b]);
    if a == 0 || b == 0 {
        return if b == 0 { (values.to_vec(), second) } else { (first, values.to_vec()) };
    }
    first
        .par_chunks_mut(VOXELS * a)
        .zip(second.par_chunks_mut(VOXELS * b))
        .zip(values.par_chunks(VOXELS * (a + b)))
        .for_each(|((first, second), values)| {
            let targets = first.chunks_exact_mut(a).zip(second.chunks_exact_mut(b));
            for ((first, second), values) in targets.zip(values.chunks_exact(a + b)) {
                first.copy_from_slice(&values[..a]);
                second.copy_from_slice(&values[a..]);
            }
        });
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_through_both_maps_and_leave_what_lies_between() {
        let dims = Dims { batch: 1, space: [1, 1, 2], channels: 1 };
        let mut values = [1.0, 7.0, 2.0, 7.0];
        let map = ChannelMap { scale: vec![2.0], shift: vec![-4.0], slope: vec![1.0] };
        let other = Source { values: &[1.0, 9.0, 9.0, 3.0], pitch: 3, maps: &[] };
        merge(&mut values, 2, &[map], other, dims, 0.5);
        assert_eq!(values, [-0.5, 7.0, 3.0, 7.0]);
    }

    #[test]
    fn means_leave_out_what_is_no_whole_box() {
        let input = Dims { batch: 1, space: [1, 2, 3], channels: 2 };
        let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let mut out = [0.0; 2];
        average_pool(Source::plain(&values, 2), input, [1, 2, 2], &mut out);
        assert_eq!(out, [4.0, 5.0]);
    }
}
