//! Transforms of inputs, outputs and gradients, one register of channels at a time.
#![allow(unsafe_code)]

use std::ops::Range;

use super::super::simd::Simd;
use super::super::source::SlabShape;
use super::{POINTS, SIDE, TILE};

/// `Bᵀ · d` of F(4,3).
#[inline(always)]
unsafe fn input<S: Simd>(d: [S::V; SIDE]) -> [S::V; SIDE] {
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

/// `Aᵀ · m` of F(4,3).
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

/// `A · d` of F(4,3).
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
pub(super) unsafe fn transform_inputs<S: Simd>(
    slab: &[f32],
    shape: SlabShape,
    tiles: [usize; 2],
    channels: usize,
    wanted: Range<usize>,
    values: &mut [f32],
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
                    let mut rows = [[S::zero(); SIDE]; SIDE];
                    for (y, row) in rows.iter_mut().enumerate() {
                        let from = slab.as_ptr().add(corner + y * shape.row + c);
                        let p = |x: usize| S::load(from.add(x * channels));
                        *row = input::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
                    }
                    for px in 0..SIDE {
                        let column = input::<S>(std::array::from_fn(|y| rows[y][px]));
                        for (py, value) in column.into_iter().enumerate() {
                            let at = (py * SIDE + px) * point + target + c;
                            S::store(values.as_mut_ptr().add(at), value);
                        }
                    }
                }
            }
        }
    }
}

/// `Aᵀ · m · A` of one tile whose points lie `step` values apart.
///
/// # Safety
/// The processor has the instructions of `S`, and the points can be read.
#[inline(always)]
pub(super) unsafe fn transform_output<S: Simd>(products: *const f32, step: usize) -> [[S::V; TILE]; TILE] {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[S::zero(); TILE]; SIDE];
        for (py, row) in rows.iter_mut().enumerate() {
            let p = |px: usize| S::load(products.add((py * SIDE + px) * step));
            *row = output::<S>([p(0), p(1), p(2), p(3), p(4), p(5)]);
        }
        let mut out = [[S::zero(); TILE]; TILE];
        for x in 0..TILE {
            let column = output::<S>(std::array::from_fn(|py| rows[py][x]));
            for (y, value) in column.into_iter().enumerate() {
                out[y][x] = value;
            }
        }
        out
    }
}

/// `A · d · Aᵀ` of one tile of gradients, stored `step` values apart.
///
/// # Safety
/// The processor has the instructions of `S`, and the points can be written.
#[inline(always)]
pub(super) unsafe fn transform_gradient<S: Simd>(
    gradients: [[S::V; TILE]; TILE],
    target: *mut f32,
    step: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let wide: [[S::V; SIDE]; TILE] = std::array::from_fn(|y| gradient::<S>(gradients[y]));
        for px in 0..SIDE {
            let column = gradient::<S>(std::array::from_fn(|y| wide[y][px]));
            for (py, value) in column.into_iter().enumerate() {
                S::store(target.add((py * SIDE + px) * step), value);
            }
        }
    }
}
