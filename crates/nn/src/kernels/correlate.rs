//! Correlations with weights that are prepared once and run as often as need be: direct kernels, tiled ones, or the portable
//! reference, whichever the processor and the shapes call for.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::bf16::{Bf16Prepared, Engine, engine, rounded};
use super::boxes::Boxes;
use super::few;
use super::isa::{Isa, isa};
use super::moments::{BlockSums, Moments, RUN};
use super::pack::{PackedWeights, Weights, pack_weights};
use super::portable;
use super::scratch::Scratch;
use super::shape::Correlation;
use super::simd::Simd;
use super::source::{Region, SlabShape, Source, fill_slab};
use super::thin::Thin;
use super::tile::Tile;
use super::winograd;
use crate::Precision;

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
        Isa::Neon if count.is_multiple_of(4) => 4,
        _ if count.is_multiple_of(2) => 2,
        _ => 1,
    }
}

pub(crate) fn isa_lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 16,
        Isa::Simd128 | Isa::Neon => 4,
        Isa::Avx2 | Isa::Portable => 8,
    }
}

/// How products are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Products {
    /// In f32, by Winograd's minimal filtering where that takes fewer of them.
    #[default]
    Fast,
    /// In f32, each of them, rounded before it is added: slower, with smaller rounding errors and the same bits with every
    /// instruction set.
    Direct,
    /// In bf16, by Winograd's minimal filtering as well: its transforms make about four times the error of rounded factors.
    Bf16,
    /// In bf16 with no more error than that of rounded factors; where there are no tiles and Winograd's filtering saves more, in f32.
    Bf16Strict,
}

impl Products {
    /// Those of a precision.
    pub(crate) fn of(precision: Precision) -> Self {
        if precision.is_bf16() { Self::Bf16 } else { Self::Fast }
    }

    /// Those of a precision for prediction, where errors are not evened out by many steps.
    pub(crate) fn strict(precision: Precision) -> Self {
        if precision.is_bf16() { Self::Bf16Strict } else { Self::Fast }
    }
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Outputs, with weights that were put in order before and stay so.
    Prepared,
    /// Outputs, with weights that are used this once.
    Forward,
    /// Either gradient.
    Backward,
}

/// One or more correlations over the same input, with their weights as the kernels read them.
pub(crate) struct Prepared {
    isa: Isa,
    /// Products are rounded before they are added.
    separate: bool,
    parts: Vec<Correlation>,
    method: Method,
    /// Zero beyond the last channel.
    bias: Vec<f32>,
}

enum Method {
    /// Weights of each part; the portable kernels read the same.
    Direct(Vec<PackedWeights>),
    Winograd(winograd::Grid, Scratch<f32>),
    /// Lanes of input channels, for a few output channels.
    Thin(Thin),
    /// Products with the weights as they lie, for few outputs.
    Few(Products, Vec<f32>),
    /// Tiles with transforms in f32 and products by AVX512-BF16.
    HalfWinograd(winograd::Grid, Scratch<u16>),
    Bf16(Bf16Prepared),
    /// Weights rounded to bf16 for the f32 kernels, which then get rounded inputs.
    Rounded(Box<Prepared>),
}

impl Prepared {
    /// Prepares weights.
    ///
    /// All parts have the input and the strides of the first; they differ in where their outputs lie, how many they are and what
    /// they read.
    pub(crate) fn new(
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
    ) -> Self {
        if let Some(thin) = Self::thin(parts, weights, bias) {
            return thin;
        }
        let grid = if parts.len() == 1 { winograd::Grid::of(&parts[0], isa()) } else { None };
        Self::f32(parts, weights, bias, grid)
    }

    fn thin(parts: &[Correlation], weights: &(impl Weights + ?Sized), bias: Option<&[f32]>) -> Option<Self> {
        let [plan] = parts else { return None };
        Some(Self::single(plan, Method::Thin(Thin::of(plan, weights, isa())?), bias))
    }

    /// One correlation by a method that reads the bias without zeros behind it.
    fn single(plan: &Correlation, method: Method, bias: Option<&[f32]>) -> Self {
        let bias = bias.map_or_else(|| vec![0.0; plan.output.channels], <[f32]>::to_vec);
        Self { isa: isa(), separate: false, parts: vec![*plan], method, bias }
    }

    fn few(
        products: Products,
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
    ) -> Option<Self> {
        let ([plan], Some(strided)) = (parts, weights.strided(0)) else { return None };
        if !few::applies(plan, products, Pass::Prepared) || !few::lie_in_order(plan, strided) {
            return None;
        }
        Some(Self::single(plan, Method::Few(products, strided.values.to_vec()), bias))
    }

    fn f32(
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
        grid: Option<winograd::Grid>,
    ) -> Self {
        let (isa, plan) = (isa(), &Correlation::reach(parts));
        let block = match &grid {
            Some(grid) => grid.block(),
            None => registers(plan, isa) * isa_lanes(isa),
        };
        let method = match grid {
            Some(grid) => {
                let weights = winograd::transform_weights(&grid, weights);
                Method::Winograd(grid, weights)
            }
            None => {
                let pack = |(part, plan)| pack_weights(plan, block, weights, part);
                Method::Direct(parts.iter().enumerate().map(pack).collect())
            }
        };
        let mut padded = vec![0.0; plan.output.channels.next_multiple_of(block)];
        if let Some(bias) = bias {
            padded[..bias.len()].copy_from_slice(bias);
        }
        Self { isa, separate: false, parts: parts.to_vec(), method, bias: padded }
    }

    /// Prepares weights for products of a kind.
    pub(crate) fn with(
        products: Products,
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
    ) -> Self {
        if let Some(few) = Self::few(products, parts, weights, bias) {
            return few;
        }
        match products {
            Products::Fast => Self::new(parts, weights, bias),
            Products::Direct => Self { separate: true, ..Self::f32(parts, weights, bias, None) },
            Products::Bf16 => Self::bf16(parts, weights, bias, false),
            Products::Bf16Strict => Self::bf16(parts, weights, bias, true),
        }
    }

    /// [`Prepared::new`] with products in bf16: by the processor's instructions for that if it has them.
    fn bf16(
        parts: &[Correlation],
        weights: &(impl Weights + ?Sized),
        bias: Option<&[f32]>,
        strict: bool,
    ) -> Self {
        let isa = isa();
        let engine = engine().filter(|_| isa == Isa::Avx512);
        // There is nothing to save in bf16 where inputs are read once for a few outputs.
        if engine == Some(Engine::Dot)
            && let Some(thin) = Self::thin(parts, weights, bias)
        {
            return thin;
        }
        if engine == Some(Engine::Dot)
            && let [plan] = parts
            && let Some(grid) = winograd::Grid::of_half(plan)
        {
            if strict {
                return Self::new(parts, weights, bias);
            }
            let weights = winograd::transform_weights_half(&grid, weights);
            return Self::single(plan, Method::HalfWinograd(grid, weights), bias);
        }
        let method = match engine {
            Some(engine) => Method::Bf16(Bf16Prepared::new(engine, parts, weights, bias)),
            None => {
                let weight = |part, tap, c, o| rounded(weights.at(part, tap, c, o));
                Method::Rounded(Box::new(Self::new(parts, &weight, bias)))
            }
        };
        Self { isa, separate: false, parts: parts.to_vec(), method, bias: Vec::new() }
    }

    /// Computes all outputs; output voxels that the plans do not reach keep their values.
    ///
    /// `out` begins at the first channel of the first voxel and has `pitch` values per voxel. Returns, if asked for, the
    /// moments of the outputs of every sample and channel.
    pub(crate) fn run(&self, x: Source<'_>, out: &mut [f32], moments: bool) -> Vec<Moments> {
        let plan = &self.parts[0];
        let voxels = plan.output.batch * plan.output.voxels();
        assert!(x.covers(plan.input), "the input is too short for {:?}", plan.input);
        assert!(plan.pitch >= plan.output.channels);
        let reached = voxels.saturating_sub(1) * plan.pitch + plan.output.channels;
        assert!(voxels == 0 || out.len() >= reached, "the output is too short for {:?}", plan.output);
        if plan.is_empty() {
            return vec![
                Moments::default();
                if moments { plan.output.batch * plan.output.channels } else { 0 }
            ];
        }
        let out = &mut out[..reached];
        match &self.method {
            Method::Winograd(grid, weights) => {
                winograd::correlate(grid, x, weights, &self.bias, out, moments)
            }
            Method::Thin(thin) => thin.run(plan, x, &self.bias, out, moments),
            Method::Few(products, weights) => {
                few::correlate(plan, *products, x, weights, &self.bias, out, moments)
            }
            #[cfg(target_arch = "x86_64")]
            Method::HalfWinograd(grid, weights) => {
                winograd::correlate_half(grid, x, weights, &self.bias, out, moments)
            }
            #[cfg(not(target_arch = "x86_64"))]
            Method::HalfWinograd(..) => unreachable!("no engine is found on other processors"),
            Method::Bf16(prepared) => prepared.run(x, out, moments),
            Method::Rounded(prepared) => {
                let mut values = x.collect(plan.input).into_owned();
                values.par_iter_mut().for_each(|v| *v = rounded(*v));
                prepared.run(Source::plain(&values, plan.input.channels), out, moments)
            }
            Method::Direct(weights) if self.isa == Isa::Portable => {
                let values = x.collect(plan.input);
                for (plan, weights) in self.parts.iter().zip(weights) {
                    portable::correlate(plan, &values, weights, Some(&self.bias), out);
                }
                if moments { portable::moments(plan, out) } else { Vec::new() }
            }
            Method::Direct(weights) => self.run_direct(weights, x, out, moments),
        }
    }

    fn run_direct(
        &self,
        weights: &[PackedWeights],
        x: Source<'_>,
        out: &mut [f32],
        moments: bool,
    ) -> Vec<Moments> {
        let (plan, block) = (&Correlation::reach(&self.parts), weights[0].block);
        let boxes = Boxes::rows(plan, plan.output.channels.div_ceil(block));
        let shared = SharedOut(out.as_mut_ptr());
        let task = |task| {
            let (region, blocks) = boxes.task(task);
            let channels = (blocks.end * block).min(plan.output.channels) - blocks.start * block;
            let mut own = vec![Moments::default(); if moments { channels } else { 0 }];
            with_slab(plan, &x, &region, |slab, shape| {
                for (part, weights) in self.parts.iter().zip(weights) {
                    let Some((region, first)) = plan.part(part, &region, shape) else { continue };
                    let (slab, blocks, separate) = (&slab[first..], blocks.clone(), self.separate);
                    let job =
                        Job { plan: part, slab, shape, weights, separate, bias: &self.bias, region, blocks };
                    job.run(self.isa, shared, &mut own);
                }
            });
            own
        };
        let tasks: Vec<_> = (0..boxes.tasks()).into_par_iter().with_max_len(1).map(task).collect();
        if moments { boxes.join(plan.output.channels, block, &tasks) } else { Vec::new() }
    }
}

/// Gives `run` what a region reads: the input itself where it needs no copy, else a copy with zeros around it.
pub(crate) fn with_slab(
    plan: &Correlation,
    x: &Source<'_>,
    region: &Region,
    run: impl FnOnce(&[f32], SlabShape),
) {
    if reads_in_place(plan, x) {
        let ([_, ny, nx], [z, y, _]) = (plan.input.space, region.start);
        let row = nx * x.pitch;
        let shape = SlabShape { row, plane: ny * row, planes: region.count[0] };
        run(&x.values[((region.sample * plan.input.space[0] + z) * ny + y) * row..], shape);
        return;
    }
    SLAB.with_borrow_mut(|slab| {
        fill_slab(plan, x, region, slab);
        run(slab, SlabShape::of(plan, region.count));
    });
}

/// Whether the input needs no copy: every output reads exactly its own voxel, and a box is contiguous up to its last row.
fn reads_in_place(plan: &Correlation, x: &Source<'_>) -> bool {
    plan.taps == [1; 3]
        && plan.in_stride == [1; 3]
        && plan.offset == [0; 3]
        && plan.count == plan.input.space
        && x.is_plain(plan.input.channels)
}

/// A box of outputs of one sample, for some blocks of output channels.
struct Job<'a> {
    plan: &'a Correlation,
    slab: &'a [f32],
    shape: SlabShape,
    weights: &'a PackedWeights,
    separate: bool,
    bias: &'a [f32],
    region: Region,
    blocks: Range<usize>,
}

impl Job<'_> {
    fn run(&self, isa: Isa, out: SharedOut, moments: &mut [Moments]) {
        match isa {
            // SAFETY: `isa()` gives an instruction set only where the processor has it.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.run_avx512(out, moments) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { self.run_avx2(out, moments) },
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            // SAFETY: as above.
            Isa::Simd128 => unsafe { self.run_simd128(out, moments) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::Neon => unsafe { self.run_neon(out, moments) },
            _ => unreachable!("the portable path has no jobs"),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512(&self, out: SharedOut, moments: &mut [Moments]) {
        use super::separate::Separate;
        use super::simd::x86::Avx512;
        // SAFETY: see `rows`.
        unsafe {
            match (self.weights.block / 16, self.separate) {
                (4, false) => self.rows::<Avx512, 4>(out, moments, 6),
                (2, false) => self.rows::<Avx512, 2>(out, moments, 12),
                (_, false) => self.rows::<Avx512, 1>(out, moments, 12),
                (4, true) => self.rows::<Separate<Avx512>, 4>(out, moments, 6),
                (2, true) => self.rows::<Separate<Avx512>, 2>(out, moments, 12),
                (_, true) => self.rows::<Separate<Avx512>, 1>(out, moments, 12),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&self, out: SharedOut, moments: &mut [Moments]) {
        use super::separate::Separate;
        use super::simd::x86::Avx2;
        // SAFETY: see `rows`.
        unsafe {
            match (self.weights.block / 8, self.separate) {
                (2, false) => self.rows::<Avx2, 2>(out, moments, 6),
                (_, false) => self.rows::<Avx2, 1>(out, moments, 10),
                (2, true) => self.rows::<Separate<Avx2>, 2>(out, moments, 6),
                (_, true) => self.rows::<Separate<Avx2>, 1>(out, moments, 10),
            }
        }
    }

    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    unsafe fn run_simd128(&self, out: SharedOut, moments: &mut [Moments]) {
        use super::simd::wasm::Simd128;
        // SAFETY: see `rows`.
        unsafe {
            match self.weights.block / 4 {
                2 => self.rows::<Simd128, 2>(out, moments, 6),
                _ => self.rows::<Simd128, 1>(out, moments, 10),
            }
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&self, out: SharedOut, moments: &mut [Moments]) {
        use super::simd::arm::Neon;
        // SAFETY: see `rows`.
        unsafe {
            match self.weights.block / 4 {
                4 => self.rows::<Neon, 4>(out, moments, 6),
                2 => self.rows::<Neon, 2>(out, moments, 12),
                _ => self.rows::<Neon, 1>(out, moments, 12),
            }
        }
    }

    /// All rows of the job in blocks of at most `most` voxels.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; `out` points to `plan.pitch` values per output voxel and no other task
    /// writes the voxels and channels of this job. The slab, weights and bias have the lengths that `fill_slab` and
    /// `pack_weights` give, so that every address below lies inside them: rows end at `(count - 1) * in_stride + taps`
    /// voxels.
    #[inline(always)]
    unsafe fn rows<S: Simd, const NZ: usize>(&self, out: SharedOut, moments: &mut [Moments], most: usize) {
        let plan = self.plan;
        let shape = self.shape;
        let (co, block) = (plan.output.channels, NZ * S::LANES);
        let (mut sums, mut spill) = (BlockSums::new(), [0.0f32; 12 * 64]);
        for (group, number) in self.blocks.clone().enumerate() {
            let lanes = (co - number * block).min(block);
            for mz in 0..self.region.count[0] {
                for my in 0..self.region.count[1] {
                    let slab_row = mz * plan.in_stride[0] * shape.plane + my * plan.in_stride[1] * shape.row;
                    // SAFETY: by the contract above.
                    unsafe {
                        let target = out.0.add(plan.output_at(&self.region, mz, my) + number * block);
                        self.row::<S, NZ>(slab_row, shape, number, most, target, &mut spill);
                        if !moments.is_empty() {
                            let step = plan.out_step[2] * plan.pitch;
                            sums.add_row(target, step, self.region.count[2], lanes);
                            if sums.count >= RUN {
                                sums.flush(&mut moments[group * block..][..lanes]);
                            }
                        }
                    }
                }
            }
            if !moments.is_empty() {
                sums.flush(&mut moments[group * block..][..lanes]);
            }
        }
    }

    /// One row of outputs for one block of channels.
    ///
    /// # Safety
    /// As for [`Job::rows`]; `target` is the row's first output.
    #[inline(always)]
    unsafe fn row<S: Simd, const NZ: usize>(
        &self,
        slab_row: usize,
        shape: SlabShape,
        number: usize,
        most: usize,
        target: *mut f32,
        spill: &mut [f32; 12 * 64],
    ) {
        let (plan, ci, block) = (self.plan, self.plan.input.channels, NZ * S::LANES);
        let lanes = (plan.output.channels - number * block).min(block);
        let (whole, step) = (lanes == block, plan.out_step[2] * plan.pitch);
        let count = self.region.count[2];
        let blocks = count.div_ceil(most);
        let mut mx = 0;
        for i in 0..blocks {
            let n = count / blocks + usize::from(i < count % blocks);
            // SAFETY: the caller's.
            unsafe {
                let target = target.add(mx * step);
                let tile = Tile {
                    x: self.slab.as_ptr().add(slab_row + mx * plan.in_stride[2] * ci),
                    x_step: plan.in_stride[2] * ci,
                    row: shape.row,
                    plane: shape.plane,
                    w: self.weights.data.as_ptr().add(number * plan.depth() * block),
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

#[cfg(test)]
mod tests {
    use super::super::conv::forward_plan;
    use super::super::shape::{ConvGeometry, Dims};
    use super::*;

    #[test]
    fn direct_products_have_the_bits_of_the_portable_kernels() {
        let strided = ConvGeometry { kernel: [1, 3, 3], stride: [1, 2, 2], padding: [0, 1, 1] };
        let geometries = [ConvGeometry::same([3; 3], [1; 3]), strided, ConvGeometry::same([1; 3], [1; 3])];
        for (channels, outputs) in [(1, 8), (17, 5), (32, 64), (33, 40)] {
            for geometry in &geometries {
                let input = Dims { batch: 2, space: [4, 7, 15], channels };
                let plan = forward_plan(input, outputs, geometry);
                let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 500.0 - 1.0;
                let x: Vec<f32> = (0..input.len()).map(value).collect();
                let weight = |_, tap, c, o| value((tap * channels + c) * outputs + o);
                let bias: Vec<f32> = (0..outputs).map(|o| value(o + 5)).collect();
                let run = |isa: Option<Isa>| {
                    let mut prepared = Prepared::with(Products::Direct, &[plan], &weight, Some(&bias));
                    prepared.isa = isa.unwrap_or(prepared.isa);
                    let mut out = vec![0.0; plan.output.len()];
                    prepared.run(Source::plain(&x, channels), &mut out, false);
                    out
                };
                assert!(run(None) == run(Some(Isa::Portable)), "{channels} to {outputs}, {geometry:?}");
            }
        }
    }
}
