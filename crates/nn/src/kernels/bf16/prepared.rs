//! Correlations with weights in bf16.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::super::boxes::Boxes;
use super::super::correlate::SharedOut;
use super::super::moments::{BlockSums, Moments, RUN};
use super::super::pack::{Weights, gather};
use super::super::scratch::Scratch;
use super::super::shape::Correlation;
use super::super::source::{Region, SlabShape, Source, fill_rows};
use super::engine::Engine;
use super::round;
use super::tiles::{ROWS, Tiles};

/// Output channels of a block.
pub(crate) const BLOCK: usize = 2 * ROWS;
/// Voxels of a block.
pub(super) const VOXELS: usize = 2 * ROWS;

thread_local! {
    static SLABS: RefCell<(Vec<f32>, Vec<u16>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Voxels whose sums over all taps and input channels are wanted for a block of output channels.
pub(crate) struct Block {
    pub(crate) x: *const u16,
    /// Values from voxel to voxel, row to row, plane to plane.
    pub(crate) step: usize,
    pub(crate) row: usize,
    pub(crate) plane: usize,
    /// Taps along z and y; those along x are part of the run.
    pub(crate) taps: [usize; 2],
    /// Pairs of values per run.
    pub(crate) pairs: usize,
    pub(crate) w: *const u16,
    pub(crate) voxels: usize,
}

/// Where the sums of a block go.
pub(super) struct Target {
    /// The first channel of the first voxel.
    pub(super) first: *mut f32,
    /// Values from voxel to voxel.
    pub(super) step: usize,
    /// Channels that are wanted.
    pub(super) lanes: usize,
    /// What is added to the sums, [`BLOCK`] values.
    pub(super) bias: *const f32,
}

impl Target {
    /// Adds the bias to sums, `BLOCK` for each voxel, and writes them.
    ///
    /// # Safety
    /// The target has room for `voxels` voxels.
    #[inline(always)]
    pub(super) unsafe fn write(&self, sums: &[f32; VOXELS * BLOCK], voxels: usize) {
        for (v, sums) in sums.chunks_exact(BLOCK).take(voxels).enumerate() {
            // SAFETY: the caller's.
            let (to, bias) = unsafe {
                let to = self.first.add(v * self.step);
                (
                    std::slice::from_raw_parts_mut(to, self.lanes),
                    std::slice::from_raw_parts(self.bias, self.lanes),
                )
            };
            for ((to, sum), bias) in to.iter_mut().zip(sums).zip(bias) {
                *to = sum + bias;
            }
        }
    }
}

/// Something that multiplies.
///
/// # Safety
/// `products` is called with a target that has room for the block's voxels, where the processor has the instructions, with a block whose runs can be read for all voxels of whole
/// groups of [`ROWS`], whose weights are packed in the same number of pairs, for tiles a multiple of [`ROWS`].
pub(super) unsafe trait Kernel {
    /// `out[voxel][channel] = bias[channel] + Σ x · w` for the voxels of the block.
    unsafe fn products(&mut self, block: &Block, out: &Target);
}

/// Products by tiles: 2×2 tiles of sums, two of voxels, two of weights.
pub(super) struct ByTiles<T: Tiles> {
    pub(super) tiles: T,
    sums: [f32; VOXELS * BLOCK],
}

impl<T: Tiles> ByTiles<T> {
    pub(super) fn new(tiles: T) -> Self {
        Self { tiles, sums: [0.0; VOXELS * BLOCK] }
    }
}

// SAFETY: reads the runs and weights of the block in whole tiles.
unsafe impl<T: Tiles> Kernel for ByTiles<T> {
    #[inline(always)]
    unsafe fn products(&mut self, block: &Block, target: &Target) {
        let (tiles, both) = (&mut self.tiles, block.voxels > ROWS);
        let (stride, width) = (2 * block.step, 4 * BLOCK);
        // SAFETY: the caller's.
        unsafe {
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
            let mut w = block.w.cast::<u8>();
            for tap in 0..block.taps[0] * block.taps[1] {
                let (tz, ty) = (tap / block.taps[1], tap % block.taps[1]);
                let mut x = block.x.add(tz * block.plane + ty * block.row).cast::<u8>();
                for _ in 0..block.pairs / ROWS {
                    tiles.load::<4>(x, stride);
                    tiles.load::<6>(w, width);
                    tiles.load::<7>(w.add(64), width);
                    tiles.multiply::<0, 4, 6>();
                    tiles.multiply::<1, 4, 7>();
                    if both {
                        tiles.load::<5>(x.add(ROWS * stride), stride);
                        tiles.multiply::<2, 5, 6>();
                        tiles.multiply::<3, 5, 7>();
                    }
                    x = x.add(4 * ROWS);
                    w = w.add(ROWS * width);
                }
            }
            let out = self.sums.as_mut_ptr().cast::<u8>();
            tiles.store::<0>(out, width);
            tiles.store::<1>(out.add(64), width);
            if both {
                tiles.store::<2>(out.add(ROWS * width), width);
                tiles.store::<3>(out.add(ROWS * width + 64), width);
            }
            target.write(&self.sums, block.voxels);
        }
    }
}

/// Correlations over the same input boxes, see [`super::super::correlate::Prepared`], with weights in bf16:
/// `[block of output channels][tap along z and y][pair along the run][channel][2]`, zero beyond run and channels.
pub(crate) struct Bf16Prepared {
    engine: Engine,
    parts: Vec<Correlation>,
    /// Of each part, and the pairs of its runs.
    weights: Vec<(Scratch<u16>, usize)>,
    /// Zero beyond the last channel.
    bias: Vec<f32>,
}

impl Bf16Prepared {
    pub(crate) fn new(
        engine: Engine,
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
    ) -> Self {
        let plan = &parts[0];
        let multiple = if engine == Engine::Dot { 1 } else { ROWS };
        let pack = |part: usize| {
            let run = parts[part].taps[2] * plan.input.channels;
            let pairs = run.div_ceil(2).next_multiple_of(multiple);
            (pack(&parts[part], pairs, weights, part), pairs)
        };
        let mut padded = vec![0.0; plan.output.channels.next_multiple_of(BLOCK)];
        if let Some(bias) = bias {
            padded[..bias.len()].copy_from_slice(bias);
        }
        let weights = (0..parts.len()).map(pack).collect();
        Self { engine, parts: parts.to_vec(), weights, bias: padded }
    }

    /// See [`super::super::correlate::Prepared::run`]; the shapes have been checked there.
    pub(crate) fn run(&self, x: Source<'_>, out: &mut [f32], moments: bool) -> Vec<Moments> {
        let plan = &Correlation::reach(&self.parts);
        let boxes = Boxes::rows(plan, plan.output.channels.div_ceil(BLOCK));
        let shared = SharedOut(out.as_mut_ptr());
        let step = plan.in_stride[2] * plan.input.channels;
        let most = self.weights.iter().map(|(_, pairs)| *pairs).max().unwrap_or(0);
        let task = |task| {
            let (region, blocks) = boxes.task(task);
            let channels = (blocks.end * BLOCK).min(plan.output.channels) - blocks.start * BLOCK;
            let mut own = vec![Moments::default(); if moments { channels } else { 0 }];
            SLABS.with_borrow_mut(|(values, slab)| {
                let shape = SlabShape::of(plan, region.count);
                fill_rounded(plan, &x, &region, values, slab);
                // Whole tiles read past the last voxel and the end of the last run.
                slab.resize(shape.planes * shape.plane + VOXELS * step + 2 * most, 0);
                for (part, (weights, pairs)) in self.parts.iter().zip(&self.weights) {
                    let Some((region, first)) = plan.part(part, &region, shape) else { continue };
                    let (slab, blocks, pairs, bias) =
                        (&slab[first..], blocks.clone(), *pairs, &self.bias[..]);
                    let job = Job { plan: part, slab, shape, weights, pairs, bias, region, blocks };
                    job.run(self.engine, shared, &mut own);
                }
            });
            own
        };
        let tasks: Vec<_> = (0..boxes.tasks()).into_par_iter().with_max_len(1).map(task).collect();
        if moments { boxes.join(plan.output.channels, BLOCK, &tasks) } else { Vec::new() }
    }
}

/// [`super::super::source::fill_slab`] with values rounded to bf16; `row` is for values that go through a map.
fn fill_rounded(
    plan: &Correlation,
    x: &Source<'_>,
    region: &Region,
    row: &mut Vec<f32>,
    slab: &mut Vec<u16>,
) {
    let ci = plan.input.channels;
    fill_rows(plan, region, slab, |voxel, to| {
        if x.is_plain(ci) {
            return round_all(&x.values[voxel * ci..][..to.len()], to);
        }
        row.resize(to.len(), 0.0);
        x.copy_voxels(region.sample, voxel, ci, row);
        round_all(row, to);
    });
}

/// Rounds values to bf16.
pub(crate) fn round_all(from: &[f32], to: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: just checked.
        return unsafe { super::dot::round_all(from, to) };
    }
    to.iter_mut().zip(from).for_each(|(to, from)| *to = round(*from));
}

/// Rounds two runs of values to bf16, in turn one of each.
pub(crate) fn round_pairs(even: &[f32], odd: &[f32], to: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: just checked.
        return unsafe { super::dot::round_pairs(even, odd, to) };
    }
    for ((to, even), odd) in to.chunks_exact_mut(2).zip(even).zip(odd) {
        to.copy_from_slice(&[round(*even), round(*odd)]);
    }
}

fn pack(plan: &Correlation, pairs: usize, weights: &(impl Weights + ?Sized), part: usize) -> Scratch<u16> {
    let (ci, co) = (plan.input.channels, plan.output.channels);
    let ([tz, ty, tx], size) = (plan.taps, pairs * 2 * BLOCK);
    let taps = tz * ty * tx;
    let len = co.div_ceil(BLOCK) * tz * ty * size;
    // Without gaps between runs, all of it is written.
    let mut data = if 2 * pairs == tx * ci { Scratch::any(len) } else { Scratch::zeros(len) };
    data.par_chunks_mut((tz * ty * size).max(1)).enumerate().for_each(|(number, chunk)| {
        let lanes = number * BLOCK..co.min((number + 1) * BLOCK);
        gather(weights, part, taps, ci, lanes, BLOCK, |channels, values| {
            if ci.is_multiple_of(2) {
                for channel in channels.clone().step_by(2) {
                    let values = &values[(channel - channels.start) * taps * BLOCK..];
                    let (even, odd) = values.split_at(taps * BLOCK);
                    for tap in 0..taps {
                        let at = tap / tx * size + (tap % tx * ci + channel) * BLOCK;
                        let [even, odd] = [even, odd].map(|values| &values[tap * BLOCK..][..BLOCK]);
                        round_pairs(even, odd, &mut chunk[at..][..2 * BLOCK]);
                    }
                }
                return;
            }
            for (channel, values) in channels.zip(values.chunks_exact(taps * BLOCK)) {
                for (tap, values) in values.chunks_exact(BLOCK).enumerate() {
                    let i = tap % tx * ci + channel;
                    let to = &mut chunk[tap / tx * size + i / 2 * 2 * BLOCK..][..2 * BLOCK];
                    for (to, value) in to.iter_mut().skip(i % 2).step_by(2).zip(values) {
                        *to = round(*value);
                    }
                }
            }
        });
    });
    data
}

/// A box of outputs of one sample, for some blocks of output channels.
struct Job<'a> {
    plan: &'a Correlation,
    slab: &'a [u16],
    shape: SlabShape,
    weights: &'a [u16],
    pairs: usize,
    bias: &'a [f32],
    region: Region,
    blocks: Range<usize>,
}

impl Job<'_> {
    fn run(&self, engine: Engine, out: SharedOut, moments: &mut [Moments]) {
        // SAFETY: engines are given only where the processor has them; no other task writes the outputs of this job.
        unsafe {
            match engine {
                #[cfg(target_arch = "x86_64")]
                Engine::Amx => self.run_amx(out, moments),
                #[cfg(target_arch = "x86_64")]
                Engine::Dot => self.run_dot(out, moments),
                #[cfg(test)]
                Engine::Emulated => {
                    self.rows(&mut ByTiles::new(super::tiles::Emulated::begin()), out, moments);
                }
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("no engine is found on other processors"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn run_amx(&self, out: SharedOut, moments: &mut [Moments]) {
        // SAFETY: the caller's.
        unsafe {
            let mut kernel = ByTiles::new(super::amx::Amx::begin());
            self.rows(&mut kernel, out, moments);
            kernel.tiles.end();
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn run_dot(&self, out: SharedOut, moments: &mut [Moments]) {
        // SAFETY: the caller's.
        unsafe { self.rows(&mut super::dot::Dot, out, moments) };
    }

    /// All rows of the job, block after block.
    ///
    /// # Safety
    /// As for [`Kernel`]; `out` points to `plan.pitch` values per output voxel.
    #[inline(always)]
    unsafe fn rows<K: Kernel>(&self, kernel: &mut K, out: SharedOut, moments: &mut [Moments]) {
        let plan = self.plan;
        let [count_z, count_y, count_x] = self.region.count;
        let step = plan.out_step[2] * plan.pitch;
        let mut sums = BlockSums::new();
        for (group, number) in self.blocks.clone().enumerate() {
            let lanes = (plan.output.channels - number * BLOCK).min(BLOCK);
            for row in 0..count_z * count_y {
                let (mz, my) = (row / count_y, row % count_y);
                // SAFETY: the caller's.
                unsafe {
                    let target = out.0.add(plan.output_at(&self.region, mz, my) + number * BLOCK);
                    self.row(kernel, number, mz, my, target, lanes);
                    if !moments.is_empty() {
                        sums.add_row(target, step, count_x, lanes);
                        if sums.count >= RUN || row + 1 == count_z * count_y {
                            sums.flush(&mut moments[group * BLOCK..][..lanes]);
                        }
                    }
                }
            }
        }
    }

    /// One row of outputs for one block of channels.
    ///
    /// # Safety
    /// As for [`Job::rows`]; `target` is the row's first output.
    #[inline(always)]
    unsafe fn row<K: Kernel>(
        &self,
        kernel: &mut K,
        number: usize,
        mz: usize,
        my: usize,
        target: *mut f32,
        lanes: usize,
    ) {
        let (plan, ci, shape) = (self.plan, self.plan.input.channels, self.shape);
        let taps = [plan.taps[0], plan.taps[1]];
        let weights = taps[0] * taps[1] * self.pairs * 2 * BLOCK;
        let (bias, out_step) = (self.bias[number * BLOCK..][..BLOCK].as_ptr(), plan.out_step[2] * plan.pitch);
        for mx in (0..self.region.count[2]).step_by(VOXELS) {
            let voxels = VOXELS.min(self.region.count[2] - mx);
            let row = mz * plan.in_stride[0] * shape.plane + my * plan.in_stride[1] * shape.row;
            let x = &self.slab[row + mx * plan.in_stride[2] * ci..];
            let block = Block {
                x: x.as_ptr(),
                step: plan.in_stride[2] * ci,
                row: shape.row,
                plane: shape.plane,
                taps,
                pairs: self.pairs,
                w: self.weights[number * weights..].as_ptr(),
                voxels,
            };
            // SAFETY: the caller's; the slab goes on behind its last voxel for what whole tiles read.
            unsafe {
                let first = target.add(mx * out_step);
                kernel.products(&block, &Target { first, step: out_step, lanes, bias });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::conv::forward_plan;
    use super::super::super::shape::{ConvGeometry, Dims};
    use super::super::super::transpose::up_plans;
    use super::super::widen;
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 2_654_435_761 + seed * 97) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn engines() -> Vec<Engine> {
        let mut engines = vec![Engine::Emulated];
        engines.extend(super::super::engine::engine());
        engines
    }

    /// Sums of products of rounded values in f64.
    fn expected(plans: &[Correlation], x: &[f32], w: &dyn Fn(usize, usize, usize, usize) -> f32) -> Vec<f64> {
        let half = |v: f32| f64::from(widen(round(v)));
        let plan = &plans[0];
        let mut out = vec![0.0; plan.output.voxels() * plan.pitch];
        let ([nz, ny, nx], ci) = (plan.input.space, plan.input.channels);
        for (part, plan) in plans.iter().enumerate() {
            for m in 0..plan.count.iter().product::<usize>() {
                let m =
                    [m / plan.count[2] / plan.count[1], m / plan.count[2] % plan.count[1], m % plan.count[2]];
                let at: [usize; 3] = std::array::from_fn(|a| plan.out_start[a] + m[a] * plan.out_step[a]);
                let voxel = (at[0] * plan.output.space[1] + at[1]) * plan.output.space[2] + at[2];
                for tap in 0..plan.taps.iter().product::<usize>() {
                    let t = [
                        tap / plan.taps[2] / plan.taps[1],
                        tap / plan.taps[2] % plan.taps[1],
                        tap % plan.taps[2],
                    ];
                    let i: [isize; 3] =
                        std::array::from_fn(|a| (m[a] * plan.in_stride[a] + t[a]) as isize + plan.offset[a]);
                    let size = [nz, ny, nx];
                    if (0..3).any(|a| i[a] < 0 || i[a] >= size[a] as isize) {
                        continue;
                    }
                    let from = ((i[0] as usize * ny + i[1] as usize) * nx + i[2] as usize) * ci;
                    for (c, o) in (0..ci).flat_map(|c| (0..plan.output.channels).map(move |o| (c, o))) {
                        out[voxel * plan.pitch + o] += half(x[from + c]) * half(w(part, tap, c, o));
                    }
                }
            }
        }
        out
    }

    fn check(plans: &[Correlation]) {
        let plan = &plans[0];
        let taps: usize = plan.taps.iter().product();
        let (ci, co) = (plan.input.channels, plan.output.channels);
        let (x, weights) = (values(plan.input.len(), 1), values(plans.len() * taps * ci * co, 2));
        let w =
            |part: usize, tap: usize, c: usize, o: usize| weights[((part * taps + tap) * ci + c) * co + o];
        let expected = expected(plans, &x, &w);
        for engine in engines() {
            let mut out = vec![0.0; expected.len()];
            let prepared = Bf16Prepared::new(engine, plans, &w, None);
            let moments = prepared.run(Source::plain(&x, ci), &mut out, true);
            let worst = out.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4, "{engine:?} {plan:?}: {worst}");
            let mean = out.iter().step_by(plan.pitch).map(|v| f64::from(*v)).sum::<f64>();
            assert!((moments[0].mean * moments[0].count - mean).abs() < 1e-2, "{engine:?}");
        }
    }

    #[test]
    fn convolutions_of_all_kinds_are_those_of_rounded_values() {
        for (ci, co, space, kernel, stride) in [
            (1, 32, [3, 4, 40], [3; 3], [1; 3]),
            (3, 17, [2, 3, 5], [3; 3], [2; 3]),
            (32, 64, [3, 3, 35], [3; 3], [1; 3]),
            (33, 3, [1, 6, 17], [1, 3, 3], [1, 2, 2]),
            (48, 33, [2, 2, 16], [1; 3], [1; 3]),
            (5, 4, [1; 3], [2, 3, 1], [9; 3]),
        ] {
            let input = Dims { batch: 1, space, channels: ci };
            check(&[forward_plan(input, co, &ConvGeometry::same(kernel, stride))]);
        }
        check(&up_plans(Dims { batch: 1, space: [2, 3, 18], channels: 33 }, 20, [1, 2, 2], 20));
    }

    #[test]
    fn values_round_to_the_nearest_half_and_what_is_no_number_stays_so() {
        for (value, expected) in [(1.0, 1.0), (1.003_906_25, 1.0), (1.011_718_75, 1.015_625), (-1.5, -1.5)] {
            assert_eq!(widen(round(value)), expected);
        }
        assert!(widen(round(f32::NAN)).is_nan());
        assert_eq!(widen(round(f32::INFINITY)), f32::INFINITY);
        let all = values(1000, 3);
        let mut found = vec![0; 1000];
        round_all(&all, &mut found);
        assert!(all.iter().zip(&found).all(|(v, f)| round(*v) == *f));
    }
}
