//! Which instructions the kernels use.

use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets with kernels of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// Safe Rust, any processor; the reference for the others.
    Portable = 1,
    /// AVX2 with FMA.
    Avx2 = 2,
    /// AVX-512F.
    Avx512 = 3,
    /// The 128 bits of WebAssembly, where they were compiled in.
    Simd128 = 4,
    /// The 128 bits of 64-bit Arm, which every such processor has.
    Neon = 5,
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable kernels",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Simd128 => "WebAssembly SIMD",
            Self::Neon => "NEON",
        })
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use: the best that the processor has, unless the environment variable `NNUNET_CPU`
/// (`portable`, `avx2`, `avx512`) or [`set_isa`] asks for a lesser one. On 64-bit Arm everything but `portable` means NEON.
pub fn isa() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        4 => Isa::Simd128,
        5 => Isa::Neon,
        _ => {
            let wanted = match std::env::var("NNUNET_CPU").as_deref() {
                Ok("portable") => Isa::Portable,
                Ok("avx2") => Isa::Avx2,
                _ => Isa::Avx512,
            };
            set_isa(wanted)
        }
    }
}

/// Uses `wanted`, or the best below it that the processor has; returns what is used from now on.
pub fn set_isa(wanted: Isa) -> Isa {
    let got = if wanted == Isa::Portable {
        Isa::Portable
    } else if has_simd128() {
        Isa::Simd128
    } else if cfg!(target_arch = "aarch64") {
        Isa::Neon
    } else if wanted == Isa::Avx512 && has_avx512() {
        Isa::Avx512
    } else if has_avx2() {
        Isa::Avx2
    } else {
        Isa::Portable
    };
    CHOSEN.store(got as u8, Ordering::Relaxed);
    got
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// WebAssembly is checked as a whole before any of it runs: what was compiled in is there.
fn has_simd128() -> bool {
    cfg!(all(target_arch = "wasm32", target_feature = "simd128"))
}
