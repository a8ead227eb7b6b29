//! Drawn architectures.

use candle_core::{Device, Tensor};
use nnunet_nn::Parameters;
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};
use proptest::prelude::*;

use super::common::small;

/// A network and the size of its input.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub spec: NetworkSpec,
    pub channels: usize,
    pub classes: usize,
    pub size: [usize; 3],
}

/// Networks of all kinds and sizes that they take.
pub fn drawn() -> impl Strategy<Value = Drawn> {
    let stages = prop::collection::vec(
        (
            prop::sample::select(vec![3usize, 8, 16, 32, 48]),
            prop::array::uniform3(prop::sample::select(vec![1usize, 3])),
            prop::array::uniform3(1usize..3),
            1usize..3,
            1usize..3,
        ),
        2..4,
    );
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (stages, switches, 1usize..4, 2usize..5, prop::array::uniform3(1usize..6)).prop_map(
        |(stages, (residual, planar, bias, norm, affine), channels, classes, boxes)| {
            let flat = |v: [usize; 3]| if planar { [1, v[1], v[2]] } else { v };
            let mut strides: Vec<[usize; 3]> = stages.iter().map(|s| flat(s.2)).collect();
            strides[0] = [1; 3];
            let size = std::array::from_fn(|a| {
                let divisor: usize = strides.iter().map(|s| s[a]).product();
                divisor * if planar && a == 0 { 1 } else { boxes[a] + usize::from(boxes[a] * divisor < 3) }
            });
            let count = stages.len();
            let mut spec = small(
                if residual { NetworkKind::ResidualEncoderUNet } else { NetworkKind::PlainConvUNet },
                if planar { 2 } else { 3 },
            );
            spec.features = stages.iter().map(|s| s.0).collect();
            spec.kernel_sizes = stages.iter().map(|s| flat(s.1)).collect();
            spec.strides = strides;
            spec.encoder_convs = stages.iter().map(|s| s.3).collect();
            spec.decoder_convs = stages.iter().map(|s| s.4).take(count - 1).collect();
            spec.conv_bias = bias;
            spec.norm = norm.then_some(NormSpec { eps: 1e-5, affine });
            Drawn { spec, channels, classes, size }
        },
    )
}

/// Numbers that look random, of about unit variance for what they are summed over; scales around 1. None is exactly zero, so
/// that no activation lies on the kink of the leaky ReLU.
pub fn fill(parameters: &Parameters) {
    for (k, (name, var)) in parameters.names().iter().zip(parameters.vars()).enumerate() {
        let dims = var.dims();
        let fan_in = if dims.len() > 1 { dims[1..].iter().product::<usize>() } else { 12 };
        let width = (6.0 / fan_in as f64).sqrt();
        let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let number = |j: usize| {
            let mixed = (j * 7919 + k * 104_729 + 13) % 100_003;
            ((mixed * mixed + 3 * mixed) % 100_003) as f64 / 50_001.0 - 1.0
        };
        let values: Vec<f32> =
            (0..var.elem_count()).map(|j| (centre + width * (number(j) * 0.999 + 1e-4)) as f32).collect();
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
}
