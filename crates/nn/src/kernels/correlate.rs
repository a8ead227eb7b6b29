//! The convolution kernel: a block of voxels times a block of output channels stays in registers.
//!
//! Inner loop: for every tap and input channel, load the weights of the channel block, broadcast one input value per
//! voxel, multiply and add. Taps along x and input channels are one contiguous run in memory, so the loop has no inner
//! branches.
#![allow(unsafe_code)]

use std::cell::RefCell;

use rayon::prelude::*;

use super::isa::{Isa, isa};
use super::pack::{PackedWeights, SlabShape, fill_slab, pack_weights, reads_in_place};
use super::portable;
use super::shape::Correlation;
use super::simd::Simd;
use super::winograd;

/// Slabs of at most about this many values per task: what stays in the second and third level caches.
const SLAB_VALUES: usize = 1 << 20;
/// At least this many tasks where there are as many planes, so that threads stay busy to the end.
const TASKS: usize = 32;

thread_local! {
    static SLAB: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A pointer that tasks share; each task writes voxels of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedOut(pub(crate) *mut f32);
// SAFETY: the tasks that share the pointer write disjoint elements and none reads what another writes.
unsafe impl Send for SharedOut {}
unsafe impl Sync for SharedOut {}

/// Registers of output channels per block: as many as divide the channels and leave room for voxels.
fn registers(plan: &Correlation, isa: Isa) -> usize {
    let lanes = isa_lanes(isa);
    let count = plan.output.channels.div_ceil(lanes);
    match isa {
        Isa::Avx512 if count.is_multiple_of(4) && plan.count[2] <= 6 => 4,
        _ if count.is_multiple_of(2) => 2,
        _ => 1,
    }
}

pub(crate) fn isa_lanes(isa: Isa) -> usize {
    if isa == Isa::Avx512 { 16 } else { 8 }
}

/// Computes all outputs of the plan; output voxels that the plan does not reach keep their values.
///
/// `weight(tap, input channel, output channel)` gives the weights; `out` has the shape `plan.output`
/// with `plan.pitch` values per voxel.
pub(crate) fn correlate(
    plan: &Correlation,
    x: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    assert_eq!(x.len(), plan.input.len());
    assert_eq!(out.len(), plan.output.batch * plan.output.voxels() * plan.pitch);
    assert!(plan.pitch >= plan.output.channels);
    if plan.is_empty() {
        return;
    }
    let isa = isa();
    if let Some(grid) = winograd::Grid::of(plan, isa) {
        return winograd::correlate(&grid, x, weight, bias, out);
    }
    let weights = pack_weights(plan, registers(plan, isa) * isa_lanes(isa), weight);
    if isa == Isa::Portable {
        return portable::correlate(plan, x, &weights, bias, out);
    }
    let mut padded_bias = vec![0.0; plan.output.channels.next_multiple_of(weights.block)];
    if let Some(bias) = bias {
        padded_bias[..bias.len()].copy_from_slice(bias);
    }
    let per_plane = SlabShape::of(plan).plane * plan.in_stride[0];
    let planes = plan.input.batch * plan.count[0];
    let chunk = (SLAB_VALUES / per_plane.max(1)).clamp(1, planes.div_ceil(TASKS).max(1)).min(plan.count[0]);
    let chunks = plan.count[0].div_ceil(chunk);
    let shared = SharedOut(out.as_mut_ptr());
    (0..plan.input.batch * chunks).into_par_iter().for_each(|task| {
        let (sample, first) = (task / chunks, task % chunks * chunk);
        let count = chunk.min(plan.count[0] - first);
        let run = |slab: &[f32]| {
            let job = Job { plan, slab, weights: &weights, bias: &padded_bias, sample, first, count };
            job.run(isa, shared);
        };
        if reads_in_place(plan) {
            let plane = plan.input.space[1] * plan.input.space[2] * plan.input.channels;
            run(&x[(sample * plan.input.space[0] + first) * plane..][..count * plane]);
        } else {
            SLAB.with_borrow_mut(|slab| {
                fill_slab(plan, x, sample, first, count, slab);
                run(slab);
            });
        }
    });
}

/// The output planes `first..first + count` of one sample.
struct Job<'a> {
    plan: &'a Correlation,
    slab: &'a [f32],
    weights: &'a PackedWeights,
    bias: &'a [f32],
    sample: usize,
    first: usize,
    count: usize,
}

impl Job<'_> {
    fn run(&self, isa: Isa, out: SharedOut) {
        match isa {
            // SAFETY: `isa()` gives an instruction set only where the processor has it.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.run_avx512(out) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { self.run_avx2(out) },
            _ => unreachable!("the portable path has no jobs"),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512(&self, out: SharedOut) {
        use super::simd::x86::Avx512;
        // SAFETY: see `rows`.
        unsafe {
            match self.weights.block / 16 {
                4 => self.rows::<Avx512, 4>(out, 6),
                2 => self.rows::<Avx512, 2>(out, 12),
                _ => self.rows::<Avx512, 1>(out, 12),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&self, out: SharedOut) {
        use super::simd::x86::Avx2;
        // SAFETY: see `rows`.
        unsafe {
            match self.weights.block / 8 {
                2 => self.rows::<Avx2, 2>(out, 6),
                _ => self.rows::<Avx2, 1>(out, 10),
            }
        }
    }

    /// All rows of the job in blocks of at most `most` voxels.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; `out` points to `plan.pitch` values per output voxel and no other task writes the
    /// planes of this job. The slab, weights and bias have the lengths that `fill_slab` and `pack_weights` give, so that
    /// every address below lies inside them: rows end at `(count - 1) * in_stride + taps` voxels.
    #[inline(always)]
    unsafe fn rows<S: Simd, const NZ: usize>(&self, out: SharedOut, most: usize) {
        let plan = self.plan;
        let shape = SlabShape::of(plan);
        let ci = plan.input.channels;
        let (co, block) = (plan.output.channels, NZ * S::LANES);
        let [nz, ny, nx] = plan.output.space;
        let blocks = plan.count[2].div_ceil(most);
        let (short, longer) = (plan.count[2] / blocks, plan.count[2] % blocks);
        let mut spill = [0.0f32; 12 * 64];
        for (number, weights) in self.weights.data.chunks_exact(plan.depth() * block).enumerate() {
            let lanes = (co - number * block).min(block);
            for mz in 0..self.count {
                let z = plan.out_start[0] + (self.first + mz) * plan.out_step[0];
                for my in 0..plan.count[1] {
                    let y = plan.out_start[1] + my * plan.out_step[1];
                    let row = (mz * plan.in_stride[0]) * shape.plane + (my * plan.in_stride[1]) * shape.row;
                    let mut mx = 0;
                    for i in 0..blocks {
                        let n = short + usize::from(i < longer);
                        let x = plan.out_start[2] + mx * plan.out_step[2];
                        let voxel = ((self.sample * nz + z) * ny + y) * nx + x;
                        // SAFETY: by the contract above.
                        unsafe {
                            let target = out.0.add(voxel * plan.pitch + number * block);
                            let step = plan.out_step[2] * plan.pitch;
                            let whole = lanes == block;
                            let tile = Tile {
                                x: self.slab.as_ptr().add(row + mx * plan.in_stride[2] * ci),
                                x_step: plan.in_stride[2] * ci,
                                row: shape.row,
                                plane: shape.plane,
                                w: weights.as_ptr(),
                                taps: [plan.taps[0], plan.taps[1]],
                                run: plan.taps[2] * ci,
                                bias: self.bias.as_ptr().add(number * block),
                                out: if whole { target } else { spill.as_mut_ptr() },
                                out_step: if whole { step } else { block },
                            };
                            tile.dispatch::<S, NZ>(n);
                            if !whole {
                                for v in 0..n {
                                    let from = spill.as_ptr().add(v * block);
                                    std::ptr::copy_nonoverlapping(from, target.add(v * step), lanes);
                                }
                            }
                        }
                        mx += n;
                    }
                }
            }
        }
    }
}

/// One block of voxels and output channels.
pub(crate) struct Tile {
    pub(crate) x: *const f32,
    pub(crate) x_step: usize,
    pub(crate) row: usize,
    pub(crate) plane: usize,
    pub(crate) w: *const f32,
    pub(crate) taps: [usize; 2],
    pub(crate) run: usize,
    pub(crate) bias: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) out_step: usize,
}

impl Tile {
    /// [`Tile::compute`] for a number of voxels that is known at run time, at most 12.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and all addresses of the tile can be read or written.
    #[inline(always)]
    pub(crate) unsafe fn dispatch<S: Simd, const NZ: usize>(&self, voxels: usize) {
        // SAFETY: the caller's.
        unsafe {
            match voxels {
                1 => self.compute::<S, 1, NZ>(),
                2 => self.compute::<S, 2, NZ>(),
                3 => self.compute::<S, 3, NZ>(),
                4 => self.compute::<S, 4, NZ>(),
                5 => self.compute::<S, 5, NZ>(),
                6 => self.compute::<S, 6, NZ>(),
                7 => self.compute::<S, 7, NZ>(),
                8 => self.compute::<S, 8, NZ>(),
                9 => self.compute::<S, 9, NZ>(),
                10 => self.compute::<S, 10, NZ>(),
                11 => self.compute::<S, 11, NZ>(),
                _ => self.compute::<S, 12, NZ>(),
            }
        }
    }

    /// `out[v][k] = bias[k] + Σ x[v + tap][channel] · w[tap][channel][k]` for `NX` voxels and `NZ` registers.
    #[inline(always)]
    unsafe fn compute<S: Simd, const NX: usize, const NZ: usize>(&self) {
        // SAFETY: the addresses are inside slab, weights, bias and output by the contract of `Job::rows`.
        unsafe {
            let mut acc = [[S::zero(); NZ]; NX];
            let mut w = self.w;
            for tz in 0..self.taps[0] {
                for ty in 0..self.taps[1] {
                    let x = self.x.add(tz * self.plane + ty * self.row);
                    for j in 0..self.run {
                        let mut weights = [S::zero(); NZ];
                        for (k, weight) in weights.iter_mut().enumerate() {
                            *weight = S::load(w.add(k * S::LANES));
                        }
                        w = w.add(NZ * S::LANES);
                        for (v, acc) in acc.iter_mut().enumerate() {
                            let value = S::splat(x.add(v * self.x_step + j));
                            for (sum, weight) in acc.iter_mut().zip(weights) {
                                *sum = S::fma(value, weight, *sum);
                            }
                        }
                    }
                }
            }
            for (v, acc) in acc.iter().enumerate() {
                for (k, sum) in acc.iter().enumerate() {
                    let biased = S::add(*sum, S::load(self.bias.add(k * S::LANES)));
                    S::store(self.out.add(v * self.out_step + k * S::LANES), biased);
                }
            }
        }
    }
}
