//! What the processor could do in bf16: products out of registers.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::engine::{Engine, engine};

/// Runs `steps` rounds of independent products of bf16 numbers, summed in f32, in registers on this thread, by the instructions
/// that the kernels use: the number of their floating-point operations, and a value that depends on all of them; none where the
/// processor has no such instructions.
pub fn multiply_adds_bf16(steps: usize) -> Option<(u64, f32)> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: engines are given only where the processor has them.
        match engine()? {
            Engine::Amx => Some((4 * 2 * 16 * 16 * 32 * steps as u64, unsafe { tiles(steps) })),
            Engine::Dot => Some((CHAINS as u64 * 2 * 32 * steps as u64, unsafe { dot(steps) })),
            #[cfg(test)]
            Engine::Emulated => None,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = steps;
        None
    }
}

/// Sums that do not wait for each other.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn dot(steps: usize) -> f32 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    // Pairs of 1 and −1: sums stay where they are.
    // SAFETY: both are 512 bits without invalid patterns.
    let [a, b]: [__m512bh; 2] = unsafe {
        std::mem::transmute([
            _mm512_set1_epi32(std::hint::black_box(0x3f80_3f80)),
            _mm512_set1_epi32(std::hint::black_box(0x3f80_bf80u32 as i32)),
        ])
    };
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

#[cfg(target_arch = "x86_64")]
unsafe fn tiles(steps: usize) -> f32 {
    use super::tiles::Tiles;
    let mut sums = [0.0f32; 256];
    // SAFETY: the caller's; memory holds 16 rows of 64 bytes.
    unsafe {
        let mut tiles = super::amx::Amx::begin();
        for _ in 0..steps {
            tiles.multiply::<0, 4, 6>();
            tiles.multiply::<1, 4, 7>();
            tiles.multiply::<2, 5, 6>();
            tiles.multiply::<3, 5, 7>();
        }
        tiles.store::<3>(sums.as_mut_ptr().cast(), 64);
        tiles.end();
    }
    sums[0]
}
