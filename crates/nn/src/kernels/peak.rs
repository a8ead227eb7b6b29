//! What the processor could do: multiply-adds out of registers.
#![allow(unsafe_code)]

use super::isa::{Isa, isa};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::simd::Simd;

/// Chains of multiply-adds that do not wait for each other: as many as hide their latency and fit into registers.
const CHAINS: usize = if cfg!(target_arch = "aarch64") { 16 } else { 12 };

/// Runs `steps` rounds of independent multiply-adds in registers on this thread and returns their number of floating-point
/// operations: divided by the time that it takes, the peak that the convolutions are compared with.
///
/// The second value depends on all of them, so that none can be left out.
pub fn multiply_adds(steps: usize) -> (u64, f32) {
    let (lanes, value) = match isa() {
        // SAFETY: `isa()` gives an instruction set only where the processor has it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (16, unsafe { avx512(steps) }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (8, unsafe { avx2(steps) }),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => (4, unsafe { neon(steps) }),
        _ => (1, portable(steps)),
    };
    ((2 * lanes * CHAINS * steps) as u64, value)
}

fn portable(steps: usize) -> f32 {
    let mut sums = [1.0f32; CHAINS];
    for _ in 0..steps {
        sums.iter_mut().for_each(|sum| *sum = *sum * 0.999 + 0.001);
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(steps: usize) -> f32 {
    // SAFETY: the caller's processor has the instructions.
    unsafe { chains::<super::simd::x86::Avx512>(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(steps: usize) -> f32 {
    // SAFETY: the caller's processor has the instructions.
    unsafe { chains::<super::simd::x86::Avx2>(steps) }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(steps: usize) -> f32 {
    // SAFETY: the caller's processor has the instructions.
    unsafe { chains::<super::simd::arm::Neon>(steps) }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn chains<S: Simd>(steps: usize) -> f32 {
    let mut out = [0.0f32; 16];
    // SAFETY: arithmetic on registers; `out` holds the lanes of the widest register.
    unsafe {
        let (factor, term) = (S::set(std::hint::black_box(0.999)), S::set(std::hint::black_box(0.001)));
        let mut sums = [S::set(1.0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = S::fma(*sum, factor, term);
            }
        }
        let total = sums.into_iter().fold(S::zero(), |a, b| S::add(a, b));
        S::store(out.as_mut_ptr(), total);
    }
    out.iter().sum()
}
