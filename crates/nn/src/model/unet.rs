//! Encoder, decoder and heads.

use candle_core::{Result, Tensor};
use nnunet_plan::{NetworkKind, NetworkSpec};

use super::build::skip_path;
use super::layers::{Residual, Source, Unit, spatial};
use super::parameters::Parameters;
use crate::NnError;
use crate::kernels::ConvGeometry;
use crate::ops::{conv, up_concat};

/// `PlainConvUNet` or `ResidualEncoderUNet`, in 2-D or 3-D.
///
/// The network shares its weights with the [`Parameters`] it was made from: what training changes there is what it
/// computes with.
#[derive(Debug, Clone)]
pub struct UNet {
    tracked: Network,
    plain: Network,
    in_channels: usize,
    divisor: [usize; 3],
    dropout: bool,
}

/// The layers over one set of tensors.
#[derive(Debug, Clone)]
struct Network {
    stem: Option<Unit>,
    stages: Vec<Vec<Layer>>,
    decoder: Vec<DecoderStage>,
}

#[derive(Debug, Clone)]
enum Layer {
    Unit(Unit),
    Residual(Box<Residual>),
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unit(unit) => unit.forward(x),
            Self::Residual(block) => block.forward(x),
        }
    }
}

#[derive(Debug, Clone)]
struct DecoderStage {
    up_weight: Tensor,
    up_bias: Option<Tensor>,
    units: Vec<Unit>,
    head_weight: Tensor,
    head_bias: Tensor,
}

/// The weights as autograd follows them, or detached from it.
struct View<'a> {
    parameters: &'a Parameters,
    tracked: bool,
}

impl Source for View<'_> {
    fn find(&self, name: &str) -> Result<Tensor> {
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
    ) -> std::result::Result<Self, NnError> {
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
        Ok(Self {
            tracked: Network::new(spec, in_channels, &View { parameters, tracked: true })?,
            plain: Network::new(spec, in_channels, &View { parameters, tracked: false })?,
            in_channels,
            divisor,
            dropout: spec.dropout.is_some_and(|p| p > 0.0),
        })
    }

    /// What the voxels of the input must be divisible by along z, y, x.
    pub fn divisor(&self) -> [usize; 3] {
        self.divisor
    }

    /// Logits `(batch, class, z, y, x)` for an input `(batch, channel, z, y, x)`, without gradients.
    ///
    /// # Errors
    /// Another number of channels, or a size that the strides do not divide.
    pub fn forward(&self, x: &Tensor) -> std::result::Result<Tensor, NnError> {
        Ok(self.forward_last(x)?.permute((0, 4, 1, 2, 3))?.contiguous()?)
    }

    /// Channels-last logits `(batch, z, y, x, class)` of the full-resolution head, without gradients.
    ///
    /// # Errors
    /// As [`UNet::forward`].
    pub fn forward_last(&self, x: &Tensor) -> std::result::Result<Tensor, NnError> {
        let x = self.channels_last(x)?.detach();
        let mut outputs = self.plain.forward(x, false)?;
        outputs.pop().ok_or_else(|| NnError::Unsupported("a network without decoder".to_owned()))
    }

    /// Channels-last logits of all heads, highest resolution first, followed by autograd.
    ///
    /// # Errors
    /// As [`UNet::forward`]; a network with dropout, which cannot be trained yet.
    pub fn forward_deep(&self, x: &Tensor) -> std::result::Result<Vec<Tensor>, NnError> {
        if self.dropout {
            return Err(NnError::Unsupported("dropout is not supported in training yet".to_owned()));
        }
        let mut outputs = self.tracked.forward(self.channels_last(x)?, true)?;
        outputs.reverse();
        Ok(outputs)
    }

    fn channels_last(&self, x: &Tensor) -> std::result::Result<Tensor, NnError> {
        let (_, channels, z, y, x_size) = x.dims5()?;
        if channels != self.in_channels {
            let text = format!("the input has {channels} channels, the network takes {}", self.in_channels);
            return Err(NnError::Unsupported(text));
        }
        let size = [z, y, x_size];
        if (0..3).any(|axis| size[axis] == 0 || !size[axis].is_multiple_of(self.divisor[axis])) {
            let text = format!("the input has {size:?} voxels (z, y, x), the network needs multiples of {:?}", self.divisor);
            return Err(NnError::Unsupported(text));
        }
        Ok(x.permute((0, 2, 3, 4, 1))?.contiguous()?)
    }
}

impl Network {
    fn new(spec: &NetworkSpec, in_channels: usize, source: &dyn Source) -> Result<Self> {
        let unit = |name: &str, kernel: [usize; 3], stride: [usize; 3], slope: Option<f64>| {
            Unit::new(source, name, ConvGeometry::same(kernel, stride), spec.norm, slope)
        };
        let slope = spec.negative_slope;
        let residual = spec.kind == NetworkKind::ResidualEncoderUNet;
        let stem = residual
            .then(|| unit("encoder.stem.convs.0", spec.kernel_sizes[0], [1; 3], slope))
            .transpose()?;
        let mut channels = if residual { spec.features[0] } else { in_channels };
        let mut stages = Vec::new();
        for stage in 0..spec.num_stages() {
            let mut layers = Vec::new();
            for i in 0..spec.encoder_convs[stage] {
                let stride = if i == 0 { spec.strides[stage] } else { [1; 3] };
                let kernel = spec.kernel_sizes[stage];
                if residual {
                    let name = format!("encoder.stages.{stage}.blocks.{i}");
                    let (pools, projects) = skip_path(spec, stage, i, channels);
                    let skip = format!("{name}.skip.{}", usize::from(pools));
                    layers.push(Layer::Residual(Box::new(Residual {
                        first: unit(&format!("{name}.conv1"), kernel, stride, slope)?,
                        second: unit(&format!("{name}.conv2"), kernel, [1; 3], None)?,
                        pool: pools.then_some(stride),
                        projection: projects.then(|| unit(&skip, [1; 3], [1; 3], None)).transpose()?,
                        slope,
                    })));
                } else {
                    let name = format!("encoder.stages.{stage}.0.convs.{i}");
                    layers.push(Layer::Unit(unit(&name, kernel, stride, slope)?));
                }
                channels = spec.features[stage];
            }
            stages.push(layers);
        }
        let mut decoder = Vec::new();
        for d in 0..spec.num_stages() - 1 {
            let kernel = spec.kernel_sizes[spec.num_stages() - 2 - d];
            let units = (0..spec.decoder_convs[d])
                .map(|i| unit(&format!("decoder.stages.{d}.convs.{i}"), kernel, [1; 3], slope))
                .collect::<Result<_>>()?;
            decoder.push(DecoderStage {
                up_weight: source.find(&format!("decoder.transpconvs.{d}.weight"))?,
                up_bias: source.find_optional(&format!("decoder.transpconvs.{d}.bias")),
                units,
                head_weight: source.find(&format!("decoder.seg_layers.{d}.weight"))?,
                head_bias: source.find(&format!("decoder.seg_layers.{d}.bias"))?,
            });
        }
        Ok(Self { stem, stages, decoder })
    }

    /// Logits, lowest resolution first; only those of the full resolution unless `deep`.
    fn forward(&self, x: Tensor, deep: bool) -> Result<Vec<Tensor>> {
        let mut x = match &self.stem {
            Some(stem) => stem.forward(&x)?,
            None => x,
        };
        let mut skips = Vec::new();
        for stage in &self.stages {
            for layer in stage {
                x = layer.forward(&x)?;
            }
            skips.push(x.clone());
        }
        skips.pop();
        let mut outputs = Vec::new();
        for (d, stage) in self.decoder.iter().enumerate() {
            let Some(skip) = skips.pop() else { break };
            x = up_concat(&x, &skip, &spatial(&stage.up_weight)?, stage.up_bias.as_ref())?;
            drop(skip);
            for unit in &stage.units {
                x = unit.forward(&x)?;
            }
            if deep || d + 1 == self.decoder.len() {
                let head = spatial(&stage.head_weight)?;
                outputs.push(conv(&x, &head, Some(&stage.head_bias), &ConvGeometry::same([1; 3], [1; 3]))?);
            }
        }
        Ok(outputs)
    }
}
