//! Backward-weights: products of inputs and output gradients, summed over voxels in registers.
//!
//! The rows of the result are shared out to groups and the planes of all samples to parts, both of a number that depends on
//! the shapes alone; each part has its own sums, added in order at the end, so that the result does not depend on the number
//! of threads.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::bf16::{self, Engine, engine, rounded};
use super::correlate::{Products, isa_lanes};
use super::isa::{Isa, isa};
use super::portable;
use super::scratch::Scratch;
use super::shape::Correlation;
use super::simd::Simd;
use super::source::{Region, SlabShape, Source, fill_slab};
use super::winograd;

/// All partial sums together take at most about this many values.
const PARTIAL_VALUES: usize = 1 << 24;
/// A part sums at least about this many products for each of its sums.
const SUMMED: usize = 512;
/// Tasks that a weight gradient is shared out to, where there are as many planes.
const TASKS: usize = 32;
/// From this size on a result is shared out by rows too: what a second level cache holds beside the activations.
pub(crate) const GROUPED_VALUES: usize = 3 << 16;
/// Input and gradient values of the planes that are swept together: half of a second level cache.
const SWEEP_VALUES: usize = 1 << 17;

/// Sums for taps, input and output channels, as rows `[group of input channels][tap][own channel]` of output channels.
pub(crate) struct Sums {
    pub(crate) values: Scratch<f32>,
    /// Input channels of a group.
    pub(crate) width: usize,
    /// Values of a row: output channels, and some more.
    pub(crate) padded: usize,
}

impl Sums {
    /// Where the row of an input channel begins for the first of `taps` taps; rows of its other taps follow `width` rows apart.
    pub(crate) fn row(&self, channel: usize, taps: usize) -> usize {
        (channel / self.width * taps * self.width + channel % self.width) * self.padded
    }
}

/// `Σ x[tap][channel] · dy[output channel]` over all outputs of a dense plan.
pub(crate) fn outer(plan: &Correlation, x: Source<'_>, dy: &[f32]) -> Sums {
    assert!(x.covers(plan.input));
    assert_eq!(dy.len(), plan.output.len());
    assert_eq!(plan.count, plan.output.space);
    // Training in a browser is not worth kernels of its own.
    let isa = if isa() == Isa::Simd128 { Isa::Portable } else { isa() };
    if let Some(grid) = winograd::Grid::of(plan, isa) {
        return winograd::outer(&grid, x, dy);
    }
    let padded = plan.output.channels.next_multiple_of(isa_lanes(isa)).max(1);
    let (size, width) = (plan.depth() * padded, plan.input.channels.max(1));
    let sums = |values| Sums { values, width, padded };
    if plan.is_empty() {
        return sums(Scratch::zeros(size));
    }
    let planes = plan.input.batch * plan.count[0];
    let most = plan.input.batch * plan.output.voxels() / SUMMED;
    if isa == Isa::Portable {
        let x = x.collect(plan.input);
        let add = |range, _, dw: &mut [f32]| portable::outer(plan, &x, dy, range, padded, dw);
        return sums(sum_in_parts(planes, 1, most, size, add));
    }
    // The rows of one pair of taps along z and y follow each other.
    let taps = plan.taps[0] * plan.taps[1];
    let groups = if size > GROUPED_VALUES { taps } else { 1 };
    let total = sum_in_parts(planes, groups, most, size, |range, group, dw| {
        let taps = group * taps / groups..(group + 1) * taps / groups;
        Part { plan, x, dy, padded, taps }.run(isa, range, dw);
    });
    sums(total)
}

/// Sums of `size` values in `groups` equal runs: shares the planes out to parts, lets `add(planes, group, sums)` sum each
/// part of each group, and adds the parts in order. There are at most `most` parts, so that each has more to sum up than its sums.
pub(crate) fn sum_in_parts(
    planes: usize,
    groups: usize,
    most: usize,
    size: usize,
    add: impl Fn(Range<usize>, usize, &mut [f32]) + Sync,
) -> Scratch<f32> {
    let length = size / groups;
    let mut total = Scratch::zeros(size);
    if length == 0 {
        return total;
    }
    let parts = TASKS.div_ceil(groups).min(PARTIAL_VALUES / size).min(most).clamp(1, planes.max(1));
    if parts == 1 {
        total.par_chunks_mut(length).enumerate().for_each(|(group, sums)| add(0..planes, group, sums));
        return total;
    }
    let sums: Vec<Scratch<f32>> = (0..parts * groups)
        .into_par_iter()
        .with_max_len(1)
        .map(|task| {
            let (part, group) = (task / groups, task % groups);
            let mut sums = Scratch::zeros(length);
            add(part * planes / parts..(part + 1) * planes / parts, group, &mut sums);
            sums
        })
        .collect();
    total.par_chunks_mut(length).enumerate().for_each(|(group, total)| {
        for part in 0..parts {
            let part = &sums[part * groups + group];
            total.iter_mut().zip(part.iter()).for_each(|(t, p)| *t += p);
        }
    });
    total
}

/// [`outer`], with products of a kind.
///
/// In bf16 they are taken by tiles wherever there are tiles; otherwise by dot products, with Winograd's filtering where it applies,
/// unless few channels make the layout cost more than the products.
pub(crate) fn outer_with(products: Products, plan: &Correlation, x: Source<'_>, dy: &[f32]) -> Sums {
    if matches!(products, Products::Fast | Products::Direct) {
        return outer(plan, x, dy);
    }
    let narrow = plan.input.channels.min(plan.output.channels) < 16;
    let engine = engine().filter(|_| isa() == Isa::Avx512);
    #[cfg(target_arch = "x86_64")]
    if engine == Some(Engine::Dot)
        && let Some(grid) = winograd::Grid::of_half(plan)
    {
        return winograd::outer_half(&grid, x, dy);
    }
    match engine {
        Some(Engine::Dot) if narrow => outer(plan, x, dy),
        Some(engine) => bf16::outer(engine, plan, x, dy),
        None => {
            let mut values = x.collect(plan.input).into_owned();
            values.par_iter_mut().for_each(|v| *v = rounded(*v));
            let dy: Vec<f32> = dy.par_iter().map(|v| rounded(*v)).collect();
            outer(plan, Source::plain(&values, plan.input.channels), &dy)
        }
    }
}

struct Part<'a> {
    plan: &'a Correlation,
    x: Source<'a>,
    dy: &'a [f32],
    padded: usize,
    /// Taps along z and y, counted together, y fastest.
    taps: Range<usize>,
}

impl Part<'_> {
    /// Sweeps the planes `range` (counted over all samples), a few at a time.
    fn run(&self, isa: Isa, range: Range<usize>, dw: &mut [f32]) {
        let plan = self.plan;
        let one = SlabShape::of(plan, [1, plan.count[1], plan.count[2]]);
        let gradients = plan.count[1] * plan.count[2] * plan.output.channels;
        let together = (SWEEP_VALUES / (one.plane * plan.in_stride[0] + gradients)).max(1);
        let (mut slab, mut padded) = (Vec::new(), Vec::new());
        let mut plane = range.start;
        while plane < range.end {
            let (sample, first) = (plane / plan.count[0], plane % plan.count[0]);
            let count = together.min(range.end - plane).min(plan.count[0] - first);
            let region =
                Region { sample, start: [first, 0, 0], count: [count, plan.count[1], plan.count[2]] };
            let shape = SlabShape::of(plan, region.count);
            fill_slab(plan, &self.x, &region, &mut slab);
            let mut dy = &self.dy[plane * gradients..][..count * gradients];
            if self.padded != plan.output.channels {
                pad_channels(dy, plan.output.channels, self.padded, &mut padded);
                dy = &padded;
            }
            let sweep =
                Sweep { plan, shape, slab: &slab, dy, padded: self.padded, count, taps: self.taps.clone() };
            match isa {
                // SAFETY: `isa()` gives an instruction set only where the processor has it.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { sweep.run_avx512(dw) },
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { sweep.run_avx2(dw) },
                #[cfg(target_arch = "aarch64")]
                // SAFETY: as above.
                Isa::Neon => unsafe { sweep.run_neon(dw) },
                _ => unreachable!("the portable path has no sweeps"),
            }
            plane += count;
        }
    }
}

fn pad_channels(dy: &[f32], channels: usize, padded: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(dy.len() / channels * padded, 0.0);
    for (from, to) in dy.chunks_exact(channels).zip(out.chunks_exact_mut(padded)) {
        to[..channels].copy_from_slice(from);
    }
}

/// A few planes of one sample: the padded input and the gradients of their outputs.
struct Sweep<'a> {
    plan: &'a Correlation,
    shape: SlabShape,
    slab: &'a [f32],
    dy: &'a [f32],
    padded: usize,
    count: usize,
    taps: Range<usize>,
}

impl Sweep<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512(&self, dw: &mut [f32]) {
        use super::simd::x86::Avx512;
        // SAFETY: see `tiles`.
        unsafe {
            match self.padded / 16 {
                n if n % 4 == 0 => self.tiles::<Avx512, 4, 4>(dw),
                n if n % 2 == 0 => self.tiles::<Avx512, 8, 2>(dw),
                _ => self.tiles::<Avx512, 16, 1>(dw),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&self, dw: &mut [f32]) {
        use super::simd::x86::Avx2;
        // SAFETY: see `tiles`.
        unsafe {
            match self.padded / 8 {
                n if n % 2 == 0 => self.tiles::<Avx2, 6, 2>(dw),
                _ => self.tiles::<Avx2, 8, 1>(dw),
            }
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&self, dw: &mut [f32]) {
        use super::simd::arm::Neon;
        // SAFETY: see `tiles`.
        unsafe {
            match self.padded / 4 {
                n if n % 4 == 0 => self.tiles::<Neon, 6, 4>(dw),
                n if n % 2 == 0 => self.tiles::<Neon, 8, 2>(dw),
                _ => self.tiles::<Neon, 8, 1>(dw),
            }
        }
    }

    /// All tiles of `NC` weight rows and `NZ` registers of output channels.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; `slab` is what `fill_slab` gives for `count` planes, `dy` holds
    /// `count` planes of `padded` channels, and `dw` has `taps.len() * plan.taps[2] * plan.input.channels * padded` values.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const NC: usize, const NZ: usize>(&self, dw: &mut [f32]) {
        let plan = self.plan;
        let run = plan.taps[2] * plan.input.channels;
        for (number, tap) in self.taps.clone().enumerate() {
            let x = tap / plan.taps[1] * self.shape.plane + tap % plan.taps[1] * self.shape.row;
            let first_row = number * run;
            for channel in (0..self.padded).step_by(NZ * S::LANES) {
                let mut j = 0;
                // SAFETY: `j + rows <= run` in every call; the rest by the contract above.
                unsafe {
                    while j + NC <= run {
                        self.tile::<S, NC, NZ>(x + j, channel, (first_row + j) * self.padded + channel, dw);
                        j += NC;
                    }
                    while j < run {
                        self.tile::<S, 1, NZ>(x + j, channel, (first_row + j) * self.padded + channel, dw);
                        j += 1;
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const NC: usize, const NZ: usize>(
        &self,
        x: usize,
        channel: usize,
        at: usize,
        dw: &mut [f32],
    ) {
        let plan = self.plan;
        let x_step = plan.in_stride[2] * plan.input.channels;
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[S::zero(); NZ]; NC];
            let mut g = self.dy.as_ptr().add(channel);
            for z in 0..self.count {
                for y in 0..plan.count[1] {
                    let row =
                        z * plan.in_stride[0] * self.shape.plane + y * plan.in_stride[1] * self.shape.row;
                    let mut input = self.slab.as_ptr().add(row + x);
                    for _ in 0..plan.count[2] {
                        let mut gradients = [S::zero(); NZ];
                        for (k, gradient) in gradients.iter_mut().enumerate() {
                            *gradient = S::load(g.add(k * S::LANES));
                        }
                        for (c, acc) in acc.iter_mut().enumerate() {
                            let value = S::splat(input.add(c));
                            for (sum, gradient) in acc.iter_mut().zip(gradients) {
                                *sum = S::fma(value, gradient, *sum);
                            }
                        }
                        input = input.wrapping_add(x_step);
                        g = g.wrapping_add(self.padded);
                    }
                }
            }
            for (c, acc) in acc.iter().enumerate() {
                for (k, sum) in acc.iter().enumerate() {
                    let p = dw.as_mut_ptr().add(at + c * self.padded + k * S::LANES);
                    S::store(p, S::add(S::load(p), *sum));
                }
            }
        }
    }
}
