//! The building blocks of the networks that nnU-Net is measured against.
//!
//! Each is a struct with the weights of a layer or block and a `forward` over channels-last tensors; a [`Builder`] makes it,
//! asking [`Weights`] for each tensor by name and shape. A [`Pass`] says whether a batch is trained on, which is what batch
//! norm, dropout and stochastic depth need to know. Whole networks of them are [`UNet`](crate::UNet)s.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use nnunet_nn::blocks::{Builder, FreshWeights, Pass, SqueezeExcitation, Style};
//!
//! # fn main() -> Result<(), nnunet_nn::NnError> {
//! let mut weights = FreshWeights::new(7);
//! let mut builder = Builder::new(Style::default(), &mut weights);
//! let block = SqueezeExcitation::new(&mut builder, "se", 8, 4)?;
//! let x = Tensor::ones((1, 4, 4, 4, 8), DType::F32, &Device::Cpu)?;
//! assert_eq!(block.forward(&x)?.dims(), x.dims());
//! # Ok(())
//! # }
//! ```

mod activation;
mod aspp;
mod bottleneck;
mod builder;
mod dense;
mod drop;
mod excitation;
mod gate;
mod norm;
mod pass;
mod preactivation;
mod residual;
mod shortcut;
mod stage;
mod unit;
mod up;
mod vnet;
mod weights;

pub use activation::ActivationLayer;
pub use aspp::Aspp;
pub use bottleneck::BottleneckBlock;
pub use builder::{Builder, Style};
pub use dense::DenseBlock;
pub use drop::{dropout, stochastic_depth};
pub use excitation::SqueezeExcitation;
pub use gate::AttentionGate;
pub use norm::NormLayer;
pub use pass::{DrawKey, Pass};
pub use preactivation::PreactivationBlock;
pub use residual::ResidualBlock;
pub use shortcut::Shortcut;
pub use stage::{BlockShape, Stage, StageShape};
pub use unit::ConvUnit;
pub use up::Up;
pub use vnet::VnetBlock;
pub use weights::{FreshWeights, Role, Weights};
