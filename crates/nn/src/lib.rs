//! 3-D convolution and the U-Nets of nnU-Net on candle, fast on the CPU.
//!
//! - [`UNet`] and [`Parameters`]: `PlainConvUNet` and `ResidualEncoderUNet` from a [`nnunet_plan::NetworkSpec`], with deep
//!   supervision, under nnU-Net's weight names; [`read_checkpoint`] loads our checkpoints and nnU-Net's.
//! - [`conv`], [`conv_transpose`], [`instance_norm_leaky_relu`], [`conv_norm_act`], [`up_concat`]: operations with
//!   gradients for candle tensors. They fill a gap: candle has no 3-D convolution.
//! - [`blocks`]: what other networks are built of: norms, activations, residual, dense and attention blocks and more, each
//!   with its paper; a [`UNet`] of them follows from the plans.
//! - [`kernels`]: the same as functions over slices, without candle.
//!
//! Inside networks tensors are channels-last, `(batch, z, y, x, channel)`; 2-D images have one plane along z.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use nnunet_nn::{ConvGeometry, conv};
//!
//! # fn main() -> candle_core::Result<()> {
//! let image = Tensor::ones((1, 4, 4, 4, 1), candle_core::DType::F32, &Device::Cpu)?;
//! let kernel = Tensor::ones((2, 1, 3, 3, 3), candle_core::DType::F32, &Device::Cpu)?;
//! let y = conv(&image, &kernel, None, &ConvGeometry::same([3; 3], [2; 3]))?;
//! assert_eq!(y.dims(), [1, 2, 2, 2, 2]);
//! assert_eq!(y.flatten_all()?.to_vec1::<f32>()?[0], 8.0);
//! # Ok(())
//! # }
//! ```
//!
//! The instruction set is chosen at run time ([`isa`]); the environment variable `NNUNET_CPU` (`avx512`, `avx2`,
//! `portable`) overrides it.
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `cuda` | no | networks on CUDA devices ([`device`]); needs no CUDA toolkit to build |
//! | `cudnn` | no | `cuda`, with the convolutions of cuDNN 9 |
//! | `nccl` | no | `cuda`, and training on several devices with NCCL 2 |
//! | `emulator` | no | a stand-in for a CUDA device that runs its kernels on the CPU, for tests; needs a C++ compiler |

pub mod blocks;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub mod cuda;
mod device;
mod error;
pub mod kernels;
mod model;
mod ops;
mod precision;
pub mod weights;

pub use device::{Accelerator, Compute, DeviceSpec, device, device_for};
pub use error::NnError;
pub use kernels::{ConvGeometry, Isa, RecyclingAllocator, isa, set_isa};
pub use model::{Executor, Parameters, UNet};
pub use ops::{
    ChannelMoments, batch_norm, batch_norm_with, channel_moments, conv, conv_norm_act, conv_transpose,
    dilated_conv, filter_response_norm, group_norm, instance_norm_leaky_relu, leaky_relu, max_pool, prelu,
    resize_linear, sigmoid, tlu, up_concat,
};
pub use precision::Precision;
pub use weights::{ModelCheckpoint, checkpoint_from_bytes, read_checkpoint};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
