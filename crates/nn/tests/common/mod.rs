//! Small networks with set weights, and numbers.

// Each test uses a part of this.
#![allow(dead_code, unused_imports)]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use nnunet_nn::Parameters;
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};

mod values;

pub use values::values;

/// Three stages with 2, 4 and 6 features.
pub fn small(kind: NetworkKind, dims: usize) -> NetworkSpec {
    let (kernels, strides) = if dims == 2 {
        (vec![[1, 3, 3]; 3], vec![[1; 3], [1, 2, 2], [1, 2, 2]])
    } else {
        (vec![[1, 3, 3], [3; 3], [3; 3]], vec![[1; 3], [1, 2, 2], [2; 3]])
    };
    let residual = kind == NetworkKind::ResidualEncoderUNet;
    NetworkSpec {
        kind,
        dims,
        features: vec![2, 4, 6],
        kernel_sizes: kernels,
        strides,
        encoder_convs: if residual { vec![1, 2, 1] } else { vec![2; 3] },
        decoder_convs: if residual { vec![1; 2] } else { vec![2; 2] },
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    }
}

/// Parameter number k, value j: `0.5 sin(0.7 j + 0.3 k)`, plus 1 for the scales of norms.
pub fn fill(parameters: &Parameters) {
    for (k, (name, var)) in parameters.names().iter().zip(parameters.vars()).enumerate() {
        let scale = name.ends_with("norm.weight");
        let value =
            |j: usize| (0.5 * (0.7 * j as f64 + 0.3 * k as f64).sin() + if scale { 1.0 } else { 0.0 }) as f32;
        let values: Vec<f32> = (0..var.elem_count()).map(value).collect();
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
}

/// `cos(0.9 index)`.
pub fn wave(shape: (usize, usize, usize, usize, usize)) -> Tensor {
    let count = shape.0 * shape.1 * shape.2 * shape.3 * shape.4;
    let values: Vec<f32> = (0..count).map(|i| (0.9 * i as f64).cos() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Values in PyTorch's order, channels before space.
pub fn channels_first(t: &Tensor) -> Vec<f32> {
    t.permute((0, 4, 1, 2, 3)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Where the golden values lie.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks").join(name)
}

/// A golden JSON file.
pub fn golden_json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

/// The numbers of a JSON array.
pub fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}
