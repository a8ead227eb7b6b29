//! The kernels as candle operations with gradients.
//!
//! Tensors are channels-last: `(batch, z, y, x, channel)`, f32. 2-D images have one plane along z and kernels `(1, k, k)`.
//! Weights keep PyTorch's layouts.

mod activation;
mod batch_norm;
mod conv;
mod dilated;
mod filter_response;
mod group_norm;
mod norm;
mod pool;
mod resize;
mod slice;
mod transpose;

pub use activation::{leaky_relu, prelu, sigmoid, tlu};
pub use batch_norm::{ChannelMoments, batch_norm, batch_norm_with, channel_moments};
pub use conv::{conv, conv_norm_act};
pub use dilated::dilated_conv;
pub use filter_response::filter_response_norm;
pub use group_norm::group_norm;
pub use norm::instance_norm_leaky_relu;
pub use pool::max_pool;
pub use resize::resize_linear;
pub(crate) use slice::{dims, shape, slice, tensor, with_values};
pub use transpose::{conv_transpose, up_concat};
