//! Registers that round each product before it is added.
#![allow(unsafe_code)]

use super::simd::Simd;

/// `S` without fused multiply-add: sums in the same order have the same bits with every instruction set, and those of the
/// portable kernels.
#[derive(Clone, Copy)]
pub(crate) struct Separate<S>(S);

// SAFETY: all functions are those of `S`.
unsafe impl<S: Simd> Simd for Separate<S> {
    const LANES: usize = S::LANES;
    type V = S::V;
    #[inline(always)]
    unsafe fn zero() -> S::V {
        unsafe { S::zero() }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> S::V {
        unsafe { S::splat(p) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> S::V {
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: S::V) {
        unsafe { S::store(p, v) }
    }
    #[inline(always)]
    unsafe fn fma(a: S::V, b: S::V, c: S::V) -> S::V {
        unsafe { S::add(S::fma(a, b, S::zero()), c) }
    }
    #[inline(always)]
    unsafe fn add(a: S::V, b: S::V) -> S::V {
        unsafe { S::add(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: S::V, b: S::V) -> S::V {
        unsafe { S::sub(a, b) }
    }
    #[inline(always)]
    unsafe fn set(v: f32) -> S::V {
        unsafe { S::set(v) }
    }
}
