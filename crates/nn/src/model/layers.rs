//! Units and blocks over channels-last tensors.

use candle_core::{D, Result, Tensor};
use nnunet_plan::NormSpec;

use crate::kernels::ConvGeometry;
use crate::ops::{conv, conv_norm_act};

/// Weights by name, tracked by autograd or not.
pub(crate) trait Source {
    fn find(&self, name: &str) -> Result<Tensor>;
    fn find_optional(&self, name: &str) -> Option<Tensor>;
}

/// Convolution, norm, leaky ReLU.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) gamma: Option<Tensor>,
    pub(crate) beta: Option<Tensor>,
    pub(crate) geometry: ConvGeometry,
    pub(crate) norm: Option<NormSpec>,
    pub(crate) slope: Option<f64>,
}

impl Unit {
    pub(crate) fn new(
        source: &dyn Source,
        name: &str,
        geometry: ConvGeometry,
        norm: Option<NormSpec>,
        slope: Option<f64>,
    ) -> Result<Self> {
        Ok(Self {
            weight: source.find(&format!("{name}.conv.weight"))?,
            bias: source.find_optional(&format!("{name}.conv.bias")),
            gamma: source.find_optional(&format!("{name}.norm.weight")),
            beta: source.find_optional(&format!("{name}.norm.bias")),
            geometry,
            norm,
            slope,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = spatial(&self.weight)?;
        let Some(norm) = self.norm else {
            return leaky_relu(&conv(x, &weight, self.bias.as_ref(), &self.geometry)?, self.slope);
        };
        conv_norm_act(
            x,
            &weight,
            self.bias.as_ref(),
            self.gamma.as_ref(),
            self.beta.as_ref(),
            &self.geometry,
            norm.eps,
            self.slope,
        )
    }
}

/// A kernel with three spatial axes; those of 2-D networks get one along z.
pub(crate) fn spatial(weight: &Tensor) -> Result<Tensor> {
    match *weight.dims() {
        [a, b, y, x] => weight.reshape((a, b, 1, y, x)),
        _ => Ok(weight.clone()),
    }
}

pub(crate) fn leaky_relu(x: &Tensor, slope: Option<f64>) -> Result<Tensor> {
    match slope {
        Some(slope) => x.maximum(&(x * slope)?),
        None => Ok(x.clone()),
    }
}

/// Two units with a shortcut around them (He et al. 2016, in nnU-Net's arrangement).
#[derive(Debug, Clone)]
pub(crate) struct Residual {
    pub(crate) first: Unit,
    pub(crate) second: Unit,
    pub(crate) pool: Option<[usize; 3]>,
    pub(crate) projection: Option<Unit>,
    pub(crate) slope: Option<f64>,
}

impl Residual {
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let main = self.second.forward(&self.first.forward(x)?)?;
        let mut skip = match self.pool {
            Some(stride) => average_pool(x, stride)?,
            None => x.clone(),
        };
        if let Some(projection) = &self.projection {
            skip = projection.forward(&skip)?;
        }
        leaky_relu(&(main + skip)?, self.slope)
    }
}

/// Mean over boxes; voxels beyond the last whole box are left out.
pub(crate) fn average_pool(x: &Tensor, stride: [usize; 3]) -> Result<Tensor> {
    let (batch, z, y, x_size, channels) = x.dims5()?;
    let [nz, ny, nx] = [z / stride[0], y / stride[1], x_size / stride[2]];
    let cut = x.narrow(1, 0, nz * stride[0])?.narrow(2, 0, ny * stride[1])?.narrow(3, 0, nx * stride[2])?;
    let boxes =
        cut.contiguous()?.reshape(vec![batch, nz, stride[0], ny, stride[1], nx, stride[2], channels])?;
    // The innermost axis first, so that the numbers of the outer ones stay.
    boxes.mean(D::Minus2)?.mean(4)?.mean(2)
}
