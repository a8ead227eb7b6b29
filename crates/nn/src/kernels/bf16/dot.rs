//! Products by the dot-product instruction of AVX512-BF16.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::prepared::{BLOCK, Block, Kernel, Target, VOXELS};

/// Voxels whose sums are kept in registers.
const MOST: usize = 12;

/// No bias.
pub(crate) static NONE: [f32; BLOCK] = [0.0; BLOCK];

/// The instruction `vdpbf16ps`.
pub(super) struct Dot;

// SAFETY: `Kernel` demands the instructions of the caller.
unsafe impl Kernel for Dot {
    #[inline(always)]
    unsafe fn products(&mut self, block: &Block, out: &Target) {
        // SAFETY: the caller's.
        unsafe {
            if out.lanes == BLOCK {
                products(block, out.first, out.step, out.bias);
            } else {
                let mut sums = [0.0; VOXELS * BLOCK];
                products(block, sums.as_mut_ptr(), BLOCK, NONE.as_ptr());
                out.write(&sums, block.voxels);
            }
        }
    }
}

/// `out[voxel · step + channel] = bias[channel] + Σ x · w` for the voxels of the block, any number of them.
///
/// # Safety
/// The processor has AVX512-BF16; runs, weights and `BLOCK` values of bias can be read, `BLOCK` outputs per voxel written.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) unsafe fn products(block: &Block, out: *mut f32, step: usize, bias: *const f32) {
    let parts = block.voxels.div_ceil(MOST);
    let mut first = 0;
    for part in 0..parts {
        let n = block.voxels / parts + usize::from(part < block.voxels % parts);
        // SAFETY: the caller's.
        unsafe {
            let out = out.add(first * step);
            match n {
                1 => some::<1>(block, first, out, step, bias),
                2 => some::<2>(block, first, out, step, bias),
                3 => some::<3>(block, first, out, step, bias),
                4 => some::<4>(block, first, out, step, bias),
                5 => some::<5>(block, first, out, step, bias),
                6 => some::<6>(block, first, out, step, bias),
                7 => some::<7>(block, first, out, step, bias),
                8 => some::<8>(block, first, out, step, bias),
                9 => some::<9>(block, first, out, step, bias),
                10 => some::<10>(block, first, out, step, bias),
                11 => some::<11>(block, first, out, step, bias),
                _ => some::<12>(block, first, out, step, bias),
            }
        }
        first += n;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn some<const N: usize>(block: &Block, first: usize, out: *mut f32, step: usize, bias: *const f32) {
    // SAFETY: the runs, weights and outputs are those of the block.
    unsafe {
        let mut sums = [[_mm512_loadu_ps(bias), _mm512_loadu_ps(bias.add(16))]; N];
        let mut w = block.w;
        for tap in 0..block.taps[0] * block.taps[1] {
            let (tz, ty) = (tap / block.taps[1], tap % block.taps[1]);
            let x = block.x.add(tz * block.plane + ty * block.row + first * block.step);
            for pair in 0..block.pairs {
                let load = |k: usize| as_pairs(_mm512_loadu_si512(w.add(32 * k).cast()));
                let weights = [load(0), load(1)];
                w = w.add(2 * BLOCK);
                for (v, sums) in sums.iter_mut().enumerate() {
                    let both = x.add(v * block.step + 2 * pair).cast::<i32>().read_unaligned();
                    let both = as_pairs(_mm512_set1_epi32(both));
                    sums[0] = _mm512_dpbf16_ps(sums[0], both, weights[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], both, weights[1]);
                }
            }
        }
        for (v, sums) in sums.iter().enumerate() {
            _mm512_storeu_ps(out.add(v * step), sums[0]);
            _mm512_storeu_ps(out.add(v * step + 16), sums[1]);
        }
    }
}

/// The same bits as pairs of bf16.
#[inline(always)]
fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid patterns.
    unsafe { std::mem::transmute(bits) }
}

/// Rounds values to bf16.
///
/// # Safety
/// The processor has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn round_all(from: &[f32], to: &mut [u16]) {
    let whole = from.len().min(to.len()) / 16 * 16;
    for i in (0..whole).step_by(16) {
        // SAFETY: 16 values lie from `i` on in both.
        unsafe {
            let values: __m256i =
                std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr().add(i))));
            _mm256_storeu_si256(to.as_mut_ptr().add(i).cast(), values);
        }
    }
    for (to, from) in to.iter_mut().zip(from).skip(whole) {
        *to = super::round(*from);
    }
}

/// See [`super::prepared::round_pairs`].
///
/// # Safety
/// The processor has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn round_pairs(even: &[f32], odd: &[f32], to: &mut [u16]) {
    let whole = even.len().min(odd.len()).min(to.len() / 2) / 16 * 16;
    for i in (0..whole).step_by(16) {
        // SAFETY: 16 values lie from `i` on in both, and room for 32.
        unsafe {
            let wide = |from: &[f32]| {
                let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr().add(i)));
                _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rounded))
            };
            let both = _mm512_or_si512(wide(even), _mm512_slli_epi32::<16>(wide(odd)));
            _mm512_storeu_si512(to.as_mut_ptr().add(2 * i).cast(), both);
        }
    }
    for ((to, even), odd) in to.chunks_exact_mut(2).zip(even).zip(odd).skip(whole) {
        to.copy_from_slice(&[super::round(*even), super::round(*odd)]);
    }
}
