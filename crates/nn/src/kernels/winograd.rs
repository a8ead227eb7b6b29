//! Winograd's minimal filtering for 3×3 kernels in the plane, F(2,3) along y and F(4,3) along x: a third of the products.
//!
//! A tile of 2×4 outputs comes from 4×6 inputs. Inputs, weights and outputs are transformed by small constant matrices; in
//! between, each of the 24 points is an ordinary product over input channels (and taps along z) that the direct kernel's
//! register block computes. Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2016).
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::correlate::{SharedOut, Tile, isa_lanes};
use super::isa::Isa;
use super::outer::{GROUPED_VALUES, sum_in_parts};
use super::pack::{SlabShape, fill_slab};
use super::shape::Correlation;
use super::simd::Simd;

/// Points of a tile: 4 along y times 6 along x.
const POINTS: usize = 24;
/// Tiles whose products are kept before the output transform.
const GROUP: usize = 60;
/// Values of transformed input that a task keeps.
const TASK_VALUES: usize = 3 << 19;

/// Weight transform along y, F(2,3).
const GY: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
/// Weight transform along x, F(4,3).
const GX: [[f32; 3]; 6] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

thread_local! {
    static BUFFERS: RefCell<[Vec<f32>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// A correlation laid out in tiles.
pub(crate) struct Grid {
    /// The correlation, with counts rounded up to whole tiles.
    padded: Correlation,
    /// Outputs along y and x.
    count: [usize; 2],
    /// Tiles along y and x.
    tiles: [usize; 2],
    lanes: usize,
    /// Registers per block of output channels.
    registers: usize,
}

impl Grid {
    /// The tiles of a correlation, where the method applies and saves work.
    pub(crate) fn of(plan: &Correlation, isa: Isa) -> Option<Self> {
        let lanes = isa_lanes(isa);
        let dense = plan.in_stride == [1; 3] && plan.out_step == [1; 3] && plan.out_start == [0; 3];
        let channels =
            plan.input.channels.is_multiple_of(lanes) && plan.output.channels.is_multiple_of(lanes);
        if isa == Isa::Portable
            || !dense
            || !channels
            || plan.taps[1..] != [3, 3]
            || plan.count != plan.output.space
        {
            return None;
        }
        let tiles = [plan.count[1].div_ceil(2), plan.count[2].div_ceil(4)];
        let products = POINTS * tiles[0] * tiles[1];
        if 10 * products > 7 * 9 * plan.count[1] * plan.count[2] || tiles[0] * tiles[1] < 12 {
            return None;
        }
        let mut padded = *plan;
        padded.count = [plan.count[0], 2 * tiles[0], 4 * tiles[1]];
        let registers = if (plan.output.channels / lanes).is_multiple_of(2) { 2 } else { 1 };
        Some(Self { padded, count: [plan.count[1], plan.count[2]], tiles, lanes, registers })
    }

    fn tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn channels(&self) -> [usize; 2] {
        [self.padded.input.channels, self.padded.output.channels]
    }

    /// Transformed values of one input plane.
    fn plane(&self) -> usize {
        POINTS * self.tiles() * self.channels()[0]
    }
}

/// [`super::correlate::correlate`] on tiles.
pub(crate) fn correlate(
    grid: &Grid,
    x: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let plan = &grid.padded;
    let [_, co] = grid.channels();
    let weights = transform_weights(grid, weight);
    let bias = bias.map_or_else(|| vec![0.0; co], <[f32]>::to_vec);
    let wanted = (TASK_VALUES / grid.plane()).saturating_sub(plan.taps[0] - 1);
    let chunk = wanted.clamp(2, 8).min(plan.count[0]);
    let chunks = plan.count[0].div_ceil(chunk);
    let shared = SharedOut(out.as_mut_ptr());
    (0..plan.input.batch * chunks).into_par_iter().for_each(|task| {
        let (sample, first) = (task / chunks, task % chunks * chunk);
        let count = chunk.min(plan.count[0] - first);
        BUFFERS.with_borrow_mut(|[slab, values, products]| {
            fill_slab(plan, x, sample, first, count, slab);
            values.resize((count + plan.taps[0] - 1) * grid.plane(), 0.0);
            products.resize(POINTS * GROUP * grid.registers * grid.lanes, 0.0);
            let job = Job { grid, weights: &weights, bias: &bias, sample, first, count };
            job.run(slab, values, products, shared);
        });
    });
}

/// `[block of output channels][point][tap along z][input channel][lane]`.
fn transform_weights(grid: &Grid, weight: impl Fn(usize, usize, usize) -> f32 + Sync) -> Vec<f32> {
    let (taps, [ci, co]) = (grid.padded.taps[0], grid.channels());
    let block = grid.registers * grid.lanes;
    let mut data = vec![0.0; co / block * POINTS * taps * ci * block];
    data.par_chunks_mut(POINTS * taps * ci * block).enumerate().for_each(|(number, chunk)| {
        for (row, lane) in (0..taps * ci).flat_map(|row| (0..block).map(move |lane| (row, lane))) {
            let (tz, c) = (row / ci, row % ci);
            let g: [f32; 9] = std::array::from_fn(|t| weight(tz * 9 + t, c, number * block + lane));
            for (point, value) in transform_kernel(&g).into_iter().enumerate() {
                chunk[(point * taps * ci + row) * block + lane] = value;
            }
        }
    });
    data
}

/// `GY · g · GXᵀ`
fn transform_kernel(g: &[f32; 9]) -> [f32; POINTS] {
    let mut out = [0.0; POINTS];
    for (py, gy) in GY.iter().enumerate() {
        let row: [f32; 3] = std::array::from_fn(|k| gy[0] * g[k] + gy[1] * g[3 + k] + gy[2] * g[6 + k]);
        for (px, gx) in GX.iter().enumerate() {
            out[py * 6 + px] = gx[0] * row[0] + gx[1] * row[1] + gx[2] * row[2];
        }
    }
    out
}

/// `GYᵀ · u · GX`: the gradient of the kernel from that of its transform.
fn transform_kernel_back(u: &[f32; POINTS]) -> [f32; 9] {
    let mut out = [0.0; 9];
    for (py, gy) in GY.iter().enumerate() {
        for (px, gx) in GX.iter().enumerate() {
            for (k, value) in out.iter_mut().enumerate() {
                *value += gy[k / 3] * u[py * 6 + px] * gx[k % 3];
            }
        }
    }
    out
}

/// The output planes `first..first + count` of one sample.
struct Job<'a> {
    grid: &'a Grid,
    weights: &'a [f32],
    bias: &'a [f32],
    sample: usize,
    first: usize,
    count: usize,
}

impl Job<'_> {
    fn run(&self, slab: &[f32], values: &mut [f32], products: &mut [f32], out: SharedOut) {
        // SAFETY: a grid is made for an instruction set that `isa()` gave, so the processor has it; the buffers have the
        // sizes that `correlate` gave them, and no other task writes the planes of this job.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match (self.grid.lanes, self.grid.registers) {
                (16, 2) => self.run_avx512::<2>(slab, values, products, out),
                (16, _) => self.run_avx512::<1>(slab, values, products, out),
                (_, 2) => self.run_avx2::<2>(slab, values, products, out),
                (_, _) => self.run_avx2::<1>(slab, values, products, out),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (slab, values, products, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512<const NZ: usize>(&self, slab: &[f32], v: &mut [f32], m: &mut [f32], out: SharedOut) {
        // SAFETY: the caller's.
        unsafe {
            transform_planes::<super::simd::x86::Avx512>(self.grid, slab, 0..self.grid.channels()[0], v);
            self.planes::<super::simd::x86::Avx512, NZ>(v, m, out, 12);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2<const NZ: usize>(&self, slab: &[f32], v: &mut [f32], m: &mut [f32], out: SharedOut) {
        // SAFETY: the caller's.
        unsafe {
            transform_planes::<super::simd::x86::Avx2>(self.grid, slab, 0..self.grid.channels()[0], v);
            self.planes::<super::simd::x86::Avx2, NZ>(v, m, out, 6);
        }
    }

    /// Products and output transform of all planes, a group of tiles at a time.
    #[inline(always)]
    unsafe fn planes<S: Simd, const NZ: usize>(&self, v: &[f32], m: &mut [f32], out: SharedOut, most: usize) {
        let grid = self.grid;
        let (taps, [ci, co]) = (grid.padded.taps[0], grid.channels());
        let (tiles, block) = (grid.tiles(), NZ * S::LANES);
        let zero = [0.0f32; 64];
        for z in 0..self.count {
            for group in (0..tiles).step_by(GROUP) {
                let size = GROUP.min(tiles - group);
                for number in 0..co / block {
                    for point in 0..POINTS {
                        let weights = &self.weights[(number * POINTS + point) * taps * ci * block..];
                        let mut tile = 0;
                        while tile < size {
                            let n = most.min(size - tile);
                            // SAFETY: the tile reads `taps` planes of `n` tiles that lie in `v`, and writes `n` blocks
                            // of the products of this point.
                            unsafe {
                                let at = z * grid.plane() + (point * tiles + group + tile) * ci;
                                let target = (point * GROUP + tile) * block;
                                let block = Tile {
                                    x: v.as_ptr().add(at),
                                    x_step: ci,
                                    row: 0,
                                    plane: grid.plane(),
                                    w: weights.as_ptr(),
                                    taps: [taps, 1],
                                    run: ci,
                                    bias: zero.as_ptr(),
                                    out: m.as_mut_ptr().add(target),
                                    out_step: block,
                                };
                                block.dispatch::<S, NZ>(n);
                            }
                            tile += n;
                        }
                    }
                    // SAFETY: as above.
                    unsafe { self.write_outputs::<S, NZ>(m, z, group, size, number * block, out) };
                }
            }
        }
    }

    /// `AYᵀ · m · AX` of a group of tiles, plus bias, to the outputs.
    #[inline(always)]
    unsafe fn write_outputs<S: Simd, const NZ: usize>(
        &self,
        m: &[f32],
        z: usize,
        group: usize,
        size: usize,
        channel: usize,
        out: SharedOut,
    ) {
        let grid = self.grid;
        let plan = &grid.padded;
        let [nz, ny, nx] = plan.output.space;
        let block = NZ * S::LANES;
        // SAFETY: only outputs inside the plane are written.
        unsafe {
            for tile in 0..size {
                let y = (group + tile) / grid.tiles[1] * 2;
                let x = (group + tile) % grid.tiles[1] * 4;
                for k in 0..NZ {
                    let lane = k * S::LANES;
                    let bias = S::load(self.bias.as_ptr().add(channel + lane));
                    let mut rows = [[S::zero(); 4]; 4];
                    for (py, row) in rows.iter_mut().enumerate() {
                        let p = |px: usize| {
                            S::load(m.as_ptr().add(((py * 6 + px) * GROUP + tile) * block + lane))
                        };
                        *row = output_x::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
                    }
                    for dx in 0..4.min(grid.count[1] - x) {
                        let [a, b, c, d] = [rows[0][dx], rows[1][dx], rows[2][dx], rows[3][dx]];
                        let values = [S::add(S::add(a, b), c), S::sub(S::sub(b, c), d)];
                        for (dy, value) in values.into_iter().enumerate().take(grid.count[0] - y) {
                            let voxel = ((self.sample * nz + self.first + z) * ny + y + dy) * nx + x + dx;
                            S::store(out.0.add(voxel * plan.pitch + channel + lane), S::add(value, bias));
                        }
                    }
                }
            }
        }
    }
}

/// `AXᵀ · m` of F(4,3).
#[inline(always)]
unsafe fn output_x<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: arithmetic on registers only.
    unsafe {
        let (sum12, diff12) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum34, diff34) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum12, sum34)),
            S::fma(S::set(2.0), diff34, diff12),
            S::fma(S::set(4.0), sum34, sum12),
            S::add(m[5], S::fma(S::set(8.0), diff34, diff12)),
        ]
    }
}

/// `BXᵀ · d` of F(4,3).
#[inline(always)]
unsafe fn input_x<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: arithmetic on registers only.
    unsafe {
        let four = S::set(4.0);
        let minus_four = S::set(-4.0);
        let minus_five = S::set(-5.0);
        let two = S::set(2.0);
        let a = S::fma(minus_four, d[2], d[4]);
        let b = S::fma(minus_four, d[1], d[3]);
        let c = S::sub(d[4], d[2]);
        let e = S::sub(d[3], d[1]);
        [
            S::fma(four, d[0], S::fma(minus_five, d[2], d[4])),
            S::add(a, b),
            S::sub(a, b),
            S::fma(two, e, c),
            S::fma(S::set(-2.0), e, c),
            S::fma(four, d[1], S::fma(minus_five, d[3], d[5])),
        ]
    }
}

/// `BYᵀ · d · BX` of every tile and the given channels: `[plane][point][tile][channel]`.
///
/// # Safety
/// The processor has the instructions of `S`, and the number of channels is a multiple of its lanes.
#[inline(always)]
unsafe fn transform_planes<S: Simd>(grid: &Grid, slab: &[f32], channels: Range<usize>, values: &mut [f32]) {
    let (shape, ci, tiles) = (SlabShape::of(&grid.padded), grid.channels()[0], grid.tiles());
    let width = channels.len();
    for (plane, values) in slab.chunks_exact(shape.plane).zip(values.chunks_exact_mut(POINTS * tiles * width))
    {
        for tile in 0..tiles {
            let first = tile / grid.tiles[1] * 2 * shape.row + tile % grid.tiles[1] * 4 * ci + channels.start;
            for c in (0..width).step_by(S::LANES) {
                // SAFETY: a tile reads 4 rows of 6 voxels, which the slab has for whole tiles.
                unsafe {
                    let mut rows = [[S::zero(); 6]; 4];
                    for (y, row) in rows.iter_mut().enumerate() {
                        let p = |x: usize| S::load(plane.as_ptr().add(first + y * shape.row + x * ci + c));
                        *row = input_x::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
                    }
                    for px in 0..6 {
                        let [a, b, d, e] = [rows[0][px], rows[1][px], rows[2][px], rows[3][px]];
                        let column = [S::sub(a, d), S::add(b, d), S::sub(d, b), S::sub(b, e)];
                        for (py, value) in column.into_iter().enumerate() {
                            let at = ((py * 6 + px) * tiles + tile) * width + c;
                            S::store(values.as_mut_ptr().add(at), value);
                        }
                    }
                }
            }
        }
    }
}

/// [`super::outer::outer`] on tiles: rows `[tap][input channel]` of output channels.
pub(crate) fn outer(grid: &Grid, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let plan = &grid.padded;
    let (taps, [ci, co]) = (plan.taps[0], grid.channels());
    let planes = plan.input.batch * plan.count[0];
    let size = POINTS * taps * ci * co;
    // A group of input channels per task where the products of all would not stay in a cache.
    let width = match grid.lanes {
        lanes if size <= GROUPED_VALUES => ci.max(lanes),
        lanes if ci.is_multiple_of(2 * lanes) => 2 * lanes,
        lanes => lanes,
    };
    let together = (256 / grid.tiles()).clamp(4, 12);
    let sums = sum_in_parts(planes, ci / width, size, |range, group, sums| {
        let mut plane = range.start;
        while plane < range.end {
            let (sample, first) = (plane / plan.count[0], plane % plan.count[0]);
            let count = together.min(range.end - plane).min(plan.count[0] - first);
            BUFFERS.with_borrow_mut(|[slab, values, gradients]| {
                fill_slab(plan, x, sample, first, count, slab);
                values.resize((count + taps - 1) * POINTS * grid.tiles() * width, 0.0);
                gradients.resize(count * POINTS * grid.tiles() * co, 0.0);
                let channels = group * width..(group + 1) * width;
                Sweep { grid, dy, plane, count, channels }.run(slab, values, gradients, sums);
            });
            plane += count;
        }
    });
    let mut dw = vec![0.0; taps * 9 * ci * co];
    dw.par_chunks_mut(9 * ci * co).enumerate().for_each(|(tz, dw)| {
        for (c, o) in (0..ci).flat_map(|c| (0..co).map(move |o| (c, o))) {
            let group = &sums[c / width * POINTS * taps * width * co..];
            let u = std::array::from_fn(|point| group[((point * taps + tz) * width + c % width) * co + o]);
            for (tap, value) in transform_kernel_back(&u).into_iter().enumerate() {
                dw[(tap * ci + c) * co + o] = value;
            }
        }
    });
    dw
}

/// A few planes of one sample, for the weight gradient.
struct Sweep<'a> {
    grid: &'a Grid,
    dy: &'a [f32],
    /// Number of the first plane over all samples.
    plane: usize,
    count: usize,
    /// Input channels whose products are taken.
    channels: Range<usize>,
}

impl Sweep<'_> {
    fn run(&self, slab: &[f32], values: &mut [f32], gradients: &mut [f32], sums: &mut [f32]) {
        // SAFETY: as in `Job::run`; `sums` holds the products of all points, taps and channels.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match (self.grid.lanes, self.grid.registers) {
                (16, 2) => self.run_avx512::<8, 2>(slab, values, gradients, sums),
                (16, _) => self.run_avx512::<16, 1>(slab, values, gradients, sums),
                (_, 2) => self.run_avx2::<4, 2>(slab, values, gradients, sums),
                (_, _) => self.run_avx2::<8, 1>(slab, values, gradients, sums),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
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
        use super::simd::x86::Avx512;
        // SAFETY: the caller's.
        unsafe {
            transform_planes::<Avx512>(self.grid, slab, self.channels.clone(), v);
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
        use super::simd::x86::Avx2;
        // SAFETY: the caller's.
        unsafe {
            transform_planes::<Avx2>(self.grid, slab, self.channels.clone(), v);
            self.transform_gradients::<Avx2>(d);
            self.products::<Avx2, NC, NZ>(v, d, sums);
        }
    }

    /// `AY · dy · AXᵀ` of every tile and channel: `[plane][point][tile][channel]`, outputs outside counting as zero.
    #[inline(always)]
    unsafe fn transform_gradients<S: Simd>(&self, gradients: &mut [f32]) {
        let grid = self.grid;
        let (tiles, co) = (grid.tiles(), grid.channels()[1]);
        let [ny, nx] = grid.count;
        for (z, gradients) in gradients.chunks_exact_mut(POINTS * tiles * co).enumerate() {
            let plane = &self.dy[(self.plane + z) * ny * nx * co..][..ny * nx * co];
            for tile in 0..tiles {
                let (y, x) = (tile / grid.tiles[1] * 2, tile % grid.tiles[1] * 4);
                for c in (0..co).step_by(S::LANES) {
                    // SAFETY: only gradients inside the plane are read.
                    unsafe {
                        let mut rows = [[S::zero(); 4]; 2];
                        for (dy, row) in rows.iter_mut().enumerate().take(ny - y) {
                            for (dx, value) in row.iter_mut().enumerate().take(nx - x) {
                                *value = S::load(plane.as_ptr().add(((y + dy) * nx + x + dx) * co + c));
                            }
                        }
                        let wide = [gradient_x::<S>(rows[0]), gradient_x::<S>(rows[1])];
                        for px in 0..6 {
                            let (a, b) = (wide[0][px], wide[1][px]);
                            let column = [a, S::add(a, b), S::sub(a, b), S::sub(S::zero(), b)];
                            for (py, value) in column.into_iter().enumerate() {
                                let at = ((py * 6 + px) * tiles + tile) * co + c;
                                S::store(gradients.as_mut_ptr().add(at), value);
                            }
                        }
                    }
                }
            }
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
        let grid = self.grid;
        let (taps, tiles, co) = (grid.padded.taps[0], grid.tiles(), grid.channels()[1]);
        let ci = self.channels.len();
        for point in 0..POINTS {
            for tz in 0..taps {
                for c in (0..ci).step_by(NC) {
                    for o in (0..co).step_by(NZ * S::LANES) {
                        // SAFETY: `NC` divides the lanes and so the input channels; all addresses lie in the planes.
                        unsafe {
                            let mut acc = [[S::zero(); NZ]; NC];
                            for z in 0..self.count {
                                let input = ((z + tz) * POINTS + point) * tiles * ci + c;
                                let gradient = (z * POINTS + point) * tiles * co + o;
                                let mut x = v.as_ptr().add(input);
                                let mut g = d.as_ptr().add(gradient);
                                for _ in 0..tiles {
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
}

/// `AX · d` of F(4,3).
#[inline(always)]
unsafe fn gradient_x<S: Simd>(d: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: arithmetic on registers only.
    unsafe {
        let even = S::add(d[0], d[2]);
        let odd = S::add(d[1], d[3]);
        let even4 = S::fma(S::set(4.0), d[2], d[0]);
        let odd8 = S::fma(S::set(8.0), d[3], S::add(d[1], d[1]));
        [d[0], S::add(even, odd), S::sub(even, odd), S::add(even4, odd8), S::sub(even4, odd8), d[3]]
    }
}
