//! The kernels as candle operations with gradients.
//!
//! Tensors are channels-last: `(batch, z, y, x, channel)`, f32. 2-D images have one plane along z and kernels `(1, k, k)`.
//! Weights keep PyTorch's layouts.

mod conv;
mod norm;
mod slice;
mod transpose;

pub use conv::{conv, conv_norm_act};
pub use norm::instance_norm_leaky_relu;
pub(crate) use slice::{dims, shape, slice, tensor, with_values};
pub use transpose::{conv_transpose, up_concat};
