//! Networks on a CUDA device.
//!
//! - [`Engine`]: memory, kernels, matrix products and convolutions of a device. `CudaEngine` (feature `cuda`) is a graphics
//!   card; `Emulator` (feature `emulator`) runs the same kernels on the CPU, compiled for it, and is for tests.
//! - [`Array`]: numbers in the memory of an engine; [`Parcel`]: numbers on their way there.
//! - [`ops`]: the kernels as functions over arrays, with the shapes checked.
//! - [`DeviceNetwork`]: a U-Net whose weights, gradients and momenta lie on a device; [`DeviceWindow`]: sliding-window sums.
//! - [`Exchange`]: what adds up the gradients of several devices that share a batch; NCCL with the feature `nccl`.
//!
//! The kernels are CUDA C++ in `kernels/`; their PTX for compute capability 8.0 and above lies beside them, so that a build
//! needs no CUDA toolkit. The driver, cuBLAS and cuDNN are looked for when the program runs.

mod array;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod engine;
mod exchange;
pub mod ops;
mod window;

pub use crate::model::{DeviceNetwork, Output, StagedBatch, Step, StepReport};
pub use array::{Array, Parcel, View};
#[cfg(feature = "cuda")]
pub use driver::CudaEngine;
#[cfg(feature = "emulator")]
pub use emulator::Emulator;
pub use engine::{Argument, Convolution, Engine, Gemm, Kind, Operand, Pass};
pub use exchange::{Exchange, Share};
pub use window::DeviceWindow;
