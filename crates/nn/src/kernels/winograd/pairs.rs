//! Backward-weights on tiles by the dot products of AVX512-BF16: tiles are summed over in pairs.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::simd::x86::Avx512;
use super::outer::Sweep;
use super::transform::transform_input;
use super::{POINTS, TILE};

/// Input channels and registers of output channels whose sums are kept.
const NC: usize = 8;
const NZ: usize = 2;
const LANES: usize = 16;
/// The transformed values of a tile for one register of channels, in bf16.
type Tile = [[u16; LANES]; POINTS];

impl Sweep<'_> {
    /// Pairs of tiles of a plane; the last may lack one.
    pub(super) fn pairs(&self) -> usize {
        (self.tiles[0] * self.tiles[1]).div_ceil(2)
    }

    /// Adds the products of the box to the sums.
    ///
    /// # Safety
    /// The processor has AVX512-BF16; `v` holds `[point][plane][pair][channel][2]` inputs, `d` as many gradients.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn run_half(&self, slab: &[f32], v: &mut [u16], d: &mut [u16], sums: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe {
            self.input_pairs(slab, v);
            self.gradient_pairs(d);
            self.dot_products(v, d, sums);
        }
    }

    /// Inputs as `[point][plane][pair][channel][2]`, zero for the tile that the last pair lacks.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn input_pairs(&self, slab: &[f32], v: &mut [u16]) {
        let (count, width, pairs) = (self.tiles[0] * self.tiles[1], self.channels.len(), self.pairs());
        let (ci, shape) = (self.grid.channels()[0], self.shape);
        let point = shape.planes * pairs * 2 * width;
        assert!(slab.len() >= shape.planes * shape.plane && v.len() >= POINTS * point);
        let mut first: Tile = [[0; LANES]; POINTS];
        for (plane, pair) in (0..shape.planes).flat_map(|plane| (0..pairs).map(move |pair| (plane, pair))) {
            let corner = |tile: usize| {
                let (y, x) = (tile / self.tiles[1], tile % self.tiles[1]);
                plane * shape.plane + y * TILE * shape.row + x * TILE * ci + self.channels.start
            };
            for c in (0..width).step_by(LANES) {
                let target = ((plane * pairs + pair) * width + c) * 2;
                // SAFETY: tiles lie inside the slab, pairs inside the values.
                unsafe {
                    let input = |tile| slab.as_ptr().add(corner(tile) + c);
                    transform_input::<Avx512>(input(2 * pair), shape.row, ci, |number, value| {
                        put_half(&mut first[number], value);
                    });
                    let to = |number: usize| number * point + target;
                    if 2 * pair + 1 < count {
                        transform_input::<Avx512>(input(2 * pair + 1), shape.row, ci, |number, value| {
                            put_pair(v.as_mut_ptr().add(to(number)), &first[number], value);
                        });
                    } else {
                        for (number, first) in first.iter().enumerate() {
                            put_pair(v.as_mut_ptr().add(to(number)), first, _mm512_setzero_ps());
                        }
                    }
                }
            }
        }
    }

    /// Gradients as `[point][plane][pair][channel][2]`, zero for the tile that the last pair lacks.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn gradient_pairs(&self, d: &mut [u16]) {
        let (count, co, pairs) = (self.tiles[0] * self.tiles[1], self.grid.channels()[1], self.pairs());
        let planes = self.region.count[0];
        let point = planes * pairs * 2 * co;
        assert!(d.len() >= POINTS * point);
        let mut first: Tile = [[0; LANES]; POINTS];
        for (plane, pair) in (0..planes).flat_map(|plane| (0..pairs).map(move |pair| (plane, pair))) {
            let row = plane * count + 2 * pair;
            for c in (0..co).step_by(LANES) {
                let target = ((plane * pairs + pair) * co + c) * 2;
                // SAFETY: the tiles are those of the box, pairs lie inside the gradients.
                unsafe {
                    self.gradient::<Avx512>(row, c, |number, value| put_half(&mut first[number], value));
                    let to = |number: usize| number * point + target;
                    if 2 * pair + 1 < count {
                        self.gradient::<Avx512>(row + 1, c, |number, value| {
                            put_pair(d.as_mut_ptr().add(to(number)), &first[number], value);
                        });
                    } else {
                        for (number, first) in first.iter().enumerate() {
                            put_pair(d.as_mut_ptr().add(to(number)), first, _mm512_setzero_ps());
                        }
                    }
                }
            }
        }
    }

    /// Adds, per point and tap along z, input times gradient over all pairs of tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn dot_products(&self, v: &[u16], d: &[u16], sums: &mut [f32]) {
        let (taps, co) = (self.grid.plan.taps[0], self.grid.channels()[1]);
        let (ci, pairs) = (self.channels.len(), self.pairs());
        let rows = self.region.count[0] * pairs;
        for (point, tz) in (0..POINTS).flat_map(|point| (0..taps).map(move |tz| (point, tz))) {
            for c in (0..ci).step_by(NC) {
                for o in (0..co).step_by(NZ * LANES) {
                    let at = ((point * taps + tz) * ci + c) * co + o;
                    // SAFETY: `NC` divides the input, `NZ` registers the output channels; all addresses lie in the buffers.
                    unsafe {
                        let x = v.as_ptr().add(((point * self.shape.planes + tz) * pairs * ci + c) * 2);
                        let g = d.as_ptr().add((point * rows * co + o) * 2);
                        add_products(x, 2 * ci, g, 2 * co, rows, sums.as_mut_ptr().add(at), co);
                    }
                }
            }
        }
    }
}

/// `sums[c][o] += Σ x[row][c] · g[row][o]` over pairs; `x_step`, `g_step` and `step` are the values from row to row.
///
/// # Safety
/// The processor has AVX512-BF16; the addresses can be read and written.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn add_products(
    mut x: *const u16,
    x_step: usize,
    mut g: *const u16,
    g_step: usize,
    rows: usize,
    sums: *mut f32,
    step: usize,
) {
    // SAFETY: the caller's; both are 512 bits without invalid patterns.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); NZ]; NC];
        for _ in 0..rows {
            let load = |k: usize| _mm512_loadu_si512(g.add(2 * k * LANES).cast());
            let gradients = std::mem::transmute::<[__m512i; NZ], [__m512bh; NZ]>([load(0), load(1)]);
            for (c, acc) in acc.iter_mut().enumerate() {
                let both = _mm512_set1_epi32(x.add(2 * c).cast::<i32>().read_unaligned());
                let both = std::mem::transmute::<__m512i, __m512bh>(both);
                for (sum, g) in acc.iter_mut().zip(gradients) {
                    *sum = _mm512_dpbf16_ps(*sum, both, g);
                }
            }
            x = x.wrapping_add(x_step);
            g = g.wrapping_add(g_step);
        }
        for (c, acc) in acc.iter().enumerate() {
            for (k, sum) in acc.iter().enumerate() {
                let p = sums.add(c * step + k * LANES);
                _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), *sum));
            }
        }
    }
}

/// Rounds a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn put_half(to: &mut [u16; LANES], value: __m512) {
    // SAFETY: 256 bits without invalid patterns.
    *to = unsafe { std::mem::transmute::<__m256bh, [u16; LANES]>(_mm512_cvtneps_pbh(value)) };
}

/// Writes a rounded register and one that is rounded, in turn a value of each.
///
/// # Safety
/// 32 values can be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn put_pair(to: *mut u16, first: &[u16; LANES], second: __m512) {
    // SAFETY: the caller's; 256 bits without invalid patterns.
    unsafe {
        let second = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(second));
        let first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(first.as_ptr().cast()));
        let both = _mm512_or_si512(first, _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(second)));
        _mm512_storeu_si512(to.cast(), both);
    }
}
