//! CPU kernels over slices: shapes in, numbers out, no autograd.
//!
//! Every convolution (forward, backward-data, transposed) is one correlation: a grid of outputs, each the sum over a
//! box of input voxels times weights. Backward-weights is the transpose of the same plan. Activations are channels-last.

mod conv;
mod correlate;
mod isa;
mod memory;
mod norm;
mod outer;
mod pack;
mod peak;
mod portable;
mod shape;
mod simd;
mod transpose;
mod winograd;

pub use conv::{conv_backward_data, conv_backward_weights, conv_forward};
pub use isa::{Isa, isa, set_isa};
pub use memory::RecyclingAllocator;
pub use norm::{NormGradients, NormSaved, norm_act_backward, norm_act_forward, norm_act_in_place};
pub use peak::multiply_adds;
pub use shape::{ConvGeometry, Dims};
pub use transpose::{conv_transpose_backward_data, conv_transpose_backward_weights, conv_transpose_forward};
