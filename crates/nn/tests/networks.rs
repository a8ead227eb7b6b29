//! Networks against values that PyTorch gives for the same weights (dynamic_network_architectures 0.4.4, f64).
//!
//! Parameter number k, value j: `0.5 sin(0.7 j + 0.3 k)`, plus 1 for norm weights; input `cos(0.9 index)`. Tolerance: 2e-5
//! absolute per value (f32 against f64), 2e-4 relative for sums.

mod common;

use candle_core::{Device, Tensor};
use common::{channels_first, fill, small, wave};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::{NetworkKind, NetworkSpec};

struct Golden {
    kind: NetworkKind,
    dims: usize,
    parameters: usize,
    first: [f32; 4],
    last: [f32; 4],
    sums: [f64; 2],
    first_low: [f32; 4],
    sum_low: f64,
}

fn close(found: &[f32], expected: &[f32]) {
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-5, "{found:?} instead of {expected:?}");
    }
}

fn check(golden: &Golden) {
    let spec = small(golden.kind, golden.dims);
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    assert_eq!(parameters.names().len(), golden.parameters);
    fill(&parameters);
    let network = UNet::new(&spec, 1, 2, &parameters).unwrap();
    let input = wave((1, 1, if golden.dims == 2 { 1 } else { 4 }, 8, 8));
    let outputs = network.forward_deep(&input).unwrap();
    assert_eq!(outputs.len(), 2);
    let high = channels_first(&outputs[0]);
    close(&high[..4], &golden.first);
    close(&high[high.len() - 4..], &golden.last);
    let sum: f64 = high.iter().map(|v| f64::from(*v)).sum();
    let squares: f64 = high.iter().map(|v| f64::from(*v).powi(2)).sum();
    assert!((sum - golden.sums[0]).abs() < 2e-4 * golden.sums[0].abs(), "{sum}");
    assert!((squares - golden.sums[1]).abs() < 2e-4 * golden.sums[1], "{squares}");
    let low = channels_first(&outputs[1]);
    close(&low[..4], &golden.first_low);
    let sum: f64 = low.iter().map(|v| f64::from(*v)).sum();
    assert!((sum - golden.sum_low).abs() < 2e-4 * golden.sum_low.abs(), "{sum}");
    assert!(outputs[0].track_op());
    // Without autograd the same numbers, and nothing is kept for a backward pass.
    let plain = network.forward(&input).unwrap();
    assert!(!plain.track_op());
    let plain: Vec<f32> = plain.flatten_all().unwrap().to_vec1().unwrap();
    close(&plain, &high);
}

#[test]
fn plain_networks() {
    check(&Golden {
        kind: NetworkKind::PlainConvUNet,
        dims: 2,
        parameters: 48,
        first: [0.494_051, 0.494_043, 1.414_943, 2.001_704],
        last: [0.392_352, 0.393_271, 0.393_294, 0.3933],
        sums: [67.191_089, 44.593_529],
        first_low: [1.234_698, 0.707_544, 0.453_215, 0.440_467],
        sum_low: 15.749_156,
    });
    check(&Golden {
        kind: NetworkKind::PlainConvUNet,
        dims: 3,
        parameters: 48,
        first: [0.494_273, 0.494_821, 1.514_34, 2.097_153],
        last: [0.393_277, 0.392_913, 0.392_239, 0.391_921],
        sums: [268.646_055, 177.573_095],
        first_low: [1.882_085, 1.466_003, 0.774_835, 0.489_733],
        sum_low: 62.857_941,
    });
}

#[test]
fn residual_networks() {
    check(&Golden {
        kind: NetworkKind::ResidualEncoderUNet,
        dims: 2,
        parameters: 58,
        first: [-0.825_798, -0.472_991, -0.467_298, -0.481_441],
        last: [-0.882_143, -0.433_63, -0.431_961, -0.432_931],
        sums: [-117.269_448, 162.743_051],
        first_low: [-0.398_841, -1.925_295, -0.610_621, -0.340_221],
        sum_low: -15.441_002,
    });
    check(&Golden {
        kind: NetworkKind::ResidualEncoderUNet,
        dims: 3,
        parameters: 58,
        first: [-0.824_876, -0.473_241, -0.466_469, -0.480_03],
        last: [-0.481_038, -1.083_225, -1.439_176, -1.183_72],
        sums: [-472.854_677, 647.665_847],
        first_low: [-0.352_281, -0.434_269, -0.346_037, -0.346_021],
        sum_low: -61.319_144,
    });
}

fn default_spec(kind: NetworkKind, dims: usize, stages: usize, most: usize) -> NetworkSpec {
    let size = |n: usize| if dims == 2 { [1, n, n] } else { [n; 3] };
    NetworkSpec {
        features: (0..stages).map(|i| (32usize << i).min(most)).collect(),
        kernel_sizes: vec![size(3); stages],
        strides: (0..stages).map(|i| size(if i == 0 { 1 } else { 2 })).collect(),
        encoder_convs: match kind {
            NetworkKind::PlainConvUNet | NetworkKind::Composed => vec![2; stages],
            NetworkKind::ResidualEncoderUNet => [1, 3, 4, 6, 6, 6, 6, 6][..stages].to_vec(),
        },
        decoder_convs: vec![if kind == NetworkKind::PlainConvUNet { 2 } else { 1 }; stages - 1],
        ..small(kind, dims)
    }
}

#[test]
fn default_networks_have_the_references_number_of_parameters() {
    let count = |spec: &NetworkSpec| Parameters::new(spec, 1, 3, 0, &Device::Cpu).unwrap().count();
    assert_eq!(count(&default_spec(NetworkKind::PlainConvUNet, 3, 6, 320)), 31_196_399);
    assert_eq!(count(&default_spec(NetworkKind::PlainConvUNet, 2, 8, 512)), 46_326_581);
    assert_eq!(count(&default_spec(NetworkKind::ResidualEncoderUNet, 3, 6, 320)), 102_350_575);
}

#[test]
fn the_initialisation_is_he_normal_and_keyed_by_the_seed() {
    let spec = default_spec(NetworkKind::PlainConvUNet, 3, 3, 320);
    let a = Parameters::new(&spec, 1, 3, 7, &Device::Cpu).unwrap();
    let name = "encoder.stages.1.0.convs.0.conv.weight";
    let values: Vec<f32> = a.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let std = (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    let expected = (2.0f64 / 1.0001).sqrt() / (32.0f64 * 27.0).sqrt();
    assert!((std / expected - 1.0).abs() < 0.02, "{std} instead of {expected}");
    let again = Parameters::new(&spec, 1, 3, 7, &Device::Cpu).unwrap();
    assert_eq!(values, again.get(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let other = Parameters::new(&spec, 1, 3, 8, &Device::Cpu).unwrap();
    assert_ne!(values, other.get(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let spec = small(NetworkKind::PlainConvUNet, 3);
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    let name = "decoder.seg_layers.0.bias".to_owned();
    let error = |change: &dyn Fn(&mut std::collections::HashMap<String, Tensor>)| {
        let mut map = parameters.to_map();
        change(&mut map);
        parameters.load(&map).unwrap_err().to_string()
    };
    let missing = error(&|map| drop(map.remove(&name)));
    assert!(missing.contains(&name) && missing.contains("missing"), "{missing}");
    let three = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let shape = error(&|map| drop(map.insert(name.clone(), three.clone())));
    assert!(shape.contains("[3]") && shape.contains("[2]"), "{shape}");
    for bad in [[f32::NAN, 0.0], [0.0, f32::NAN], [0.0, f32::NEG_INFINITY]] {
        let tensor = Tensor::new(&bad, &Device::Cpu).unwrap();
        let text = error(&|map| drop(map.insert(name.clone(), tensor.clone())));
        assert!(text.contains(&name) && text.contains("finite"), "{text}");
    }
    assert!(error(&|map| drop(map.insert("x.y".to_owned(), three.clone()))).contains("no such weight"));
}

#[test]
fn input_of_another_size_is_refused() {
    let spec = small(NetworkKind::PlainConvUNet, 3);
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    let network = UNet::new(&spec, 1, 2, &parameters).unwrap();
    let forward = |shape: (usize, usize, usize, usize, usize)| {
        let x = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        network.forward(&x).unwrap_err().to_string()
    };
    assert!(forward((1, 1, 4, 6, 8)).contains("[2, 4, 4]"));
    assert!(forward((1, 2, 4, 8, 8)).contains("2 channels"));
}
