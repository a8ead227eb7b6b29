//! 3-D convolution and the U-Nets of nnU-Net on candle, fast on the CPU.

pub mod kernels;
mod ops;

pub use kernels::{ConvGeometry, Isa, isa, set_isa};
pub use ops::{conv, conv_norm_act, conv_transpose, instance_norm_leaky_relu, up_concat};
