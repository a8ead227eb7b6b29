//! Which instructions multiply bf16.
#![allow(unsafe_code)]

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::tiles::{Emulated, ROWS, Tiles};

/// Instructions for products in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Tiles of AMX.
    Amx,
    /// Dot products of AVX512-BF16.
    Dot,
    /// The model of tiles, for tests.
    #[cfg(test)]
    Emulated,
}

/// The best that the processor has, found out once; `NNUNET_CPU` set to a lesser instruction set than `avx512` means none,
/// set to `avx512` that tiles are not used.
pub(crate) fn engine() -> Option<Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    *ENGINE.get_or_init(detect)
}

/// Whether the processor has AMX with bf16, the system allows it, and a small product came out right.
pub fn has_amx() -> bool {
    engine() == Some(Engine::Amx)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Option<Engine> {
    let wanted = std::env::var("NNUNET_CPU").unwrap_or_default();
    if matches!(wanted.as_str(), "portable" | "avx2") {
        return None;
    }
    let wide =
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw");
    // SAFETY: tiles are permitted where they are tried.
    let tiles =
        wanted != "avx512" && wide && super::amx::permitted() && unsafe { agrees::<super::amx::Amx>() };
    if tiles {
        Some(Engine::Amx)
    } else if wide && std::arch::is_x86_feature_detected!("avx512bf16") {
        Some(Engine::Dot)
    } else {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Option<Engine> {
    None
}

/// Whether tiles give the product of their model for small integers, which is exact.
///
/// # Safety
/// The processor and the system allow the instructions of `T`.
#[cfg(target_arch = "x86_64")]
unsafe fn agrees<T: Tiles>() -> bool {
    let half = |i: usize, m: usize| super::round((i * 7 % m) as f32 - 2.0);
    let a: Vec<u16> = (0..2 * ROWS * ROWS).map(|i| half(i, 9)).collect();
    let b: Vec<u16> = (0..2 * ROWS * ROWS).map(|i| half(i, 5)).collect();
    // SAFETY: the caller's; the matrices have 16 rows of 64 bytes.
    unsafe { product::<T>(&a, &b) == product::<Emulated>(&a, &b) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn product<T: Tiles>(a: &[u16], b: &[u16]) -> Vec<f32> {
    let mut c = vec![3.0f32; ROWS * ROWS];
    // SAFETY: the caller's.
    unsafe {
        let mut tiles = T::begin();
        tiles.load::<0>(c.as_ptr().cast(), 64);
        tiles.load::<4>(a.as_ptr().cast(), 64);
        tiles.load::<6>(b.as_ptr().cast(), 64);
        tiles.multiply::<0, 4, 6>();
        tiles.zero::<1>();
        tiles.multiply::<1, 4, 6>();
        tiles.store::<0>(c.as_mut_ptr().cast(), 64);
        let mut twice = c.clone();
        tiles.store::<1>(twice.as_mut_ptr().cast(), 64);
        tiles.end();
        c.extend(twice);
    }
    c
}
