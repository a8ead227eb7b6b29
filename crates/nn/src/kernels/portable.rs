//! The reference: safe Rust, straight from the definition.

use rayon::prelude::*;

use super::moments::Moments;
use super::pack::PackedWeights;
use super::shape::Correlation;

/// Input voxel of output `m` and tap `t` along axis `a`, if it lies inside.
fn source(plan: &Correlation, a: usize, m: usize, t: usize) -> Option<usize> {
    let i = (m * plan.in_stride[a] + t) as isize + plan.offset[a];
    (i >= 0 && i < plan.input.space[a] as isize).then_some(i as usize)
}

/// Number of the output at voxel `i` of axis `a`, if there is one.
fn number(plan: &Correlation, a: usize, i: usize) -> Option<usize> {
    let from_start = i.checked_sub(plan.out_start[a])?;
    let m = from_start / plan.out_step[a];
    (from_start % plan.out_step[a] == 0 && m < plan.count[a]).then_some(m)
}

/// Calls `visit(input offset, weight row)` for every input value row that output `m` reads.
fn for_each_tap(plan: &Correlation, sample: usize, m: [usize; 3], mut visit: impl FnMut(usize, usize)) {
    let ([nz, ny, nx], ci) = (plan.input.space, plan.input.channels);
    for tz in 0..plan.taps[0] {
        let Some(z) = source(plan, 0, m[0], tz) else { continue };
        for ty in 0..plan.taps[1] {
            let Some(y) = source(plan, 1, m[1], ty) else { continue };
            for tx in 0..plan.taps[2] {
                let Some(x) = source(plan, 2, m[2], tx) else { continue };
                let at = (((sample * nz + z) * ny + y) * nx + x) * ci;
                visit(at, ((tz * plan.taps[1] + ty) * plan.taps[2] + tx) * ci);
            }
        }
    }
}

/// Computes the outputs of the plan; voxels that the plan does not reach keep their values.
pub(crate) fn correlate(
    plan: &Correlation,
    x: &[f32],
    w: &PackedWeights,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let ([nz, ny, nx], co) = (plan.output.space, plan.output.channels);
    let pitch = plan.pitch;
    let depth = plan.depth();
    out.par_chunks_mut(ny * nx * pitch).enumerate().for_each(|(plane, values)| {
        let (sample, Some(mz)) = (plane / nz, number(plan, 0, plane % nz)) else { return };
        for (voxel, values) in values.chunks_mut(pitch).enumerate() {
            let values = &mut values[..co];
            let (Some(my), Some(mx)) = (number(plan, 1, voxel / nx), number(plan, 2, voxel % nx)) else {
                continue;
            };
            match bias {
                Some(bias) => values.copy_from_slice(&bias[..co]),
                None => values.fill(0.0),
            }
            for_each_tap(plan, sample, [mz, my, mx], |at, row| {
                for (c, &input) in x[at..at + plan.input.channels].iter().enumerate() {
                    for (b, values) in values.chunks_mut(w.block).enumerate() {
                        let lanes = &w.data[(b * depth + row + c) * w.block..][..w.block];
                        values.iter_mut().zip(lanes).for_each(|(v, w)| *v += input * w);
                    }
                }
            });
        }
    });
}

/// Adds the products of inputs and output gradients of the planes `planes` (counted over all samples) to
/// `dw[weight row][padded output channel]`.
pub(crate) fn outer(
    plan: &Correlation,
    x: &[f32],
    dy: &[f32],
    planes: std::ops::Range<usize>,
    padded: usize,
    dw: &mut [f32],
) {
    let ([nz, ny, nx], co) = (plan.count, plan.output.channels);
    for plane in planes {
        for voxel in 0..ny * nx {
            let gradient = &dy[(plane * ny * nx + voxel) * co..][..co];
            for_each_tap(plan, plane / nz, [plane % nz, voxel / nx, voxel % nx], |at, row| {
                for (c, &input) in x[at..at + plan.input.channels].iter().enumerate() {
                    let sums = &mut dw[(row + c) * padded..][..co];
                    sums.iter_mut().zip(gradient).for_each(|(s, g)| *s += input * g);
                }
            });
        }
    }
}

/// The moments of all outputs, per sample and channel.
pub(crate) fn moments(plan: &Correlation, out: &[f32]) -> Vec<Moments> {
    let (voxels, channels) = (plan.output.voxels(), plan.output.channels);
    let mut all = Vec::with_capacity(plan.output.batch * channels);
    for sample in 0..plan.output.batch {
        for channel in 0..channels {
            let values = || (0..voxels).map(|v| f64::from(out[(sample * voxels + v) * plan.pitch + channel]));
            let mean = values().sum::<f64>() / voxels as f64;
            let squares = values().map(|v| (v - mean) * (v - mean)).sum();
            all.push(Moments { count: voxels as f64, mean, squares });
        }
    }
    all
}
