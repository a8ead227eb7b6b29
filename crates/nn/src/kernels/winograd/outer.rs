//! Backward-weights on tiles.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::super::outer::{GROUPED_VALUES, Sums, sum_in_parts};
use super::super::scratch::Scratch;
use super::super::simd::Simd;
use super::super::source::{Region, SlabShape, Source, fill_slab};
use super::transform::{transform_gradient, transform_inputs};
use super::weights::transform_back;
use super::{Grid, POINTS, TILE, slowdown};

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

/// Transformed inputs and gradients are in f32 or in bf16.
#[derive(Default)]
struct Buffers {
    slab: Vec<f32>,
    values: [Vec<f32>; 2],
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    halves: [Vec<u16>; 2],
}

/// Tiles that a part sums at least, for each of its sums.
const SUMMED: usize = 96;

/// [`super::super::outer::outer`] on tiles.
pub(crate) fn outer(grid: &Grid, x: Source<'_>, dy: &[f32]) -> Sums {
    in_boxes(grid, x, dy, |sweep, buffers, sums| {
        let (planes, count) = (sweep.shape.planes, sweep.tiles[0] * sweep.tiles[1]);
        let Buffers { slab, values: [values, gradients], .. } = buffers;
        values.resize(POINTS * planes * count * sweep.channels.len(), 0.0);
        gradients.resize(POINTS * sweep.region.count[0] * count * grid.channels()[1], 0.0);
        sweep.run(slab, values, gradients, sums);
    })
}

/// [`outer`] with products by AVX512-BF16, which the processor has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn outer_half(grid: &Grid, x: Source<'_>, dy: &[f32]) -> Sums {
    in_boxes(grid, x, dy, |sweep, buffers, sums| {
        let (planes, pairs) = (sweep.shape.planes, sweep.pairs());
        let Buffers { slab, halves: [values, gradients], .. } = buffers;
        values.resize(POINTS * planes * pairs * 2 * sweep.channels.len(), 0);
        gradients.resize(POINTS * sweep.region.count[0] * pairs * 2 * grid.channels()[1], 0);
        // SAFETY: the caller's word that the processor has the instructions; the rest as in `Sweep::run`.
        unsafe { sweep.run_half(slab, values, gradients, sums) };
    })
}

/// Sums what `run(sweep, buffers, sums)` adds for all boxes, with the slab of the region filled, and transforms the sums back.
fn in_boxes(
    grid: &Grid,
    x: Source<'_>,
    dy: &[f32],
    run: impl Fn(&Sweep<'_>, &mut Buffers, &mut [f32]) + Sync,
) -> Sums {
    let plan = &grid.plan;
    let (taps, [ci, co]) = (plan.taps[0], grid.channels());
    let size = POINTS * taps * ci * co;
    // A group of input channels per task where the products of all would not stay in a cache.
    let width = match grid.lanes {
        lanes if size <= GROUPED_VALUES => ci.max(lanes),
        // Narrow registers take as many channels as wide ones: the gradients are transformed once per group.
        4 if ci.is_multiple_of(32) => 32,
        4 if ci.is_multiple_of(16) => 16,
        lanes if ci.is_multiple_of(2 * lanes) => 2 * lanes,
        lanes => lanes,
    };
    let boxes = grid.boxes(1, |size| cost(grid, size, width));
    let most = plan.input.batch * plan.count[0] * grid.tiles[0] * grid.tiles[1] / SUMMED;
    let sums = sum_in_parts(boxes.boxes(), ci / width, most, size, |range, group, sums| {
        for number in range {
            let region = boxes.region(number);
            let tiles = [region.count[1] / TILE, region.count[2] / TILE];
            let shape = SlabShape::of(plan, region.count);
            BUFFERS.with_borrow_mut(|buffers| {
                fill_slab(plan, &x, &region, &mut buffers.slab);
                let channels = group * width..(group + 1) * width;
                run(&Sweep { grid, dy, region, tiles, shape, channels }, buffers, sums);
            });
        }
    });
    let mut dw = Scratch::any(taps * 9 * ci * co);
    dw.par_chunks_mut(9 * ci * co).enumerate().for_each(|(tz, dw)| {
        // Lanes are at least this many, and divide the output channels.
        const TOGETHER: usize = 4;
        for (c, o) in (0..ci).flat_map(|c| (0..co).step_by(TOGETHER).map(move |o| (c, o))) {
            let group = &sums[c / width * POINTS * taps * width * co..];
            let mut u = [[0.0; TOGETHER]; POINTS];
            for (point, u) in u.iter_mut().enumerate() {
                let at = ((point * taps + tz) * width + c % width) * co + o;
                u.copy_from_slice(&group[at..at + TOGETHER]);
            }
            for (tap, value) in transform_back(&u).into_iter().enumerate() {
                dw[(tap * ci + c) * co + o..][..TOGETHER].copy_from_slice(&value);
            }
        }
    });
    Sums { values: dw, width: ci, padded: co }
}

/// Cycles of a box, roughly.
fn cost(grid: &Grid, size: [usize; 3], width: usize) -> f64 {
    let co = grid.channels()[1];
    let (input, values) = grid.input_cost(size, width);
    let rows = size.iter().product::<usize>();
    let vectors = (co / grid.lanes) as f64;
    let depth = (POINTS * grid.plan.taps[0] * width) as f64;
    let (gradients, share) = (POINTS * rows * co, if grid.half { 0.5 } else { 1.0 });
    let kept = values + if grid.half { gradients / 2 } else { gradients };
    // The sums are read and written once per box.
    input + depth * vectors * (share * rows as f64 * slowdown(kept) + 4.0) + rows as f64 * vectors * 160.0
}

/// A box of tiles of one sample, for the weight gradient.
pub(super) struct Sweep<'a> {
    pub(super) grid: &'a Grid,
    pub(super) dy: &'a [f32],
    pub(super) region: Region,
    /// Tiles along y and x.
    pub(super) tiles: [usize; 2],
    pub(super) shape: SlabShape,
    /// Input channels whose products are taken.
    pub(super) channels: Range<usize>,
}

impl Sweep<'_> {
    fn run(&self, slab: &[f32], values: &mut [f32], gradients: &mut [f32], sums: &mut [f32]) {
        // SAFETY: a grid is made for an instruction set that `isa()` gave, so the processor has it; the buffers have the
        // sizes that `outer` gave them; `sums` holds the products of all points, taps and channels.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match (self.grid.lanes, self.grid.registers) {
                (16, 2) => self.run_avx512::<8, 2>(slab, values, gradients, sums),
                (16, _) => self.run_avx512::<16, 1>(slab, values, gradients, sums),
                (_, 2) => self.run_avx2::<4, 2>(slab, values, gradients, sums),
                (_, _) => self.run_avx2::<8, 1>(slab, values, gradients, sums),
            }
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            match self.grid.registers {
                4 => self.run_neon::<4, 4>(slab, values, gradients, sums),
                2 => self.run_neon::<4, 2>(slab, values, gradients, sums),
                _ => self.run_neon::<4, 1>(slab, values, gradients, sums),
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (slab, values, gradients, sums);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512<const NC: usize, const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        d: &mut [f32],
        sums: &mut [f32],
    ) {
        use super::super::simd::x86::Avx512;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Avx512, f32>(slab, self.shape, self.tiles, ci, self.channels.clone(), v);
            self.transform_gradients::<Avx512>(d);
            self.products::<Avx512, NC, NZ>(v, d, sums);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2<const NC: usize, const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        d: &mut [f32],
        sums: &mut [f32],
    ) {
        use super::super::simd::x86::Avx2;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Avx2, f32>(slab, self.shape, self.tiles, ci, self.channels.clone(), v);
            self.transform_gradients::<Avx2>(d);
            self.products::<Avx2, NC, NZ>(v, d, sums);
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon<const NC: usize, const NZ: usize>(
        &self,
        slab: &[f32],
        v: &mut [f32],
        d: &mut [f32],
        sums: &mut [f32],
    ) {
        use super::super::simd::arm::Neon;
        let ci = self.grid.channels()[0];
        // SAFETY: the caller's.
        unsafe {
            transform_inputs::<Neon, f32>(slab, self.shape, self.tiles, ci, self.channels.clone(), v);
            self.transform_gradients::<Neon>(d);
            self.products::<Neon, NC, NZ>(v, d, sums);
        }
    }

    /// The transformed gradients of every tile and channel: `[point][plane][tile][channel]`, outputs outside counting as zero.
    #[inline(always)]
    unsafe fn transform_gradients<S: Simd>(&self, gradients: &mut [f32]) {
        let co = self.grid.channels()[1];
        let rows = self.region.count[0] * self.tiles[0] * self.tiles[1];
        for row in 0..rows {
            for c in (0..co).step_by(S::LANES) {
                // SAFETY: the caller's.
                unsafe {
                    let target = gradients.as_mut_ptr().add(row * co + c);
                    self.gradient::<S>(row, c, |point, value| S::store(target.add(point * rows * co), value));
                }
            }
        }
    }

    /// The transformed gradients of one tile, counted over the planes of the box, from channel `c` on.
    #[inline(always)]
    pub(super) unsafe fn gradient<S: Simd>(&self, row: usize, c: usize, put: impl FnMut(usize, S::V)) {
        let co = self.grid.channels()[1];
        let [nz, ny, nx] = self.grid.plan.output.space;
        let plane = self.tiles[0] * self.tiles[1];
        let z = self.region.start[0] + row / plane;
        let y = self.region.start[1] + row % plane / self.tiles[1] * TILE;
        let x = self.region.start[2] + row % plane % self.tiles[1] * TILE;
        let corner = (((self.region.sample * nz + z) * ny + y) * nx + x) * co;
        // SAFETY: only gradients inside the plane are read.
        unsafe {
            let mut tile = [[S::zero(); TILE]; TILE];
            for (dy, values) in tile.iter_mut().enumerate().take(ny - y) {
                for (dx, value) in values.iter_mut().enumerate().take(nx - x) {
                    *value = S::load(self.dy.as_ptr().add(corner + (dy * nx + dx) * co + c));
                }
            }
            transform_gradient::<S>(tile, put);
        }
    }

    /// Adds, per point and tap along z, input times gradient over all tiles.
    #[inline(always)]
    unsafe fn products<S: Simd, const NC: usize, const NZ: usize>(
        &self,
        v: &[f32],
        d: &[f32],
        sums: &mut [f32],
    ) {
        let (taps, co) = (self.grid.plan.taps[0], self.grid.channels()[1]);
        let (ci, plane) = (self.channels.len(), self.tiles[0] * self.tiles[1]);
        let rows = self.region.count[0] * plane;
        for (point, tz) in (0..POINTS).flat_map(|point| (0..taps).map(move |tz| (point, tz))) {
            for c in (0..ci).step_by(NC) {
                for o in (0..co).step_by(NZ * S::LANES) {
                    // SAFETY: `NC` divides the lanes and so the input channels; all addresses lie in the buffers.
                    unsafe {
                        let mut acc = [[S::zero(); NZ]; NC];
                        let mut x = v.as_ptr().add((point * self.shape.planes + tz) * plane * ci + c);
                        let mut g = d.as_ptr().add(point * rows * co + o);
                        for _ in 0..rows {
                            let mut row = [S::zero(); NZ];
                            for (k, value) in row.iter_mut().enumerate() {
                                *value = S::load(g.add(k * S::LANES));
                            }
                            for (c, acc) in acc.iter_mut().enumerate() {
                                let value = S::splat(x.add(c));
                                for (sum, g) in acc.iter_mut().zip(row) {
                                    *sum = S::fma(value, g, *sum);
                                }
                            }
                            x = x.wrapping_add(ci);
                            g = g.wrapping_add(co);
                        }
                        for (i, acc) in acc.iter().enumerate() {
                            for (k, sum) in acc.iter().enumerate() {
                                let at = ((point * taps + tz) * ci + c + i) * co + o + k * S::LANES;
                                let p = sums.as_mut_ptr().add(at);
                                S::store(p, S::add(S::load(p), *sum));
                            }
                        }
                    }
                }
            }
        }
    }
}
