//! Correlation on tiles: transform a box of inputs, multiply point by point, transform back.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::super::bf16::{BLOCK, Block, NONE, dot_products};
use super::super::correlate::SharedOut;
use super::super::moments::{BlockSums, Moments, RUN};
use super::super::simd::Simd;
use super::super::source::{Region, SlabShape, Source, fill_slab};
use super::super::tile::Tile;
use super::transform::{Element, transform_inputs, transform_output};
use super::{Grid, POINTS, TILE, slowdown};

/// Tiles whose products are kept before the output transform.
const GROUP: usize = 48;
/// Tiles whose outputs are summed before the sums are taken over.
const SUMMED: usize = RUN / (TILE * TILE);

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

/// Transformed inputs are in f32 or in bf16.
#[derive(Default)]
struct Buffers {
    slab: Vec<f32>,
    values: Vec<f32>,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    halves: Vec<u16>,
    products: Vec<f32>,
}

/// [`super::super::correlate::Prepared::run`] on tiles.
pub(crate) fn correlate(
    grid: &Grid,
    x: Source<'_>,
    weights: &[f32],
    bias: &[f32],
    out: &mut [f32],
    moments: bool,
) -> Vec<Moments> {
    in_boxes(grid, x, out, moments, |buffers, region, blocks, shared, own| {
        let Buffers { slab, values, products, .. } = buffers;
        let (job, room) = Job::new(grid, weights, bias, region, blocks);
        values.resize(room, 0.0);
        job.run(slab, values, products, shared, own);
    })
}

/// [`correlate`] with products by AVX512-BF16, which the processor has; weights are those of
/// [`super::transform_weights_half`].
#[cfg(target_arch = "x86_64")]
pub(crate) fn correlate_half(
    grid: &Grid,
    x: Source<'_>,
    weights: &[u16],
    bias: &[f32],
    out: &mut [f32],
    moments: bool,
) -> Vec<Moments> {
    in_boxes(grid, x, out, moments, |buffers, region, blocks, shared, own| {
        let Buffers { slab, halves, products, .. } = buffers;
        let (job, room) = Job::new(grid, weights, bias, region, blocks);
        halves.resize(room, 0);
        // SAFETY: the caller's word that the processor has the instructions; the rest as in `Job::run`.
        unsafe { job.run_half(slab, halves, products, shared, own) };
    })
}

/// Runs `run(buffers, region, blocks, outputs, moments)` for all boxes, with the slab of the region filled.
fn in_boxes(
    grid: &Grid,
    x: Source<'_>,
    out: &mut [f32],
    moments: bool,
    run: impl Fn(&mut Buffers, Region, Range<usize>, SharedOut, &mut [Moments]) + Sync,
) -> Vec<Moments> {
    let (co, block) = (grid.channels()[1], grid.block());
    let boxes = grid.boxes(co / block, |size| cost(grid, size));
    let shared = SharedOut(out.as_mut_ptr());
    let task = |task| {
        let (region, blocks) = boxes.task(task);
        let mut own = vec![Moments::default(); if moments { blocks.len() * block } else { 0 }];
        BUFFERS.with_borrow_mut(|buffers| {
            fill_slab(&grid.plan, &x, &region, &mut buffers.slab);
            buffers.products.resize(POINTS * GROUP * block, 0.0);
            run(buffers, region, blocks, shared, &mut own);
        });
        own
    };
    let tasks: Vec<_> = (0..boxes.tasks()).into_par_iter().with_max_len(1).map(task).collect();
    if moments { boxes.join(co, block, &tasks) } else { Vec::new() }
}

/// Cycles of a box, roughly.
fn cost(grid: &Grid, size: [usize; 3]) -> f64 {
    let [ci, co] = grid.channels();
    let (input, values) = grid.input_cost(size, ci);
    let rows = size.iter().product::<usize>();
    let vectors = (co / grid.lanes) as f64;
    let depth = (POINTS * grid.plan.taps[0] * ci) as f64;
    let products = depth * vectors * (rows as f64 + 1.5 * rows.div_ceil(12) as f64) * slowdown(values);
    let weights = depth * co as f64 / 4.0;
    let share = if grid.half { 0.5 } else { 1.0 };
    input + share * (products + weights) + rows as f64 * vectors * 160.0
}

/// Tiles that follow each other, at one point, and the weights of a block at this point.
struct Rows<E> {
    x: *const E,
    /// Values from plane to plane.
    plane: usize,
    w: *const E,
    taps: usize,
    ci: usize,
}

/// What transformed inputs and weights are kept as, and how they are multiplied.
///
/// # Safety
/// As for [`Element`]; all addresses of the rows can be read, and `NZ` registers for each tile be written.
unsafe trait Multiply<S: Simd>: Element<S> {
    /// `out[tile][lane] = Σ x[tile][tap][channel] · w[tap][channel][lane]`.
    unsafe fn multiply<const NZ: usize>(rows: &Rows<Self>, tiles: usize, out: *mut f32);
}

// SAFETY: reads and writes what the contract says.
unsafe impl<S: Simd> Multiply<S> for f32 {
    #[inline(always)]
    unsafe fn multiply<const NZ: usize>(rows: &Rows<f32>, tiles: usize, out: *mut f32) {
        let zero = [0.0f32; 64];
        let tile = Tile {
            x: rows.x,
            x_step: rows.ci,
            row: 0,
            plane: rows.plane,
            w: rows.w,
            taps: [rows.taps, 1],
            run: rows.ci,
            bias: zero.as_ptr(),
            out,
            out_step: NZ * S::LANES,
        };
        // SAFETY: the caller's; there is a zero for each lane.
        unsafe { tile.dispatch::<S, NZ>(tiles) };
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY: as above, with two registers of 16 lanes.
unsafe impl Multiply<super::super::simd::x86::Avx512> for u16 {
    #[inline(always)]
    unsafe fn multiply<const NZ: usize>(rows: &Rows<u16>, tiles: usize, out: *mut f32) {
        const { assert!(NZ * 16 == BLOCK) };
        let (x, step, plane, w) = (rows.x, rows.ci, rows.plane, rows.w);
        let block =
            Block { x, step, row: 0, plane, taps: [rows.taps, 1], pairs: rows.ci / 2, w, voxels: tiles };
        // SAFETY: the caller's.
        unsafe { dot_products(&block, out, BLOCK, NONE.as_ptr()) };
    }
}

/// A box of tiles of one sample, for some blocks of output channels.
struct Job<'a, E> {
    grid: &'a Grid,
    weights: &'a [E],
    bias: &'a [f32],
    region: Region,
    /// Tiles along y and x.
    tiles: [usize; 2],
    shape: SlabShape,
    blocks: Range<usize>,
}

impl<'a, E> Job<'a, E> {
    /// The job, and the number of its transformed inputs.
    fn new(
        grid: &'a Grid,
        weights: &'a [E],
        bias: &'a [f32],
        region: Region,
        blocks: Range<usize>,
    ) -> (Self, usize) {
        let shape = SlabShape::of(&grid.plan, region.count);
        let tiles = [region.count[1] / TILE, region.count[2] / TILE];
        let room = POINTS * shape.planes * tiles[0] * tiles[1] * grid.channels()[0];
        (Self { grid, weights, bias, region, tiles, shape, blocks }, room)
    }
}

impl Job<'_, f32> {
    fn run(&self, slab: &[f32], v: &mut [f32], m: &mut [f32], out: SharedOut, moments: &mut [Moments]) {
        // SAFETY: a grid is made for an instruction set that `isa()` gave, so the processor has it; the buffers have the
        // sizes that `correlate` gave them, and no other task writes the voxels and channels of this job.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match (self.grid.lanes, self.grid.registers) {
                (16, 2) => self.run_avx512::<2>(slab, v, m, out, moments),
                (16, _) => self.run_avx512::<1>(slab, v, m, out, moments),
                (_, 2) => self.run_avx2::<2>(slab, v, m, out, moments),
                (_, _) => self.run_avx2::<1>(slab, v, m, out, moments),
            }
        }
        // SAFETY: as above.
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        unsafe {
            match self.grid.registers {
                2 => self.run_simd128::<2>(slab, v, m, out, moments),
                _ => self.run_simd128::<1>(slab, v, m, out, moments),
            }
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            match self.grid.registers {
                4 => self.run_neon::<4>(slab, v, m, out, moments),
                2 => self.run_neon::<2>(slab, v, m, out, moments),
                _ => self.run_neon::<1>(slab, v, m, out, moments),
            }
        }
        #[cfg(not(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            all(target_arch = "wasm32", target_feature = "simd128")
        )))]
        let _ = (slab, v, m, out, moments);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512<const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
    ) {
        use super::super::simd::x86::Avx512;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Avx512, f32>(slab, self.shape, self.tiles, ci, 0..ci, v);
            self.blocks::<Avx512, NZ>(v, m, out, moments, 12);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2<const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
    ) {
        use super::super::simd::x86::Avx2;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Avx2, f32>(slab, self.shape, self.tiles, ci, 0..ci, v);
            self.blocks::<Avx2, NZ>(v, m, out, moments, 6);
        }
    }

    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    unsafe fn run_simd128<const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
    ) {
        use super::super::simd::wasm::Simd128;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Simd128, f32>(slab, self.shape, self.tiles, ci, 0..ci, v);
            self.blocks::<Simd128, NZ>(v, m, out, moments, 6);
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon<const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
    ) {
        use super::super::simd::arm::Neon;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Neon, f32>(slab, self.shape, self.tiles, ci, 0..ci, v);
            self.blocks::<Neon, NZ>(v, m, out, moments, if NZ == 4 { 6 } else { 12 });
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Job<'_, u16> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run_half(
        &self,
        slab: &[f32],
        v: &mut [u16],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
    ) {
        use super::super::simd::x86::Avx512;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Avx512, u16>(slab, self.shape, self.tiles, ci, 0..ci, v);
            self.blocks::<Avx512, 2>(v, m, out, moments, GROUP);
        }
    }
}

impl<E> Job<'_, E> {
    /// Tiles of one plane.
    fn plane(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Products and output transform of all tiles, a group at a time.
    #[inline(always)]
    unsafe fn blocks<S: Simd, const NZ: usize>(
        &self,
        v: &[E],
        m: &mut [f32],
        out: SharedOut,
        moments: &mut [Moments],
        most: usize,
    ) where
        E: Multiply<S>,
    {
        let (rows, block) = (self.region.count[0] * self.plane(), NZ * S::LANES);
        let groups = rows.div_ceil(GROUP);
        let mut sums = BlockSums::new();
        for (position, number) in self.blocks.clone().enumerate() {
            for group in 0..groups {
                let (first, last) = (group * rows / groups, (group + 1) * rows / groups);
                // SAFETY: the caller's; the rows are those of the box.
                unsafe { self.products::<S, NZ>(v, m, number, first..last, most) };
                for start in (first..last).step_by(SUMMED) {
                    let rows = start..(start + SUMMED).min(last);
                    // SAFETY: as above.
                    unsafe {
                        if moments.is_empty() {
                            self.write::<S, NZ, false>(m, first, rows, number, out, &mut sums);
                        } else {
                            self.write::<S, NZ, true>(m, first, rows, number, out, &mut sums);
                            sums.flush(&mut moments[position * block..][..block]);
                        }
                    }
                }
            }
        }
    }

    /// The products of all points for a group of tiles: `[point][tile][lane]`, at most `most` tiles at a time.
    #[inline(always)]
    unsafe fn products<S: Simd, const NZ: usize>(
        &self,
        v: &[E],
        m: &mut [f32],
        number: usize,
        rows: Range<usize>,
        most: usize,
    ) where
        E: Multiply<S>,
    {
        let (taps, ci, block) = (self.grid.plan.taps[0], self.grid.channels()[0], NZ * S::LANES);
        let plane = self.plane();
        let parts = rows.len().div_ceil(most);
        for point in 0..POINTS {
            let weights = &self.weights[(number * POINTS + point) * taps * ci * block..];
            let mut row = 0;
            for part in 0..parts {
                let n = rows.len() / parts + usize::from(part < rows.len() % parts);
                let at = (point * self.shape.planes * plane + rows.start + row) * ci;
                // SAFETY: `n` tiles of `taps` planes lie in `v`, and the products of this point have room for a group.
                unsafe {
                    let rows =
                        Rows { x: v.as_ptr().add(at), plane: plane * ci, w: weights.as_ptr(), taps, ci };
                    E::multiply::<NZ>(&rows, n, m.as_mut_ptr().add((point * GROUP + row) * block));
                }
                row += n;
            }
        }
    }

    /// `Aᵀ · m · A` of the tiles `rows`, plus bias, to the outputs, and their sums if wanted; `first` is the tile that the
    /// products begin with.
    #[inline(always)]
    unsafe fn write<S: Simd, const NZ: usize, const SUMS: bool>(
        &self,
        m: &[f32],
        first: usize,
        rows: Range<usize>,
        number: usize,
        out: SharedOut,
        sums: &mut BlockSums,
    ) {
        let plan = &self.grid.plan;
        let [nz, ny, nx] = plan.output.space;
        let (plane, block) = (self.plane(), NZ * S::LANES);
        // SAFETY: only outputs inside the plane are written; the sums have room for a block.
        unsafe {
            for k in 0..NZ {
                let (lane, channel) = (k * S::LANES, number * block + k * S::LANES);
                let bias = S::load(self.bias.as_ptr().add(channel));
                let (mut sum, mut squares, mut pivot) = (S::zero(), S::zero(), S::zero());
                let mut count = 0;
                for row in rows.clone() {
                    let products = m.as_ptr().add((row - first) * block + lane);
                    let values = transform_output::<S>(products, GROUP * block, bias);
                    let z = self.region.start[0] + row / plane;
                    let y = self.region.start[1] + row % plane / self.tiles[1] * TILE;
                    let x = self.region.start[2] + row % plane % self.tiles[1] * TILE;
                    let (height, width) = (TILE.min(ny - y), TILE.min(nx - x));
                    let corner = ((self.region.sample * nz + z) * ny + y) * nx + x;
                    let target = out.0.add(corner * plan.pitch + channel);
                    if SUMS && count == 0 {
                        pivot = values[0][0];
                    }
                    for (dy, values) in values.iter().enumerate().take(height) {
                        for (dx, value) in values.iter().enumerate().take(width) {
                            S::store(target.add((dy * nx + dx) * plan.pitch), *value);
                            if SUMS {
                                let d = S::sub(*value, pivot);
                                sum = S::add(sum, d);
                                squares = S::fma(d, d, squares);
                            }
                        }
                    }
                    count += height * width;
                }
                if SUMS {
                    S::store(sums.pivot.as_mut_ptr().add(lane), pivot);
                    S::store(sums.sum.as_mut_ptr().add(lane), sum);
                    S::store(sums.squares.as_mut_ptr().add(lane), squares);
                    sums.count = count;
                }
            }
        }
    }
}
