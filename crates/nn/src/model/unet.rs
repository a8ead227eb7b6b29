//! The network that is trained and predicts.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use nnunet_plan::NetworkSpec;

use super::composed::{Composed, Copies, Shared};
use super::executor::Program;
use super::layers::{Source, spatial};
use super::network::Network;
use super::parameters::Parameters;
use super::tape::{Graph, forward_deep};
use crate::blocks::{DrawKey, Pass};
use crate::kernels::Products;
use crate::{ConvGeometry, NnError, Precision, conv};

/// A U-Net, in 2-D or 3-D: `PlainConvUNet`, `ResidualEncoderUNet`, or one of other [blocks](crate::blocks).
///
/// The network shares its weights with the [`Parameters`] it was made from: what training changes there is what it
/// computes with.
#[derive(Debug, Clone)]
pub struct UNet {
    layers: Layers,
    parameters: Parameters,
    precision: Precision,
    recompute: bool,
    spec: NetworkSpec,
    in_channels: usize,
    divisor: [usize; 3],
}

#[derive(Debug, Clone)]
enum Layers {
    /// One of nnU-Net's own networks, for which there are operations of the whole.
    Standard(Box<Standard>),
    /// A network of other parts, layer by layer: as autograd follows it, and detached from it.
    Composed(Box<[Composed; 2]>),
}

#[derive(Debug, Clone)]
struct Standard {
    plain: Network,
    /// The weights as autograd follows them, in order, and the layers over them.
    weights: Vec<Tensor>,
    /// Weight and bias of the head of the lowest resolution, if there are others; it stands apart, so that it gets no gradient
    /// where it has no part in the loss.
    lowest: Option<(Tensor, Tensor)>,
    graph: Arc<Graph>,
    /// The layers one by one, where training drops some of their outputs.
    dropping: Option<Composed>,
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

impl Standard {
    fn new(
        spec: &NetworkSpec,
        in_channels: usize,
        num_classes: usize,
        parameters: &Parameters,
    ) -> Result<Self, NnError> {
        let tracked = Network::new(spec, in_channels, &View { parameters, tracked: true })?;
        let lowest = tracked.lowest_head().map(|(weight, bias)| (weight.clone(), bias.clone()));
        let apart = |var: &Var| lowest.as_ref().is_some_and(|(w, b)| [w.id(), b.id()].contains(&var.id()));
        let weights = parameters.vars().iter().filter(|var| !apart(var)).map(|var| var.as_tensor().clone());
        let weights: Vec<Tensor> = weights.collect();
        let drops = spec.dropout.is_some_and(|p| p > 0.0);
        let layers =
            || Composed::new(spec, in_channels, num_classes, &mut Shared { parameters, tracked: true });
        Ok(Self {
            plain: Network::new(spec, in_channels, &View { parameters, tracked: false })?,
            graph: Arc::new(Graph::new(&tracked, &weights)?),
            weights,
            lowest,
            dropping: drops.then(layers).transpose()?,
        })
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
        for entry in super::build::entries(spec, in_channels, num_classes)? {
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
        let layers = if spec.is_standard() {
            Layers::Standard(Box::new(Standard::new(spec, in_channels, num_classes, parameters)?))
        } else {
            let shared =
                |tracked| Composed::new(spec, in_channels, num_classes, &mut Shared { parameters, tracked });
            Layers::Composed(Box::new([shared(true)?, shared(false)?]))
        };
        Ok(Self {
            layers,
            parameters: parameters.clone(),
            precision: Precision::F32,
            recompute: false,
            spec: spec.clone(),
            in_channels,
            divisor,
        })
    }

    /// The same network, trained with products of the given precision.
    ///
    /// In bf16, convolutions and their gradients are products of rounded values, summed in f32, but for gradients of weights
    /// that Winograd's filtering in f32 is faster for; weights, statistics and logits stay in f32.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same network, trained with less memory and more time if `recompute` is set: of the activations, only those at the
    /// ends of stages and residual blocks are kept between the passes, and the others are made again for the gradients, which
    /// are the same to the last bit.
    ///
    /// Of the default 3-D network this keeps a third; networks on devices and those of other parts than nnU-Net's own keep
    /// everything in any case.
    pub fn with_recomputation(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Whether it is made of nnU-Net's own parts alone.
    pub fn is_standard(&self) -> bool {
        self.spec.is_standard()
    }

    /// Whether training drops some of the outputs of its layers.
    pub fn drops(&self) -> bool {
        self.spec.dropout.is_some_and(|p| p > 0.0)
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
        let mut outputs = match &self.layers {
            Layers::Standard(standard) => standard.plain.forward(x, false)?,
            Layers::Composed(both) => both[1].forward(&x, false, &mut Pass::evaluation())?,
        };
        outputs.pop().ok_or_else(|| NnError::Unsupported("a network without decoder".to_owned()))
    }

    /// Channels-last logits of all heads, highest resolution first, followed by autograd. Nothing is dropped, and batch norms
    /// use what they have seen in training.
    ///
    /// # Errors
    /// As [`UNet::forward`]; a precision that the network cannot be trained in.
    pub fn forward_deep(&self, x: &Tensor) -> Result<Vec<Tensor>, NnError> {
        let x = self.channels_last(x)?;
        let mut outputs = match &self.layers {
            Layers::Standard(standard) => {
                let products = Products::of(self.precision);
                let mut outputs =
                    forward_deep(&standard.graph, &x, &standard.weights, products, self.recompute)?;
                if let (Some((weight, bias)), Some(lowest)) = (&standard.lowest, outputs.first_mut()) {
                    let geometry = ConvGeometry::same([1; 3], [1; 3]);
                    *lowest = conv(lowest, &spatial(weight)?, Some(bias), &geometry)?;
                }
                outputs
            }
            Layers::Composed(both) => {
                self.check_precision(self.precision)?;
                both[0].forward(&x, true, &mut Pass::evaluation())?
            }
        };
        outputs.reverse();
        Ok(outputs)
    }

    /// [`UNet::forward_deep`] for a batch that is trained on: with dropout and stochastic depth, whose numbers `key` decides, and
    /// batch norms that use and follow the batch's statistics.
    ///
    /// # Errors
    /// As [`UNet::forward_deep`].
    pub fn forward_training(&self, x: &Tensor, key: DrawKey) -> Result<Vec<Tensor>, NnError> {
        let composed = match &self.layers {
            Layers::Composed(both) => &both[0],
            Layers::Standard(standard) => match &standard.dropping {
                Some(layers) => layers,
                None => return self.forward_deep(x),
            },
        };
        self.check_precision(self.precision)?;
        let x = self.channels_last(x)?;
        let mut outputs = composed.forward(&x, true, &mut Pass::training(key))?;
        outputs.reverse();
        Ok(outputs)
    }

    /// Layer by layer, products are in f32.
    pub(super) fn check_precision(&self, precision: Precision) -> Result<(), NnError> {
        if precision == Precision::Bf16 {
            let network = self.spec.describe();
            return Err(NnError::Unsupported(format!("{network} has no bf16; use --precision f32 or auto")));
        }
        Ok(())
    }

    /// [`UNet::forward_deep`] layer by layer, for tests of the whole.
    #[doc(hidden)]
    pub fn forward_layers(&self, x: &Tensor, parameters: &Parameters) -> Result<Vec<Tensor>, NnError> {
        if !self.spec.is_standard() {
            return self.forward_deep(x);
        }
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
    ///
    /// # Errors
    /// A network of other parts than nnU-Net's own.
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(super) fn graph(&self) -> Result<(&Arc<Graph>, &[Tensor]), NnError> {
        match &self.layers {
            Layers::Standard(standard) => Ok((&standard.graph, &standard.weights)),
            Layers::Composed(_) => Err(NnError::HostOnly(self.spec.describe())),
        }
    }

    pub(super) fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// What predicts tiles of `size` voxels, over copies of the weights.
    pub(super) fn compile(&self, size: [usize; 3], products: Products) -> Result<Compiled, NnError> {
        match &self.layers {
            Layers::Standard(standard) => {
                Ok(Compiled::Steps(standard.plain.compile(self.in_channels, size, products)?))
            }
            Layers::Composed(_) => {
                let outputs = self.spec_outputs()?;
                let copies = &mut Copies(&self.parameters);
                Ok(Compiled::Layers(Composed::new(&self.spec, self.in_channels, outputs, copies)?))
            }
        }
    }

    /// Channels of the logits.
    fn spec_outputs(&self) -> Result<usize, NnError> {
        let name = "decoder.seg_layers.0.bias";
        let bias = self.parameters.get(name).ok_or_else(|| NnError::weight(name, "missing"))?;
        Ok(bias.elem_count())
    }
}

/// A network made ready to predict.
pub(super) enum Compiled {
    /// Steps over buffers.
    Steps(Program),
    /// Layer by layer.
    Layers(Composed),
}
