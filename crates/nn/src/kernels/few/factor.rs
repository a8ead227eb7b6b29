//! The two register blocks of matrix products with few rows, for factors in f32 and in bf16.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::bf16::{round_all, round_pairs};
use super::super::scratch::Pooled;
use super::super::simd::x86::totals;

/// Sums of a register.
pub(super) const SUMS: usize = 16;
/// Columns of the blocks of [`Factor::outer`]: four registers of sums.
pub(super) const WIDTH: usize = 4 * SUMS;
/// Rows of both factors whose products [`Factor::dots`] takes at once.
pub(super) const ROWS: [usize; 2] = [4, 6];

/// What is multiplied: f32, or bf16 with two products per sum at once.
///
/// # Safety
/// All functions read and write what their comments say at the given pointers, and run on a processor that has the instructions:
/// AVX-512F and for `u16` AVX-512BW and AVX512-BF16 as well.
pub(super) unsafe trait Factor: Pooled + Send + Sync {
    /// Products per sum at once.
    const PAIR: usize;
    /// Factors in a register.
    const LANES: usize = SUMS * Self::PAIR;

    /// sum + a · b
    unsafe fn multiply(sum: __m512, a: __m512i, b: __m512i) -> __m512;
    /// The first `count` factors and zeros.
    unsafe fn load_some(p: *const Self, count: usize) -> __m512i;
    /// A factor, or a pair, in all lanes.
    unsafe fn splat(p: *const Self) -> __m512i;
    /// The factors of values.
    fn convert(from: &[f32], to: &mut [Self]);
    /// The factors of two runs of values as pairs, of the first run alone where there are no pairs.
    fn interleave(even: &[f32], odd: &[f32], to: &mut [Self]);
    /// See [`dots`].
    unsafe fn dots(x: Rows<'_, Self>, w: Rows<'_, Self>, length: usize, out: &mut [f32]);
    /// See [`outer`].
    unsafe fn outer(a: Grid<Self>, rows: usize, steps: usize, b: (*const Self, usize), out: &mut [f32]);
}

/// Some rows, `step` factors apart.
pub(super) struct Rows<'a, F> {
    pub(super) values: &'a [F],
    pub(super) step: usize,
    pub(super) count: usize,
}

/// Factors `row` apart between rows and `step` apart between what is summed over.
pub(super) struct Grid<F> {
    pub(super) first: *const F,
    pub(super) row: usize,
    pub(super) step: usize,
}

// SAFETY: intrinsics of AVX-512F.
unsafe impl Factor for f32 {
    const PAIR: usize = 1;

    #[inline(always)]
    unsafe fn multiply(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }
    #[inline(always)]
    unsafe fn load_some(p: *const f32, count: usize) -> __m512i {
        unsafe { _mm512_maskz_loadu_epi32(((1u32 << count) - 1) as u16, p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> __m512i {
        unsafe { _mm512_castps_si512(_mm512_set1_ps(*p)) }
    }
    fn convert(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
    fn interleave(even: &[f32], _: &[f32], to: &mut [f32]) {
        to.copy_from_slice(even);
    }
    #[target_feature(enable = "avx512f")]
    unsafe fn dots(x: Rows<'_, f32>, w: Rows<'_, f32>, length: usize, out: &mut [f32]) {
        unsafe { dots(x, w, length, out) };
    }
    #[target_feature(enable = "avx512f")]
    unsafe fn outer(a: Grid<f32>, rows: usize, steps: usize, b: (*const f32, usize), out: &mut [f32]) {
        unsafe { outer(a, rows, steps, b, out) };
    }
}

// SAFETY: intrinsics of AVX-512BW and AVX512-BF16.
unsafe impl Factor for u16 {
    const PAIR: usize = 2;

    #[inline(always)]
    unsafe fn multiply(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: 512 bits either way, without invalid patterns.
        let pairs = |v: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(v) };
        unsafe { _mm512_dpbf16_ps(sum, pairs(a), pairs(b)) }
    }
    #[inline(always)]
    unsafe fn load_some(p: *const u16, count: usize) -> __m512i {
        unsafe { _mm512_maskz_loadu_epi16(((1u64 << count) - 1) as u32, p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const u16) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    fn convert(from: &[f32], to: &mut [u16]) {
        round_all(from, to);
    }
    fn interleave(even: &[f32], odd: &[f32], to: &mut [u16]) {
        round_pairs(even, odd, to);
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn dots(x: Rows<'_, u16>, w: Rows<'_, u16>, length: usize, out: &mut [f32]) {
        unsafe { dots(x, w, length, out) };
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn outer(a: Grid<u16>, rows: usize, steps: usize, b: (*const u16, usize), out: &mut [f32]) {
        unsafe { outer(a, rows, steps, b, out) };
    }
}

/// `out[j · x.count + i] = Σ x[i][k] · w[j][k]` over `length` factors, of at most [`ROWS`] rows.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn dots<F: Factor>(x: Rows<'_, F>, w: Rows<'_, F>, length: usize, out: &mut [f32]) {
    let fits = |rows: &Rows<'_, F>| rows.values.len() >= (rows.count - 1) * rows.step + length;
    assert!(fits(&x) && fits(&w) && out.len() >= x.count * w.count);
    // SAFETY: just checked.
    unsafe {
        match (x.count, w.count) {
            (4, 6) => dots_of::<F, 4, 6>(&x, &w, length, out),
            (3, 6) => dots_of::<F, 3, 6>(&x, &w, length, out),
            (2, 6) => dots_of::<F, 2, 6>(&x, &w, length, out),
            (1, 6) => dots_of::<F, 1, 6>(&x, &w, length, out),
            (4, 2) => dots_of::<F, 4, 2>(&x, &w, length, out),
            _ => {
                let n = x.count;
                for (i, j) in (0..n).flat_map(|i| (0..w.count).map(move |j| (i, j))) {
                    let row = |rows: &Rows<'_, F>, i: usize| rows.values.as_ptr().add(i * rows.step);
                    let (x, w) = ([row(&x, i)], [row(&w, j)]);
                    out[j * n + i] = one_dot::<F>(x[0], w[0], length);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn one_dot<F: Factor>(x: *const F, w: *const F, length: usize) -> f32 {
    let whole = length / F::LANES * F::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut sum = _mm512_setzero_ps();
        for k in (0..whole).step_by(F::LANES) {
            let load = |p: *const F| _mm512_loadu_si512(p.add(k).cast());
            sum = F::multiply(sum, load(x), load(w));
        }
        let load = |p: *const F| F::load_some(p.add(whole), length - whole);
        _mm512_reduce_add_ps(F::multiply(sum, load(x), load(w)))
    }
}

#[inline(always)]
unsafe fn dots_of<F: Factor, const N: usize, const M: usize>(
    x: &Rows<'_, F>,
    w: &Rows<'_, F>,
    length: usize,
    out: &mut [f32],
) {
    let whole = length / F::LANES * F::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let (x0, w0) = (x.values.as_ptr(), w.values.as_ptr());
        for k in (0..whole).step_by(F::LANES) {
            let mut rows = [_mm512_setzero_si512(); N];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(x0.add(i * x.step + k).cast());
            }
            for (j, sums) in sums.iter_mut().enumerate() {
                let weight = _mm512_loadu_si512(w0.add(j * w.step + k).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = F::multiply(*sum, row, weight);
                }
            }
        }
        if whole < length {
            let mut rows = [_mm512_setzero_si512(); N];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = F::load_some(x0.add(i * x.step + whole), length - whole);
            }
            for (j, sums) in sums.iter_mut().enumerate() {
                let weight = F::load_some(w0.add(j * w.step + whole), length - whole);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = F::multiply(*sum, row, weight);
                }
            }
        }
        let mut first = 0;
        while first < N * M {
            let mut sixteen = [_mm512_setzero_ps(); SUMS];
            for (n, sum) in sixteen.iter_mut().enumerate() {
                if first + n < N * M {
                    *sum = sums[(first + n) / N][(first + n) % N];
                }
            }
            let mask = ((1u32 << (N * M - first).min(SUMS)) - 1) as u16;
            _mm512_mask_storeu_ps(out.as_mut_ptr().add(first), mask, totals(sixteen));
            first += SUMS;
        }
    }
}

/// `out[i · WIDTH + j] = Σ a[i][k] · b[k][j]` over `steps` steps, with the rows of `b` as far apart as it says.
///
/// # Safety
/// The processor has the instructions; `a` has `rows` rows of so many steps, and each step of `b` [`WIDTH`] columns.
#[inline(always)]
unsafe fn outer<F: Factor>(a: Grid<F>, rows: usize, steps: usize, b: (*const F, usize), out: &mut [f32]) {
    assert!(out.len() >= rows * WIDTH);
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's.
        unsafe {
            let a = Grid { first: a.first.add(row * a.row), ..a };
            let out = out.as_mut_ptr().add(row * WIDTH);
            row += match rows - row {
                1 => outer_of::<F, 1>(&a, steps, b, out),
                2 => outer_of::<F, 2>(&a, steps, b, out),
                3 => outer_of::<F, 3>(&a, steps, b, out),
                4 => outer_of::<F, 4>(&a, steps, b, out),
                5 => outer_of::<F, 5>(&a, steps, b, out),
                _ => outer_of::<F, 6>(&a, steps, b, out),
            };
        }
    }
}

#[inline(always)]
unsafe fn outer_of<F: Factor, const M: usize>(
    a: &Grid<F>,
    steps: usize,
    (b, b_step): (*const F, usize),
    out: *mut f32,
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 4]; M];
        let (mut a_at, mut b_at) = (a.first, b);
        for _ in 0..steps {
            let mut columns = [_mm512_setzero_si512(); 4];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = _mm512_loadu_si512(b_at.add(j * F::LANES).cast());
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = F::splat(a_at.add(i * a.row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = F::multiply(*sum, factor, column);
                }
            }
            a_at = a_at.wrapping_add(a.step);
            b_at = b_at.wrapping_add(b_step);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(out.add(i * WIDTH + j * SUMS), *sum);
            }
        }
    }
    M
}
