//! Names, gradients and outputs of nnU-Net's networks in PyTorch (nnunetv2 2.8.1, torch 2.15).

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{channels_first, fill, golden_json, numbers, small, wave};
use nnunet_nn::{NnError, Parameters, UNet, read_checkpoint};
use nnunet_plan::{NetworkKind, Plans};
use serde_json::Value;

const SMALL: [(&str, NetworkKind, usize); 4] = [
    ("plain2d", NetworkKind::PlainConvUNet, 2),
    ("plain3d", NetworkKind::PlainConvUNet, 3),
    ("residual2d", NetworkKind::ResidualEncoderUNet, 2),
    ("residual3d", NetworkKind::ResidualEncoderUNet, 3),
];

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_and_their_order_are_the_references() {
    let golden = golden_json("networks.json");
    for (name, kind, dims) in SMALL {
        let parameters = Parameters::new(&small(kind, dims), 1, 2, 0, &Device::Cpu).unwrap();
        assert_eq!(parameters.names(), texts(&golden[name]["parameters"]), "{name}");
        // A state dictionary with all of PyTorch's names, aliases included, is taken, unless they contradict each other.
        let shapes = parameters.to_map();
        let value = |key: &String| {
            let same = parameters.names().iter().find(|name| is_alias(key, name)).unwrap();
            (key.clone(), shapes[same].clone())
        };
        let mut dictionary: HashMap<_, _> = texts(&golden[name]["keys"]).iter().map(value).collect();
        assert!(dictionary.len() > 2 * parameters.names().len());
        parameters.load(&dictionary).unwrap();
        let differs = "decoder.encoder.stages.1.0.convs.0.all_modules.0.bias";
        if kind == NetworkKind::PlainConvUNet {
            dictionary.insert(differs.to_owned(), Tensor::new(&[0f32, 0.0, 1.0, 0.0], &Device::Cpu).unwrap());
            let error = parameters.load(&dictionary).unwrap_err().to_string();
            assert!(error.contains(differs) && error.contains("differ"), "{error}");
        }
    }
}

/// Whether `key` is one of PyTorch's names for a weight whose first name is `name`, by PyTorch's rules said another way.
fn is_alias(key: &str, name: &str) -> bool {
    let key = key.replacen("decoder.encoder.", "encoder.", 1);
    key == name
        || key == name.replace(".conv.", ".all_modules.0.")
        || key == name.replace(".norm.", ".all_modules.1.")
}

/// Gradients of all weights of all heads; f32 against f64.
#[test]
fn gradients_are_pytorchs() {
    let golden = golden_json("networks.json");
    let mut worst = 0f64;
    for (name, kind, dims) in SMALL {
        let spec = small(kind, dims);
        let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
        fill(&parameters);
        let network = UNet::new(&spec, 1, 2, &parameters).unwrap();
        let outputs = network.forward_deep(&wave((1, 1, if dims == 2 { 1 } else { 4 }, 8, 8))).unwrap();
        let mut loss = Tensor::new(0f32, &Device::Cpu).unwrap();
        for (o, y) in outputs.iter().enumerate() {
            let y = y.permute((0, 4, 1, 2, 3)).unwrap();
            let weights: Vec<f32> =
                (0..y.elem_count()).map(|i| (0.37 * i as f64 + o as f64).sin() as f32).collect();
            let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
            loss = (loss + (y * weights).unwrap().sum_all().unwrap()).unwrap();
        }
        let value = f64::from(loss.to_scalar::<f32>().unwrap());
        let expected = golden[name]["loss"].as_f64().unwrap();
        assert!((value - expected).abs() < 1e-4 * expected.abs(), "{name}: {value} instead of {expected}");
        let store = loss.backward().unwrap();
        let golden = golden[name]["gradients"].as_array().unwrap();
        assert_eq!(golden.len(), parameters.vars().len());
        let scale = golden.iter().map(|g| numbers(g)[1]).fold(0.0, f64::max);
        for ((weight, var), golden) in parameters.names().iter().zip(parameters.vars()).zip(golden) {
            let gradient: Vec<f32> = store.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let product: f64 =
                gradient.iter().enumerate().map(|(j, g)| f64::from(*g) * (0.5 * j as f64).cos()).sum();
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let expected = numbers(golden);
            for (found, expected) in [product, norm].iter().zip(&expected) {
                let error = (found - expected).abs() / scale;
                worst = worst.max(error);
                assert!(error < 2e-5, "{name} {weight}: {found} instead of {expected}");
            }
        }
    }
    println!("gradients within {worst:.1e} of the largest");
}

/// Values in [-1, 1) from a congruential generator.
fn drawn(channels: usize, patch: [usize; 3]) -> Tensor {
    let shape = (2, channels, patch[0], patch[1], patch[2]);
    let step = |i: u64| (i * 1_664_525 + 1_013_904_223) % (1 << 32);
    let count = (2 * channels * patch.iter().product::<usize>()) as u64;
    let values: Vec<f32> =
        (0..count).map(|i| (step(step(i)) as f64 / f64::from(1u32 << 31) - 1.0) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Outputs of trained models within 1e-4 of the largest value, and their sums.
#[test]
fn trained_models_answer_as_in_pytorch() -> Result<(), NnError> {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA") else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return Ok(());
    };
    let golden = golden_json("models.json");
    for (name, golden) in golden.as_object().unwrap() {
        let path = Path::new(&data).join(name);
        let checkpoint = read_checkpoint(&path)?;
        assert_eq!(checkpoint.configuration, golden["configuration"], "{name}");
        assert_eq!(checkpoint.trainer_name, golden["trainer"], "{name}");
        let axes =
            checkpoint.mirror_axes.as_ref().map(|axes| axes.iter().map(|a| *a as f64).collect::<Vec<_>>());
        assert_eq!(axes, golden["mirror_axes"].as_array().map(|_| numbers(&golden["mirror_axes"])), "{name}");
        let plans = Plans::read(&path.parent().unwrap().parent().unwrap().join("plans.json")).unwrap();
        let configuration = plans.configuration(&checkpoint.configuration)?;
        let spec = configuration.architecture.resolve()?;
        let channels = golden["channels"].as_u64().unwrap() as usize;
        let heads = checkpoint.weights["decoder.seg_layers.0.bias"].dim(0)?;
        let parameters = Parameters::new(&spec, channels, heads, 0, &Device::Cpu)?;
        parameters.load_checkpoint(&checkpoint)?;
        let network = UNet::new(&spec, channels, heads, &parameters)?;
        let input = drawn(channels, configuration.patch_3d());
        let outputs = network.forward_deep(&input)?;
        let golden = golden["outputs"].as_array().unwrap();
        assert_eq!(outputs.len(), golden.len());
        let mut worst = 0f64;
        for (y, golden) in outputs.iter().zip(golden) {
            worst = worst.max(compare(name, &channels_first(y), golden));
        }
        let plain: Vec<f32> = network.forward(&input)?.flatten_all()?.to_vec1()?;
        compare(name, &plain, &golden[0]);
        println!("{name}: within {worst:.1e} of the largest value");
    }
    Ok(())
}

/// The largest difference relative to the largest value.
fn compare(name: &str, found: &[f32], golden: &Value) -> f64 {
    assert_eq!(found.len() as f64, numbers(&golden["shape"]).iter().product::<f64>(), "{name}");
    let step = golden["step"].as_u64().unwrap() as usize;
    let expected = numbers(&golden["values"]);
    let largest = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    let picked: Vec<f64> = found.iter().step_by(step).map(|v| f64::from(*v)).collect();
    assert_eq!(picked.len(), expected.len());
    let worst = picked.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
    assert!(worst < 1e-4, "{name}: {worst}");
    let squares: f64 = found.iter().map(|v| f64::from(*v).powi(2)).sum();
    let expected = golden["squares"].as_f64().unwrap();
    assert!((squares - expected).abs() < 1e-4 * expected, "{name}: {squares} instead of {expected}");
    let sum: f64 = found.iter().map(|v| f64::from(*v)).sum();
    let error = (sum - golden["sum"].as_f64().unwrap()).abs();
    assert!(error < 1e-4 * (expected * found.len() as f64).sqrt(), "{name}: {sum}");
    worst
}
