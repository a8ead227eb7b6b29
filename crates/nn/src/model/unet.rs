//! The network that is trained and predicts.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use nnunet_plan::NetworkSpec;

use super::executor::Program;
use super::layers::{Source, spatial};
use super::network::Network;
use super::parameters::Parameters;
use super::tape::{Graph, forward_deep};
use crate::kernels::Products;
use crate::{ConvGeometry, NnError, Precision, conv};

/// `PlainConvUNet` or `ResidualEncoderUNet`, in 2-D or 3-D.
///
/// The network shares its weights with the [`Parameters`] it was made from: what training changes there is what it
/// computes with.
#[derive(Debug, Clone)]
pub struct UNet {
    plain: Network,
    /// The weights as autograd follows them, in order, and the layers over them.
    weights: Vec<Tensor>,
    /// Weight and bias of the head of the lowest resolution, if there are others; it stands apart, so that it gets no gradient
    /// where it has no part in the loss.
    lowest: Option<(Tensor, Tensor)>,
    graph: Arc<Graph>,
    precision: Precision,
    recompute: bool,
    spec: NetworkSpec,
    in_channels: usize,
    divisor: [usize; 3],
    dropout: bool,
}

/// The weights as autograd follows them, or detached from it.
struct View<'a> {
    parameters: &'a Parameters,
    tracked: bool,
}

impl Source for View<'_> {
    fn find(&self, name: &str) -> candle_core::Result<Tensor> {
        self.find_optional(name).ok_or_else(|| candle_core::Error::Msg(format!("no weight {name}")))
    }

    fn find_optional(&self, name: &str) -> Option<Tensor> {
        let var = self.parameters.get(name)?;
        Some(if self.tracked { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }
}

impl UNet {
    /// Builds the network over weights that were made for the same specification.
    ///
    /// # Errors
    /// The weights are those of another network.
    pub fn new(
        spec: &NetworkSpec,
        in_channels: usize,
        num_classes: usize,
        parameters: &Parameters,
    ) -> Result<Self, NnError> {
        for entry in super::build::entries(spec, in_channels, num_classes) {
            let found = parameters.get(&entry.name).map(|var| var.dims().to_vec());
            if found.as_deref() != Some(entry.shape.as_slice()) {
                let reason = format!("found shape {found:?}, the network needs {:?}", entry.shape);
                return Err(NnError::weight(&entry.name, reason));
            }
        }
        let mut divisor = [1; 3];
        for stride in &spec.strides {
            (0..3).for_each(|axis| divisor[axis] *= stride[axis]);
        }
        let tracked = Network::new(spec, in_channels, &View { parameters, tracked: true })?;
        let lowest = tracked.lowest_head().map(|(weight, bias)| (weight.clone(), bias.clone()));
        let apart = |var: &Var| lowest.as_ref().is_some_and(|(w, b)| [w.id(), b.id()].contains(&var.id()));
        let weights = parameters.vars().iter().filter(|var| !apart(var)).map(|var| var.as_tensor().clone());
        let weights: Vec<Tensor> = weights.collect();
        Ok(Self {
            plain: Network::new(spec, in_channels, &View { parameters, tracked: false })?,
            graph: Arc::new(Graph::new(&tracked, &weights)?),
            weights,
            lowest,
            precision: Precision::F32,
            recompute: false,
            spec: spec.clone(),
            in_channels,
            divisor,
            dropout: spec.dropout.is_some_and(|p| p > 0.0),
        })
    }

    /// The same network, trained with products of the given precision.
    ///
    /// In bf16, convolutions and the gradients of their inputs are products of rounded values, summed in f32; weights, their
    /// gradients, statistics and logits stay in f32.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same network, trained with less memory and more time if `recompute` is set: of the activations, only those at the
    /// ends of stages and residual blocks are kept between the passes, and the others are made again for the gradients, which
    /// are the same to the last bit.
    ///
    /// Of the default 3-D network this keeps a third; networks on devices keep everything in any case.
    pub fn with_recomputation(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// What the voxels of the input must be divisible by along z, y, x.
    pub fn divisor(&self) -> [usize; 3] {
        self.divisor
    }

    /// Logits `(batch, class, z, y, x)` for an input `(batch, channel, z, y, x)`, without gradients.
    ///
    /// # Errors
    /// Another number of channels, or a size that the strides do not divide.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, NnError> {
        Ok(self.forward_last(x)?.permute((0, 4, 1, 2, 3))?.contiguous()?)
    }

    /// Channels-last logits `(batch, z, y, x, class)` of the full-resolution head, without gradients.
    ///
    /// # Errors
    /// As [`UNet::forward`].
    pub fn forward_last(&self, x: &Tensor) -> Result<Tensor, NnError> {
        let x = self.channels_last(x)?.detach();
        let mut outputs = self.plain.forward(x, false)?;
        outputs.pop().ok_or_else(|| NnError::Unsupported("a network without decoder".to_owned()))
    }

    /// Channels-last logits of all heads, highest resolution first, followed by autograd.
    ///
    /// # Errors
    /// As [`UNet::forward`]; a network with dropout, which cannot be trained yet.
    pub fn forward_deep(&self, x: &Tensor) -> Result<Vec<Tensor>, NnError> {
        if self.dropout {
            return Err(NnError::Unsupported("dropout is not supported in training yet".to_owned()));
        }
        let x = self.channels_last(x)?;
        let products = Products::of(self.precision);
        let mut outputs = forward_deep(&self.graph, &x, &self.weights, products, self.recompute)?;
        if let (Some((weight, bias)), Some(lowest)) = (&self.lowest, outputs.first_mut()) {
            let geometry = ConvGeometry::same([1; 3], [1; 3]);
            *lowest = conv(lowest, &spatial(weight)?, Some(bias), &geometry)?;
        }
        outputs.reverse();
        Ok(outputs)
    }

    /// [`UNet::forward_deep`] layer by layer, for tests of the whole.
    #[doc(hidden)]
    pub fn forward_layers(&self, x: &Tensor, parameters: &Parameters) -> Result<Vec<Tensor>, NnError> {
        let network = Network::new(&self.spec, self.in_channels, &View { parameters, tracked: true })?;
        let mut outputs = network.forward(self.channels_last(x)?, true)?;
        outputs.reverse();
        Ok(outputs)
    }

    fn channels_last(&self, x: &Tensor) -> Result<Tensor, NnError> {
        let (_, channels, z, y, x_size) = x.dims5()?;
        if channels != self.in_channels {
            let text = format!("the input has {channels} channels, the network takes {}", self.in_channels);
            return Err(NnError::Unsupported(text));
        }
        self.check_size([z, y, x_size])?;
        Ok(x.permute((0, 2, 3, 4, 1))?.contiguous()?)
    }

    /// # Errors
    /// A size that the strides do not divide.
    pub(super) fn check_size(&self, size: [usize; 3]) -> Result<(), NnError> {
        if (0..3).any(|axis| size[axis] == 0 || !size[axis].is_multiple_of(self.divisor[axis])) {
            let text = format!(
                "the input has {size:?} voxels (z, y, x), the network needs multiples of {:?}",
                self.divisor
            );
            return Err(NnError::Unsupported(text));
        }
        Ok(())
    }

    /// The layers and the weights that they number; without the lowest of several heads.
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(super) fn graph(&self) -> (&Arc<Graph>, &[Tensor]) {
        (&self.graph, &self.weights)
    }

    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(super) fn in_channels(&self) -> usize {
        self.in_channels
    }

    pub(super) fn compile(&self, size: [usize; 3], products: Products) -> Result<Program, NnError> {
        Ok(self.plain.compile(self.in_channels, size, products)?)
    }
}
