//! Building blocks against values of PyTorch (`golden/blocks/make.py`, f64): outputs, gradients of inputs and weights, and the
//! running statistics that a batch leaves.
//!
//! Tolerance: 2e-4 of the largest number of a tensor's digest or of 1, for sums of products in f32 against f64.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var};
use nnunet_nn::blocks::{
    ActivationLayer, Aspp, AttentionGate, BlockShape, BottleneckBlock, Builder, DenseBlock, DrawKey, Pass,
    PreactivationBlock, ResidualBlock, Role, SqueezeExcitation, Style, Up, VnetBlock, Weights, dropout,
    stochastic_depth,
};
use nnunet_nn::{NnError, dilated_conv, max_pool, resize_linear};
use nnunet_plan::{Activation, DropoutKind, NormKind, NormSpec, UpKind};
use serde_json::Value;

/// Weights whose values follow from their names.
#[derive(Default)]
struct Named(HashMap<String, Var>);

impl Weights for Named {
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> std::result::Result<Tensor, NnError> {
        Ok(self.buffer(name, shape, role)?.as_tensor().clone())
    }

    fn buffer(&mut self, name: &str, shape: &[usize], _: Role) -> std::result::Result<Var, NnError> {
        let var = Var::from_tensor(&named(name, shape))?;
        self.0.insert(name.to_owned(), var.clone());
        Ok(var)
    }
}

fn named(name: &str, shape: &[usize]) -> Tensor {
    let k = name.bytes().map(u64::from).sum::<u64>() % 101;
    let ones = ["norm.weight", "norm1.weight", "norm2.weight", "running_var"];
    let one = if ones.iter().any(|end| name.ends_with(end)) { 1.0 } else { 0.0 };
    let value = |j: usize| (0.5 * (0.7 * j as f64 + 0.3 * k as f64).sin() + one) as f32;
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Input number `k` in PyTorch's order of axes.
fn wave(shape: &[usize], k: usize) -> Var {
    let values = (0..shape.iter().product()).map(|j| (0.9 * j as f64 + k as f64).cos() as f32);
    Var::from_tensor(&Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()).unwrap()
}

/// PyTorch's order of axes to channels-last with a z axis.
fn last(x: &Tensor) -> Tensor {
    let x = if x.dims().len() == 4 { x.unsqueeze(2).unwrap() } else { x.clone() };
    x.permute((0, 2, 3, 4, 1)).unwrap().contiguous().unwrap()
}

fn first(x: &Tensor) -> Tensor {
    x.permute((0, 4, 1, 2, 3)).unwrap().flatten_all().unwrap()
}

/// The six numbers that are kept of a tensor.
fn digest(t: &Tensor) -> [f64; 6] {
    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
    let sum = |f: &dyn Fn(f64) -> f64| {
        values.iter().enumerate().map(|(j, v)| f64::from(*v) * f(j as f64)).sum::<f64>()
    };
    let at = |j: usize| f64::from(values[j]);
    [
        sum(&|_| 1.0),
        sum(&|j| (0.5 * j).cos()),
        sum(&|j| (0.13 * j).sin()),
        at(0),
        at(values.len() / 2),
        at(values.len() - 1),
    ]
}

fn check(what: &str, found: [f64; 6], expected: &Value) {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let scale = expected.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 2e-4 * scale, "{what}: {found:?} instead of {expected:?}");
    }
}

fn style(dims: usize, norm: Option<NormKind>, activation: Activation, se: Option<usize>) -> Style {
    let eps = if norm == Some(NormKind::FilterResponse) { 1e-6 } else { 1e-5 };
    Style {
        dims,
        norm: norm.map(|kind| (kind, NormSpec { eps, affine: true })),
        activation: Some(activation),
        squeeze_excitation: se,
        ..Style::default()
    }
}

const BATCH: NormKind = NormKind::Batch { momentum: 0.1 };
const GROUP: NormKind = NormKind::Group { groups: 2 };
const LEAKY: Activation = Activation::LeakyRelu(0.01);
const RELU: Activation = Activation::LeakyRelu(0.0);

/// What a case computes from its inputs.
type Forward<'a> = &'a dyn Fn(&mut Builder<'_>, &[Tensor], &mut Pass) -> Result<Tensor>;

fn golden() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blocks/blocks.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares a case, trained or not, with its golden values.
fn compare(name: &str, style: Style, training: bool, forward: Forward<'_>) {
    let all = golden();
    let golden = &all[name];
    let shapes = golden["shapes"].as_array().unwrap_or_else(|| panic!("no golden values of {name}"));
    let shape =
        |v: &Value| v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect::<Vec<_>>();
    let inputs: Vec<Var> = shapes.iter().enumerate().map(|(k, v)| wave(&shape(v), k)).collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|var| last(var)).collect();
    let mut weights = Named::default();
    let mut builder = Builder::new(style, &mut weights);
    let key = DrawKey::default();
    let mut pass = if training { Pass::training(key) } else { Pass::evaluation() };
    let output = first(&forward(&mut builder, &tensors, &mut pass).unwrap());
    check(&format!("{name}, output"), digest(&output), &golden["output"]);
    let slopes: Vec<f32> = (0..output.elem_count()).map(|j| (0.37 * j as f64).sin() as f32).collect();
    let slopes = Tensor::from_vec(slopes, output.dims(), &Device::Cpu).unwrap();
    let gradients = (output * slopes).unwrap().sum_all().unwrap().backward().unwrap();
    for (k, (input, expected)) in inputs.iter().zip(golden["inputs"].as_array().unwrap()).enumerate() {
        check(&format!("{name}, gradient of input {k}"), digest(gradients.get(input).unwrap()), expected);
    }
    let (trained, kept) = (golden["weights"].as_object().unwrap(), golden["buffers"].as_object().unwrap());
    assert_eq!(trained.len() + kept.len(), weights.0.len(), "{name}: {:?}", weights.0.keys());
    for (weight, expected) in trained {
        let gradient =
            gradients.get(&weights.0[weight]).unwrap_or_else(|| panic!("{name}: no gradient of {weight}"));
        check(&format!("{name}, gradient of {weight}"), digest(gradient), expected);
    }
    for (buffer, expected) in kept {
        check(&format!("{name}, {buffer}"), digest(&weights.0[buffer]), expected);
    }
}

fn of(error: NnError) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

#[test]
fn norms() {
    let kinds = [
        ("instance", NormKind::Instance),
        ("batch", BATCH),
        ("group", GROUP),
        ("filter_response", NormKind::FilterResponse),
    ];
    let norm: Forward<'_> = &|builder, x, pass| {
        let norm = builder.norm("a.norm", 4, false).map_err(of)?.unwrap();
        norm.forward(&x[0], None, pass)
    };
    for (name, kind) in kinds {
        compare(&format!("norm_{name}"), style(2, Some(kind), LEAKY, None), true, norm);
        compare(&format!("norm_{name}_3d"), style(3, Some(kind), LEAKY, None), true, norm);
    }
    compare("norm_batch_evaluation", style(2, Some(BATCH), LEAKY, None), false, norm);
}

#[test]
fn activations() {
    let kinds = [
        ("leaky", LEAKY),
        ("relu", RELU),
        ("gelu", Activation::Gelu),
        ("silu", Activation::Silu),
        ("prelu", Activation::Prelu),
        ("tlu", Activation::Tlu),
    ];
    for (name, kind) in kinds {
        compare(&format!("activation_{name}"), style(2, None, kind, None), true, &|builder, x, _| {
            let layer: ActivationLayer = builder.activation("a.nonlin", 4).map_err(of)?.unwrap();
            layer.forward(&x[0])
        });
    }
}

/// A block of `inputs` to `outputs` channels that halves the size if `strided`.
fn block(dims: usize, inputs: usize, outputs: usize, strided: bool) -> BlockShape {
    let all = |n: usize| if dims == 2 { [1, n, n] } else { [n; 3] };
    BlockShape { stride: all(if strided { 2 } else { 1 }), ..BlockShape::new(inputs, outputs, all(3)) }
}

#[test]
fn residual_blocks() {
    let forward: Forward<'_> = &|builder, x, pass| {
        let shape = block(builder.style.dims, 4, 8, true);
        ResidualBlock::new(builder, "a", shape).map_err(of)?.forward(&x[0], pass)
    };
    compare("residual_strided", style(2, Some(GROUP), Activation::Silu, Some(2)), true, forward);
    compare("residual_3d", Style::default(), true, forward);
    compare("residual", style(2, Some(BATCH), RELU, None), true, &|builder, x, pass| {
        ResidualBlock::new(builder, "a", block(2, 4, 4, false)).map_err(of)?.forward(&x[0], pass)
    });
    compare("residual_dilated", style(2, Some(BATCH), LEAKY, None), true, &|builder, x, pass| {
        let shape = BlockShape { dilation: 2, ..block(2, 4, 4, false) };
        ResidualBlock::new(builder, "a", shape).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn bottleneck_blocks() {
    let forward: Forward<'_> = &|builder, x, pass| {
        let shape = block(builder.style.dims, 4, 8, true);
        BottleneckBlock::new(builder, "a", shape).map_err(of)?.forward(&x[0], pass)
    };
    compare("bottleneck_strided", style(2, Some(GROUP), Activation::Silu, Some(2)), true, forward);
    compare("bottleneck_3d", Style::default(), true, forward);
    compare("bottleneck", style(2, Some(BATCH), RELU, None), true, &|builder, x, pass| {
        BottleneckBlock::new(builder, "a", block(2, 4, 4, false)).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn preactivation_blocks() {
    let forward: Forward<'_> = &|builder, x, pass| {
        let shape = block(builder.style.dims, 4, 8, true);
        PreactivationBlock::new(builder, "a", shape, false).map_err(of)?.forward(&x[0], pass)
    };
    compare("preactivation_strided", style(2, Some(GROUP), Activation::Silu, Some(2)), true, forward);
    compare("preactivation_3d", Style::default(), true, forward);
    compare("preactivation", style(2, Some(BATCH), RELU, None), true, &|builder, x, pass| {
        PreactivationBlock::new(builder, "a", block(2, 4, 4, false), false).map_err(of)?.forward(&x[0], pass)
    });
    let plain = style(2, Some(NormKind::Instance), LEAKY, None);
    compare("preactivation_first", plain, true, &|builder, x, pass| {
        PreactivationBlock::new(builder, "a", block(2, 4, 8, false), true).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn dense_blocks() {
    compare("dense", style(2, Some(BATCH), RELU, None), true, &|builder, x, pass| {
        DenseBlock::new(builder, "a", block(2, 4, 6, false), 3, 2).map_err(of)?.forward(&x[0], pass)
    });
    let gelu = style(3, Some(NormKind::Instance), Activation::Gelu, Some(2));
    compare("dense_3d", gelu, true, &|builder, x, pass| {
        DenseBlock::new(builder, "a", block(3, 4, 6, false), 2, 3).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn vnet_blocks() {
    compare("vnet", style(3, None, Activation::Prelu, None), true, &|builder, x, pass| {
        let shape = BlockShape::new(4, 6, [5; 3]);
        VnetBlock::new(builder, "a", shape, 2).map_err(of)?.forward(&x[0], pass)
    });
    let tlu = style(2, Some(NormKind::FilterResponse), Activation::Tlu, None);
    compare("vnet_same", tlu, true, &|builder, x, pass| {
        VnetBlock::new(builder, "a", block(2, 4, 4, false), 3).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn squeeze_and_excitation() {
    for (name, dims, reduction) in [("squeeze_excitation", 2, 2), ("squeeze_excitation_3d", 3, 4)] {
        compare(name, Style { dims, ..Style::default() }, true, &|builder, x, _| {
            SqueezeExcitation::new(builder, "a", 4, reduction).map_err(of)?.forward(&x[0])
        });
    }
}

#[test]
fn attention_gates() {
    let plain = Style { dims: 2, ..Style::default() };
    compare("attention_gate", plain, true, &|builder, x, _| {
        AttentionGate::new(builder, "a", 4, 3, [1, 2, 2]).map_err(of)?.forward(&x[0], &x[1])
    });
    compare("attention_gate_3d", Style::default(), true, &|builder, x, _| {
        AttentionGate::new(builder, "a", 4, 6, [2; 3]).map_err(of)?.forward(&x[0], &x[1])
    });
}

#[test]
fn atrous_spatial_pyramid_pooling() {
    compare("aspp", style(2, Some(BATCH), RELU, None), true, &|builder, x, pass| {
        Aspp::new(builder, "a", 4, 3, &[1, 2, 3]).map_err(of)?.forward(&x[0], pass)
    });
    compare("aspp_3d", Style::default(), true, &|builder, x, pass| {
        Aspp::new(builder, "a", 3, 2, &[2, 4]).map_err(of)?.forward(&x[0], pass)
    });
}

#[test]
fn dilated_convolutions() {
    for dilation in [2, 3] {
        for (name, dims) in [(format!("dilated_{dilation}"), 2), (format!("dilated_{dilation}_3d"), 3)] {
            compare(&name, Style { dims, ..Style::default() }, true, &|builder, x, _| {
                let kernel = if dims == 2 { [1, 3, 3] } else { [3; 3] };
                let weight = builder.kernel("a.conv.weight", 3, 2, kernel).map_err(of)?;
                let bias = builder.weight("a.conv.bias", &[3], Role::Shift).map_err(of)?;
                let weight = if dims == 2 { weight.unsqueeze(2)? } else { weight };
                dilated_conv(&x[0], &weight, Some(&bias), [dilation; 3])
            });
        }
    }
}

#[test]
fn taps_beyond_the_image_see_zeros_however_far_away() {
    let x = last(&wave(&[1, 2, 5, 6], 0));
    let weight = named("a", &[3, 2, 1, 3, 3]);
    let of = |dilation: usize| {
        dilated_conv(&x, &weight, None, [dilation; 3])
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    let centre = weight.narrow(3, 1, 1).unwrap().narrow(4, 1, 1).unwrap().contiguous().unwrap();
    let expected = dilated_conv(&x, &centre, None, [1; 3]).unwrap().flatten_all().unwrap();
    for (a, b) in of(usize::MAX).iter().zip(expected.to_vec1::<f32>().unwrap()) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }
    assert_eq!(of(6), of(1_000_000));
}

#[test]
fn pooling_and_interpolation() {
    compare("max_pool", Style::default(), true, &|_, x, _| max_pool(&x[0], [1, 2, 3]));
    compare("max_pool_3d", Style::default(), true, &|_, x, _| max_pool(&x[0], [2, 1, 2]));
    compare("resize", Style::default(), true, &|_, x, _| resize_linear(&x[0], [1, 6, 20]));
    compare("resize_3d", Style::default(), true, &|_, x, _| resize_linear(&x[0], [4, 3, 2]));
    compare("up_unit", style(2, Some(BATCH), Activation::Prelu, None), true, &|builder, x, pass| {
        let up = Up::new(builder, "a", UpKind::TransposedUnit, [4, 2], [1, 2, 2]).map_err(of)?;
        up.forward(&x[0], pass)
    });
}

/// Values of `f` over a tensor of ones, in training.
fn dropped(seed: u64, f: &dyn Fn(&Tensor, &mut Pass) -> Result<Tensor>) -> Vec<f32> {
    let ones = Tensor::ones((64, 1, 4, 4, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut pass = Pass::training(DrawKey { seed, ..DrawKey::default() });
    let found = f(&ones, &mut pass).unwrap();
    assert_eq!(f(&ones, &mut Pass::evaluation()).unwrap().to_vec_all(), ones.to_vec_all());
    found.to_vec_all()
}

trait ToVecAll {
    fn to_vec_all(&self) -> Vec<f32>;
}

impl ToVecAll for Tensor {
    fn to_vec_all(&self) -> Vec<f32> {
        self.flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Whether all values of each part of `size` values, taken `step` apart, are the same.
fn constant(values: &[f32], size: usize, step: usize) -> bool {
    values
        .chunks_exact(size * step)
        .all(|part| (0..step).all(|first| (0..size).all(|i| part[first + i * step] == part[first])))
}

#[test]
fn what_is_dropped_is_made_up_for_by_what_is_kept() {
    let p = 0.25;
    let channels = dropped(1, &|x, pass| dropout(x, DropoutKind::Channel, p, pass));
    let values = dropped(2, &|x, pass| dropout(x, DropoutKind::Value, p, pass));
    let samples = dropped(3, &|x, pass| stochastic_depth(x, p, pass));
    // 512 channels, 8192 values and 64 samples, each kept with probability 0.75: about four standard deviations.
    for (found, tolerance) in [(&channels, 0.11), (&values, 0.026), (&samples, 0.29)] {
        assert!(found.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.75).abs() < 1e-6));
        let mean = found.iter().sum::<f32>() / found.len() as f32;
        assert!((mean - 1.0).abs() < tolerance && found.contains(&0.0), "{mean}");
    }
    assert!(constant(&channels, 16, 8) && !constant(&channels, 128, 1));
    assert!(!constant(&values, 16, 8));
    assert!(constant(&samples, 128, 1));
    assert_ne!(channels, dropped(4, &|x, pass| dropout(x, DropoutKind::Channel, p, pass)));
}

#[test]
fn impossible_shapes_are_errors() {
    let x = Tensor::zeros((1, 1, 4, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let even = Tensor::zeros((2, 4, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(dilated_conv(&x, &even, None, [1, 2, 2]).unwrap_err().to_string().contains("odd kernels"));
    assert!(max_pool(&x, [1, 0, 2]).unwrap_err().to_string().contains("[1, 0, 2]"));
    assert!(resize_linear(&x, [1, 0, 2]).unwrap_err().to_string().contains("[1, 0, 2]"));
    let mut weights = Named::default();
    let mut builder = Builder::new(style(2, Some(NormKind::Group { groups: 3 }), RELU, None), &mut weights);
    let error = builder.norm("encoder.norm", 4, false).unwrap_err().to_string();
    assert!(
        error.contains("encoder.norm") && error.contains("3 groups") && error.contains("4 channels"),
        "{error}"
    );
    // One value per channel has no variance.
    let mut builder = Builder::new(style(2, Some(BATCH), RELU, None), &mut weights);
    let norm = builder.norm("a", 4, false).unwrap().unwrap();
    let single = x.narrow(2, 0, 1).unwrap().narrow(3, 0, 1).unwrap();
    let error = norm.forward(&single, None, &Pass::training(DrawKey::default())).unwrap_err().to_string();
    assert!(error.contains("more than one value per channel"), "{error}");
}
