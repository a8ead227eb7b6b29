//! Transforms of inputs, outputs and gradients, one register of channels at a time.
#![allow(unsafe_code)]

use std::ops::Range;

use super::super::simd::Simd;
use super::super::source::SlabShape;
use super::{POINTS, SIDE, TILE};

/// The points of F(4,3) are 0, ±`A`, ±2`A` and infinity. With 3/4 instead of 1, rounded products (of f32 or of bf16) make half the error
/// in the outputs, and all factors of the inputs stay exact. Barabasz et al., *Error Analysis and Improving the Accuracy of
/// Winograd Convolution for Deep Neural Networks* (2020).
pub(super) const A: f32 = 0.75;
/// What outputs are multiplied by, and kernels and gradients: powers of [`A`].
pub(super) const POWERS: [f32; TILE] = [1.0, A, A * A, A * A * A];

/// A place for a transformed value of one register of channels.
///
/// # Safety
/// `put` writes as many values as the register has lanes, where the processor has the instructions.
pub(super) unsafe trait Element<S: Simd>: Copy {
    /// Writes a register, rounded if need be.
    unsafe fn put(to: *mut Self, v: S::V);
}

// SAFETY: a plain store.
unsafe impl<S: Simd> Element<S> for f32 {
    #[inline(always)]
    unsafe fn put(to: *mut f32, v: S::V) {
        // SAFETY: the caller's.
        unsafe { S::store(to, v) };
    }
}

/// The bits of a bf16.
#[cfg(target_arch = "x86_64")]
// SAFETY: writes 16 values; callers have AVX512-BF16.
unsafe impl Element<super::super::simd::x86::Avx512> for u16 {
    #[inline(always)]
    unsafe fn put(to: *mut u16, v: std::arch::x86_64::__m512) {
        use std::arch::x86_64::{__m256i, _mm256_storeu_si256, _mm512_cvtneps_pbh};
        // SAFETY: the caller's; both are 256 bits without invalid patterns.
        unsafe {
            let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(v));
            _mm256_storeu_si256(to.cast(), rounded);
        }
    }
}

/// `Bᵀ · d` of F(4,3).
#[inline(always)]
unsafe fn input<S: Simd>(d: [S::V; SIDE]) -> [S::V; SIDE] {
    // SAFETY: arithmetic on registers only.
    unsafe {
        let square = S::set(-A * A);
        let four = S::set(-4.0 * A * A);
        let five = S::set(-5.0 * A * A);
        let last = S::set(4.0 * A * A * A * A);
        let a = S::fma(four, d[2], d[4]);
        let b = S::fma(four, d[1], d[3]);
        let c = S::fma(square, d[2], d[4]);
        let e = S::fma(square, d[1], d[3]);
        [
            S::fma(last, d[0], S::fma(five, d[2], d[4])),
            S::fma(S::set(A), b, a),
            S::fma(S::set(-A), b, a),
            S::fma(S::set(2.0 * A), e, c),
            S::fma(S::set(-2.0 * A), e, c),
            S::fma(last, d[1], S::fma(five, d[3], d[5])),
        ]
    }
}

/// `Aᵀ · m` of F(4,3), but for the factors [`POWERS`].
#[inline(always)]
unsafe fn output<S: Simd>(m: [S::V; SIDE]) -> [S::V; TILE] {
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

/// `A · d` of F(4,3), of gradients that have been multiplied by [`POWERS`].
#[inline(always)]
unsafe fn gradient<S: Simd>(d: [S::V; TILE]) -> [S::V; SIDE] {
    // SAFETY: arithmetic on registers only.
    unsafe {
        let even = S::add(d[0], d[2]);
        let odd = S::add(d[1], d[3]);
        let even4 = S::fma(S::set(4.0), d[2], d[0]);
        let odd8 = S::fma(S::set(8.0), d[3], S::add(d[1], d[1]));
        [d[0], S::add(even, odd), S::sub(even, odd), S::add(even4, odd8), S::sub(even4, odd8), d[3]]
    }
}

/// `Bᵀ · d · B` of all tiles of a slab and the given of its channels: `[point][plane][tile][channel]`.
///
/// # Safety
/// The processor has the instructions of `S`; the slab has `TILE * tiles + 2` rows and columns of `channels` values per plane;
/// the number of wanted channels is a multiple of the lanes.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd, E: Element<S>>(
    slab: &[f32],
    shape: SlabShape,
    tiles: [usize; 2],
    channels: usize,
    wanted: Range<usize>,
    values: &mut [E],
) {
    let (count, width) = (tiles[0] * tiles[1], wanted.len());
    let point = shape.planes * count * width;
    assert!(slab.len() >= shape.planes * shape.plane && values.len() >= POINTS * point);
    for plane in 0..shape.planes {
        for tile in 0..count {
            let corner = plane * shape.plane
                + tile / tiles[1] * TILE * shape.row
                + tile % tiles[1] * TILE * channels
                + wanted.start;
            let target = (plane * count + tile) * width;
            for c in (0..width).step_by(S::LANES) {
                // SAFETY: by the contract above.
                unsafe {
                    transform_input::<S>(
                        slab.as_ptr().add(corner + c),
                        shape.row,
                        channels,
                        |number, value| {
                            E::put(values.as_mut_ptr().add(number * point + target + c), value);
                        },
                    );
                }
            }
        }
    }
}

/// `Bᵀ · d · B` of one tile of inputs, rows `row` and voxels `step` values apart, as `put(point, value)`.
///
/// # Safety
/// The processor has the instructions of `S`, and the inputs can be read.
#[inline(always)]
pub(super) unsafe fn transform_input<S: Simd>(
    from: *const f32,
    row: usize,
    step: usize,
    mut put: impl FnMut(usize, S::V),
) {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[S::zero(); SIDE]; SIDE];
        for (y, values) in rows.iter_mut().enumerate() {
            let p = |x: usize| S::load(from.add(y * row + x * step));
            *values = input::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
        }
        for px in 0..SIDE {
            let [a, b, c, d, e, f] = &rows;
            let column = input::<S>([a[px], b[px], c[px], d[px], e[px], f[px]]);
            for (py, value) in column.into_iter().enumerate() {
                put(py * SIDE + px, value);
            }
        }
    }
}

/// `Aᵀ · m · A` of one tile whose points lie `step` values apart, plus `bias`.
///
/// # Safety
/// The processor has the instructions of `S`, and the points can be read.
#[inline(always)]
pub(super) unsafe fn transform_output<S: Simd>(
    products: *const f32,
    step: usize,
    bias: S::V,
) -> [[S::V; TILE]; TILE] {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[S::zero(); TILE]; SIDE];
        for (py, row) in rows.iter_mut().enumerate() {
            let p = |px: usize| S::load(products.add((py * SIDE + px) * step));
            *row = output::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
        }
        let mut out = [[S::zero(); TILE]; TILE];
        for x in 0..TILE {
            let [a, b, c, d, e, f] = &rows;
            let column = output::<S>([a[x], b[x], c[x], d[x], e[x], f[x]]);
            for (y, value) in column.into_iter().enumerate() {
                out[y][x] = S::fma(S::set(POWERS[y] * POWERS[x]), value, bias);
            }
        }
        out
    }
}

/// `A · d · Aᵀ` of one tile of gradients, as `[row][column]`.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn transform_gradient<S: Simd>(
    mut gradients: [[S::V; TILE]; TILE],
    mut put: impl FnMut(usize, S::V),
) {
    // SAFETY: the caller's.
    unsafe {
        for (y, row) in gradients.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = S::fma(*value, S::set(POWERS[y] * POWERS[x]), S::zero());
            }
        }
        // Closures of `from_fn` would not be compiled with the instructions of the caller.
        let mut wide = [[S::zero(); SIDE]; TILE];
        for (wide, gradients) in wide.iter_mut().zip(gradients) {
            *wide = gradient::<S>(gradients);
        }
        let [a, b, c, d] = &wide;
        for px in 0..SIDE {
            let column = gradient::<S>([a[px], b[px], c[px], d[px]]);
            for (py, value) in column.into_iter().enumerate() {
                put(py * SIDE + px, value);
            }
        }
    }
}
