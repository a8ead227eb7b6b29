//! Convolution with products in bf16 and sums in f32.
//!
//! The input of a box is copied into a slab of bf16; taps along x and input channels of an output are one run there, so that
//! a matrix of voxels times that run lies in memory as it is: no matrix has to be built. Weights are packed in pairs along
//! the run, as the instructions take them.
// Other processors have none of the instructions, and only tests run the model of them.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports, unused_unsafe, unused_variables))]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot;
mod engine;
mod outer;
mod peak;
mod prepared;
mod tiles;

#[cfg(target_arch = "x86_64")]
pub(crate) use dot::{NONE, products as dot_products};
pub use engine::has_amx;
pub(crate) use engine::{Engine, engine};
pub(crate) use outer::outer;
pub use peak::multiply_adds_bf16;
pub(crate) use prepared::{BLOCK, Bf16Prepared, Block, round_all, round_pairs};

/// The nearest bf16, ties to even; what is not a number stays so.
pub(crate) fn round(v: f32) -> u16 {
    let bits = v.to_bits();
    if v.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The value of a bf16.
pub(crate) fn widen(v: u16) -> f32 {
    f32::from_bits(u32::from(v) << 16)
}

/// The value of the nearest bf16.
pub(crate) fn rounded(v: f32) -> f32 {
    widen(round(v))
}
