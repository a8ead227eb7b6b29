//! CPU kernels over slices: shapes in, numbers out, no autograd.
//!
//! Every convolution (forward, backward-data, transposed) is one correlation: a grid of outputs, each the sum over a
//! box of input voxels times weights. Backward-weights is the transpose of the same plan. Activations are channels-last.

// WebAssembly infers alone: gradients have no caller there, and no kernels of its own.
#![cfg_attr(
    target_arch = "wasm32",
    allow(dead_code, unused_imports, unused_variables, unused_mut, unreachable_code)
)]

mod bf16;
mod boxes;
mod conv;
mod correlate;
#[cfg(target_arch = "x86_64")]
mod few;
#[cfg(not(target_arch = "x86_64"))]
#[path = "few/none.rs"]
mod few;
mod isa;
mod layer;
mod memory;
mod merge;
mod moments;
mod norm;
mod outer;
mod pack;
mod peak;
mod portable;
mod scratch;
mod separate;
mod shape;
mod simd;
mod source;
mod thin;
mod tile;
mod transpose;
mod turn;
mod winograd;

#[cfg(feature = "emulator")]
pub(crate) use bf16::round as round_bf16;
pub use bf16::{has_amx, multiply_adds_bf16};
pub use conv::{conv_backward_data, conv_backward_weights, conv_forward};
pub(crate) use conv::{forward_once, forward_plan, input_gradient, sum_channels, weight_gradient};
pub(crate) use correlate::{Prepared, Products};
pub use isa::{Isa, isa, set_isa};
pub use layer::{Convolution, TransposedConvolution};
pub use memory::RecyclingAllocator;
pub(crate) use merge::{average_pool, merge, split};
pub(crate) use moments::Moments;
pub(crate) use norm::backward_in_place;
pub use norm::{NormGradients, NormSaved, norm_act_backward, norm_act_forward, norm_act_in_place};
pub(crate) use pack::Strided;
pub use peak::multiply_adds;
pub use shape::{ConvGeometry, Dims};
pub(crate) use source::{ChannelMap, Source};
pub use transpose::{conv_transpose_backward_data, conv_transpose_backward_weights, conv_transpose_forward};
pub(crate) use transpose::{up_input_gradient, up_plans, up_weight_gradient};
