//! Four steps of a small network with set weights, against the same steps in PyTorch.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use ndarray::Array4;
use nnunet_augment::deep_supervision_targets;
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};
use nnunet_train::{DeepLoss, LossRules, Sgd, SgdConfig, Targets};

fn spec() -> NetworkSpec {
    NetworkSpec {
        kind: NetworkKind::PlainConvUNet,
        dims: 2,
        features: vec![2, 4, 6],
        kernel_sizes: vec![[1, 3, 3]; 3],
        strides: vec![[1, 1, 1], [1, 2, 2], [1, 2, 2]],
        encoder_convs: vec![2; 3],
        decoder_convs: vec![2; 2],
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    }
}

/// Parameter number `k`, value number `j`: `0.5 sin(0.7 j + 0.3 k)`, one more for the weights of norms.
fn fill(parameters: &Parameters) {
    let mut weights = HashMap::new();
    for (k, (name, var)) in parameters.names().iter().zip(parameters.vars()).enumerate() {
        let one = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let value = |j: usize| (one + 0.5 * (0.7 * j as f64 + 0.3 * k as f64).sin()) as f32;
        let values: Vec<f32> = (0..var.elem_count()).map(value).collect();
        weights.insert(name.clone(), Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap());
    }
    parameters.load(&weights).unwrap();
}

fn parameter(parameters: &Parameters, name: &str) -> Vec<f32> {
    parameters.to_map()[name].flatten_all().unwrap().to_vec1().unwrap()
}

fn targets(scales: &[[f64; 3]]) -> Vec<Targets> {
    let sample = |b: usize| {
        Array4::from_shape_fn((1, 1, 8, 8), |(_, _, y, x)| {
            i16::from((7 * (b * 64 + y * 8 + x)).is_multiple_of(5))
        })
    };
    let samples: Vec<_> = (0..2).map(|b| deep_supervision_targets(sample(b).view(), scales)).collect();
    let level = |level: usize| {
        let (_, z, y, x) = samples[0][level].dim();
        Targets::new([2, z, y, x], samples.iter().flat_map(|s| s[level].iter().copied()).collect()).unwrap()
    };
    (0..scales.len()).map(level).collect()
}

/// Losses and norms within 5e-7 of the published digits, weights within 1e-6.
#[test]
fn four_steps_agree_with_pytorch() {
    let spec = spec();
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    assert_eq!(parameters.names().len(), 48);
    fill(&parameters);
    let network = UNet::new(&spec, 1, 2, &parameters).unwrap();
    let input: Vec<f32> = (0..128).map(|i| (0.9 * f64::from(i)).cos() as f32).collect();
    let input = Tensor::from_vec(input, (2, 1, 1, 8, 8), &Device::Cpu).unwrap();
    let targets = targets(&spec.deep_supervision_scales());
    let ones = |t: &Targets| t.labels().iter().filter(|&&label| label == 1).count();
    assert_eq!(targets.iter().map(ones).collect::<Vec<_>>(), [26, 7]);
    let loss = DeepLoss::new(LossRules::labels(2, None, true), 2);
    let named = parameters.names().iter().cloned().zip(parameters.vars().iter().cloned()).collect();
    let mut sgd = Sgd::new(named, SgdConfig::default());
    let losses = [0.355_763_7, 0.354_365_3, 0.352_322_9, 0.349_691_2];
    let norms = [0.265_839_5, 0.262_850_9, 0.258_439_2, 0.252_649_8];
    for (step, (expected, expected_norm)) in losses.into_iter().zip(norms).enumerate() {
        let outputs = network.forward_deep(&input).unwrap();
        let (tensor, value) = loss.loss(&outputs, &targets).unwrap();
        let gradients = tensor.backward().unwrap();
        let norm = sgd.gradient_norm(&gradients).unwrap();
        assert!((value - expected).abs() < 5e-7, "step {step}: loss {value} instead of {expected}");
        assert!((norm - expected_norm).abs() < 5e-7, "step {step}: norm {norm} instead of {expected_norm}");
        sgd.step(&gradients, norm, 0.01).unwrap();
    }
    let check = |name: &str, expected: &[f32]| {
        for (found, expected) in parameter(&parameters, name).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} instead of {expected}");
        }
    };
    check("encoder.stages.0.0.convs.0.conv.weight", &[-1.863e-5, 0.321_518_9, 0.491_981_6]);
    check("decoder.seg_layers.1.bias", &[0.524_777_5, 0.368_999_5]);
    check("decoder.seg_layers.0.bias", &[0.401_892_2, 0.499_013_3]);
    let momentum = sgd.momentum().unwrap();
    assert_eq!(momentum.len(), 46, "the head of the lowest resolution is never trained");
    assert!(momentum.iter().all(|(name, _)| !name.contains("seg_layers.0.")));
}
