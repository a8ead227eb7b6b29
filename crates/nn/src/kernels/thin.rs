//! Correlations with a few output channels, heads and gradients of images: lanes are input channels, which are summed up at the end.
#![allow(unsafe_code)]
// Other processors have none of the instructions.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports, unused_mut, unused_variables))]

use rayon::prelude::*;

use super::boxes::Boxes;
use super::correlate::{Products, SharedOut, with_slab};
use super::isa::{Isa, isa};
use super::moments::{BlockSums, Moments, RUN};
use super::pack::Weights;
use super::shape::Correlation;
use super::source::{Region, SlabShape, Source};

/// Output channels for which that is faster than lanes of output channels.
const MOST: usize = 3;
/// Lanes of a register.
const LANES: usize = 16;
/// Voxels whose sums are kept in registers.
const VOXELS: usize = 8;

/// Weights as `[output channel][tap][input channel]`.
pub(crate) struct Thin(Vec<f32>);

impl Thin {
    /// The weights of a correlation, where the method applies.
    pub(crate) fn of(plan: &Correlation, weights: &(impl Weights + ?Sized), isa: Isa) -> Option<Self> {
        let (ci, co) = (plan.input.channels, plan.output.channels);
        let taps: usize = plan.taps.iter().product();
        if isa != Isa::Avx512 || co > MOST || plan.is_empty() || !ci.is_multiple_of(LANES) {
            return None;
        }
        let outputs = (0..co).flat_map(|o| (0..taps).map(move |tap| (o, tap)));
        Some(Self(outputs.flat_map(|(o, tap)| (0..ci).map(move |c| weights.at(0, tap, c, o))).collect()))
    }

    /// See [`super::correlate::Prepared::run`]; the processor has AVX-512.
    pub(crate) fn run(
        &self,
        plan: &Correlation,
        x: Source<'_>,
        bias: &[f32],
        out: &mut [f32],
        moments: bool,
    ) -> Vec<Moments> {
        let co = plan.output.channels;
        assert!(bias.len() >= co);
        let boxes = Boxes::rows(plan, 1);
        let shared = SharedOut(out.as_mut_ptr());
        let task = |task| {
            let (region, _) = boxes.task(task);
            let mut own = vec![Moments::default(); if moments { co } else { 0 }];
            with_slab(plan, &x, &region, |slab, shape| {
                let job = Job { plan, slab, shape, weights: &self.0, bias, region };
                // SAFETY: `of` asks for the instructions; no other task writes the voxels of the region.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    match co {
                        1 => job.rows::<1>(shared, &mut own),
                        2 => job.rows::<2>(shared, &mut own),
                        _ => job.rows::<MOST>(shared, &mut own),
                    }
                }
                #[cfg(not(target_arch = "x86_64"))]
                let _ = (job, shared);
            });
            own
        };
        let tasks: Vec<_> = (0..boxes.tasks()).into_par_iter().with_max_len(1).map(task).collect();
        if moments { boxes.join(co, co, &tasks) } else { Vec::new() }
    }
}

/// A box of outputs of one sample.
struct Job<'a> {
    plan: &'a Correlation,
    slab: &'a [f32],
    shape: SlabShape,
    weights: &'a [f32],
    bias: &'a [f32],
    region: Region,
}

#[cfg(target_arch = "x86_64")]
impl Job<'_> {
    /// All rows of the box.
    ///
    /// # Safety
    /// The processor has AVX-512F; the outputs of the region can be written; the slab is that of the region.
    #[target_feature(enable = "avx512f")]
    unsafe fn rows<const CO: usize>(&self, out: SharedOut, moments: &mut [Moments]) {
        let (plan, [count_z, count_y, count_x]) = (self.plan, self.region.count);
        let step = plan.out_step[2] * plan.pitch;
        let mut sums = BlockSums::new();
        for row in 0..count_z * count_y {
            let (mz, my) = (row / count_y, row % count_y);
            let first = mz * plan.in_stride[0] * self.shape.plane + my * plan.in_stride[1] * self.shape.row;
            // SAFETY: the caller's.
            unsafe {
                let target = out.0.add(plan.output_at(&self.region, mz, my));
                for mx in (0..count_x).step_by(VOXELS) {
                    let from = self.slab.as_ptr().add(first + mx * plan.in_stride[2] * plan.input.channels);
                    let to = target.add(mx * step);
                    match count_x - mx {
                        1 => self.voxels::<1, CO>(from, to, step),
                        2 => self.voxels::<2, CO>(from, to, step),
                        3 => self.voxels::<3, CO>(from, to, step),
                        4 => self.voxels::<4, CO>(from, to, step),
                        5 => self.voxels::<5, CO>(from, to, step),
                        6 => self.voxels::<6, CO>(from, to, step),
                        7 => self.voxels::<7, CO>(from, to, step),
                        _ => self.voxels::<VOXELS, CO>(from, to, step),
                    }
                }
                if !moments.is_empty() {
                    sums.add_row(target, step, count_x, CO);
                    if sums.count >= RUN || row + 1 == count_z * count_y {
                        sums.flush(moments);
                    }
                }
            }
        }
    }

    /// `N` voxels of a row.
    ///
    /// # Safety
    /// As for [`Job::rows`].
    #[target_feature(enable = "avx512f")]
    unsafe fn voxels<const N: usize, const CO: usize>(&self, from: *const f32, to: *mut f32, step: usize) {
        use std::arch::x86_64::*;

        use super::simd::x86::totals;
        let plan = self.plan;
        let (ci, run) = (plan.input.channels, plan.taps[2] * plan.input.channels);
        let (taps, x_step) = (plan.taps[0] * plan.taps[1], plan.in_stride[2] * ci);
        // SAFETY: the caller's; runs are whole registers.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); CO]; N];
            for tap in 0..taps {
                let (tz, ty) = (tap / plan.taps[1], tap % plan.taps[1]);
                let x = from.add(tz * self.shape.plane + ty * self.shape.row);
                let w = self.weights.as_ptr().add(tap * run);
                for j in (0..run).step_by(LANES) {
                    let mut weights = [_mm512_setzero_ps(); CO];
                    for (o, weight) in weights.iter_mut().enumerate() {
                        *weight = _mm512_loadu_ps(w.add(o * taps * run + j));
                    }
                    for (v, sums) in sums.iter_mut().enumerate() {
                        let values = _mm512_loadu_ps(x.add(v * x_step + j));
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = _mm512_fmadd_ps(values, weight, *sum);
                        }
                    }
                }
            }
            for first in (0..N * CO).step_by(LANES) {
                let mut some = [_mm512_setzero_ps(); LANES];
                for (i, some) in some.iter_mut().enumerate().take(N * CO - first) {
                    *some = sums[(first + i) / CO][(first + i) % CO];
                }
                let mut all = [0.0f32; LANES];
                _mm512_storeu_ps(all.as_mut_ptr(), totals(some));
                for (i, total) in all.iter().enumerate().take(N * CO - first) {
                    let (v, o) = ((first + i) / CO, (first + i) % CO);
                    *to.add(v * step + o) = total + self.bias[o];
                }
            }
        }
    }
}

/// Voxels of a task of the gradients.
const TASK: usize = 4096;
/// Voxels whose values are read through a map at a time.
const AT_ONCE: usize = 128;

/// Whether the gradients of a head are taken voxel by voxel: a few outputs of the voxel's own channels.
pub(crate) fn is_head(plan: &Correlation, products: Products) -> bool {
    let own = plan.taps == [1; 3] && plan.in_stride == [1; 3] && plan.offset == [0; 3];
    isa() == Isa::Avx512
        && products != Products::Direct
        && own
        && !plan.is_empty()
        && plan.count == plan.input.space
        && plan.output.channels <= MOST
        && plan.input.channels.is_multiple_of(LANES)
}

/// The gradient of a head's input for that of its output.
pub(crate) fn head_input_gradient(plan: &Correlation, dy: &[f32], weights: &[f32]) -> Vec<f32> {
    let (ci, co, len) = (plan.input.channels, plan.output.channels, plan.input.len());
    assert!(weights.len() == co * ci && dy.len() == plan.output.len() && len == dy.len() / co * ci);
    let mut dx = Vec::with_capacity(len);
    let room = &mut dx.spare_capacity_mut()[..len];
    room.par_chunks_mut(TASK * ci).zip(dy.par_chunks(TASK * co)).for_each(|(dx, dy)| {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `is_head` asks for the instructions; both chunks have the same voxels.
        unsafe {
            let dx = dx.as_mut_ptr().cast();
            match co {
                1 => x86::spread::<1>(dy, weights, ci, dx),
                2 => x86::spread::<2>(dy, weights, ci, dx),
                _ => x86::spread::<MOST>(dy, weights, ci, dx),
            }
        }
    });
    // SAFETY: all of it has been written.
    unsafe { dx.set_len(len) };
    dx
}

/// The gradient of a head's weight (out, in).
pub(crate) fn head_weight_gradient(plan: &Correlation, x: Source<'_>, dy: &[f32]) -> Vec<f32> {
    let (ci, co, voxels) = (plan.input.channels, plan.output.channels, plan.input.voxels());
    assert!(x.covers(plan.input) && dy.len() == plan.output.len());
    let tasks = voxels.div_ceil(TASK);
    let sums: Vec<Vec<f32>> = (0..plan.input.batch * tasks)
        .into_par_iter()
        .map(|task| {
            let (sample, start) = (task / tasks, task % tasks * TASK);
            let end = voxels.min(start + TASK);
            let (mut sums, mut values) = (vec![0.0; co * ci], vec![0.0; AT_ONCE * ci]);
            for first in (start..end).step_by(AT_ONCE) {
                let (count, voxel) = (AT_ONCE.min(end - first), sample * voxels + first);
                let values = if x.is_plain(ci) {
                    &x.values[voxel * ci..][..count * ci]
                } else {
                    x.copy_voxels(sample, voxel, ci, &mut values[..count * ci]);
                    &values[..count * ci]
                };
                let dy = &dy[voxel * co..][..count * co];
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `is_head` asks for the instructions.
                unsafe {
                    match co {
                        1 => x86::gather::<1>(dy, values, ci, &mut sums),
                        2 => x86::gather::<2>(dy, values, ci, &mut sums),
                        _ => x86::gather::<MOST>(dy, values, ci, &mut sums),
                    }
                }
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; co * ci];
    for sums in &sums {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::LANES;

    /// `dx[voxel][channel] = Σ dy[voxel][o] · w[o][channel]`
    ///
    /// # Safety
    /// The processor has AVX-512F; channels are a multiple of a register, and `dx` has room for the voxels of `dy`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn spread<const CO: usize>(dy: &[f32], w: &[f32], ci: usize, dx: *mut f32) {
        for c in (0..ci).step_by(LANES) {
            // SAFETY: the caller's.
            unsafe {
                let mut weights = [_mm512_setzero_ps(); CO];
                for (o, weight) in weights.iter_mut().enumerate() {
                    *weight = _mm512_loadu_ps(w.as_ptr().add(o * ci + c));
                }
                for (v, dy) in dy.chunks_exact(CO).enumerate() {
                    let mut sum = _mm512_setzero_ps();
                    for (dy, weight) in dy.iter().zip(weights) {
                        sum = _mm512_fmadd_ps(_mm512_set1_ps(*dy), weight, sum);
                    }
                    _mm512_storeu_ps(dx.add(v * ci + c), sum);
                }
            }
        }
    }

    /// `sums[o][channel] += Σ dy[voxel][o] · x[voxel][channel]`
    ///
    /// # Safety
    /// The processor has AVX-512F; channels are a multiple of a register, `x` has the voxels of `dy`, `sums` a value for each weight.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn gather<const CO: usize>(dy: &[f32], x: &[f32], ci: usize, sums: &mut [f32]) {
        for c in (0..ci).step_by(LANES) {
            // SAFETY: the caller's.
            unsafe {
                // Sums of four voxels apart, so that none waits for the one before.
                let mut own = [[_mm512_setzero_ps(); CO]; 4];
                for (four, dy) in dy.chunks(4 * CO).enumerate() {
                    for (i, (own, dy)) in own.iter_mut().zip(dy.chunks_exact(CO)).enumerate() {
                        let values = _mm512_loadu_ps(x.as_ptr().add((4 * four + i) * ci + c));
                        for (sum, dy) in own.iter_mut().zip(dy) {
                            *sum = _mm512_fmadd_ps(values, _mm512_set1_ps(*dy), *sum);
                        }
                    }
                }
                for o in 0..CO {
                    let to = sums.as_mut_ptr().add(o * ci + c);
                    let pairs = [0, 2].map(|i: usize| _mm512_add_ps(own[i][o], own[i + 1][o]));
                    _mm512_storeu_ps(
                        to,
                        _mm512_add_ps(_mm512_loadu_ps(to), _mm512_add_ps(pairs[0], pairs[1])),
                    );
                }
            }
        }
    }
}
