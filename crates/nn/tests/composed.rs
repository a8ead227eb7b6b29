//! Whole networks of other blocks: the same as nnU-Net's own where the parts are the same, golden values of PyTorch where they
//! are not, and what training and prediction ask of them.

mod common;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use common::{channels_first, fill, golden_json, small, values, wave};
use nnunet_nn::blocks::DrawKey;
use nnunet_nn::{Executor, Parameters, Precision, UNet, read_checkpoint, weights};
use nnunet_plan::{
    Activation, BlockKind, Blocks, DecoderKind, DownKind, DropoutKind, NetworkKind, NetworkSpec, NormKind,
    Preset, PresetShape, UpKind,
};

const BATCH: NormKind = NormKind::Batch { momentum: 0.1 };

/// nnU-Net's own network, to be built layer by layer.
fn layered(kind: NetworkKind, dims: usize) -> NetworkSpec {
    let spec = small(kind, dims);
    let blocks = Blocks::standard(kind, 3, Some(Activation::LeakyRelu(0.01)));
    NetworkSpec { blocks: Some(blocks), ..spec }
}

fn build(spec: &NetworkSpec, channels: usize) -> (Parameters, UNet) {
    let parameters = Parameters::new(spec, channels, 2, 3, &Device::Cpu).unwrap();
    let network = UNet::new(spec, channels, 2, &parameters).unwrap();
    (parameters, network)
}

/// Logits of all heads, and the gradients of all weights, of a sum that weights each output differently.
fn results(outputs: &[Tensor], parameters: &Parameters) -> (Vec<f32>, HashMap<String, Vec<f32>>) {
    let mut all = Vec::new();
    let mut sum = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
    for (k, output) in outputs.iter().enumerate() {
        let weight =
            Tensor::from_vec(values(output.elem_count(), k as u64 + 5), output.shape(), &Device::Cpu);
        sum = (sum + (output * weight.unwrap()).unwrap().sum_all().unwrap()).unwrap();
        all.extend(channels_first(output));
    }
    let gradients = sum.backward().unwrap();
    let gradient = |name: &String| {
        let found = gradients.get(parameters.get(name).unwrap())?;
        Some((name.clone(), found.flatten_all().unwrap().to_vec1().unwrap()))
    };
    (all, parameters.names().iter().filter_map(gradient).collect())
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(1f32, |most, v| most.max(v.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-4 * scale, "{what}: {a} instead of {b}");
    }
}

#[test]
fn layers_one_by_one_are_the_networks_of_nnunet() {
    for kind in [NetworkKind::PlainConvUNet, NetworkKind::ResidualEncoderUNet] {
        for dims in [2, 3] {
            let (parameters, whole) = build(&small(kind, dims), 1);
            let (others, layered) = build(&layered(kind, dims), 1);
            assert_eq!(parameters.names(), others.names());
            fill(&parameters);
            fill(&others);
            let x = wave((2, 1, if dims == 2 { 1 } else { 4 }, 8, 8));
            let expected = results(&whole.forward_deep(&x).unwrap(), &parameters);
            let found = results(&layered.forward_training(&x, DrawKey::default()).unwrap(), &others);
            close("logits", &found.0, &expected.0);
            assert_eq!(found.1.len(), expected.1.len());
            for (name, gradient) in &expected.1 {
                close(name, &found.1[name], gradient);
            }
        }
    }
}

/// Six numbers of a tensor, as `golden/blocks/make.py` keeps them.
fn digest(values: &[f32]) -> [f64; 6] {
    let sum = |f: &dyn Fn(f64) -> f64| {
        values.iter().enumerate().map(|(j, v)| f64::from(*v) * f(j as f64)).sum::<f64>()
    };
    let at = |j: usize| f64::from(values[j]);
    let last = values.len() - 1;
    [
        sum(&|_| 1.0),
        sum(&|j| (0.5 * j).cos()),
        sum(&|j| (0.13 * j).sin()),
        at(0),
        at(values.len() / 2),
        at(last),
    ]
}

fn check(what: &str, values: &[f32], expected: &serde_json::Value) {
    let (found, expected) = (digest(values), common::numbers(expected));
    let scale = expected.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 3e-4 * scale, "{what}: {found:?} instead of {expected:?}");
    }
}

/// Compares a network with golden values of all heads and all gradients; the values follow from the names of the weights.
fn compare(name: &str, spec: &NetworkSpec, shape: (usize, usize, usize, usize, usize)) {
    let golden = &golden_json("../blocks/blocks.json")[name];
    let (parameters, network) = build(spec, 1);
    for (weight, var) in parameters.state() {
        let k = weight.bytes().map(u64::from).sum::<u64>() % 101;
        let one = if weight.ends_with("norm.weight") || weight.ends_with("running_var") { 1.0 } else { 0.0 };
        let value = |j: usize| (0.5 * (0.7 * j as f64 + 0.3 * k as f64).sin() + one) as f32;
        let values: Vec<f32> = (0..var.elem_count()).map(value).collect();
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let outputs = network.forward_training(&wave(shape), DrawKey::default()).unwrap();
    let flat: Vec<Tensor> =
        outputs.iter().map(|o| o.permute((0, 4, 1, 2, 3)).unwrap().flatten_all().unwrap()).collect();
    let all = Tensor::cat(&flat, 0).unwrap();
    check(name, &all.to_vec1::<f32>().unwrap(), &golden["output"]);
    let slopes: Vec<f32> = (0..all.elem_count()).map(|j| (0.37 * j as f64).sin() as f32).collect();
    let slopes = Tensor::from_vec(slopes, all.dims(), &Device::Cpu).unwrap();
    let gradients = (all * slopes).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |weight: &str| gradients.get(parameters.get(weight).unwrap()).unwrap().flatten_all().unwrap();
    let (trained, kept) = (golden["weights"].as_object().unwrap(), golden["buffers"].as_object().unwrap());
    assert_eq!(trained.len(), parameters.names().len());
    for (weight, expected) in trained {
        check(weight, &of(weight).to_vec1::<f32>().unwrap(), expected);
    }
    assert_eq!(kept.len(), parameters.state().count() - parameters.names().len());
    for (buffer, expected) in kept {
        check(buffer, &parameters.get(buffer).unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}

#[test]
fn nested_networks_are_those_of_pytorch() {
    let shape = PresetShape::even(2, &[2, 4, 6], 3);
    compare("network_nested", &Preset::UNetPlusPlus.architecture(&shape).resolve().unwrap(), (2, 1, 1, 8, 8));
}

#[test]
fn vnets_are_those_of_pytorch() {
    let shape = PresetShape::even(3, &[2, 4, 6], 3);
    compare("network_vnet", &Preset::VNet.architecture(&shape).resolve().unwrap(), (1, 1, 4, 8, 4));
}

#[test]
fn batch_norm_trainers_of_nnunet_train_and_evaluate_as_in_pytorch() {
    let of = |kind| {
        let spec = layered(kind, 2);
        NetworkSpec { blocks: spec.blocks.map(|blocks| Blocks { norm: BATCH, ..blocks }), ..spec }
    };
    let plain = of(NetworkKind::PlainConvUNet);
    compare("network_batch_norm_plain", &plain, (2, 1, 1, 8, 8));
    compare("network_batch_norm_residual", &of(NetworkKind::ResidualEncoderUNet), (2, 1, 1, 8, 8));
    // A checkpoint that PyTorch wrote, with all names that it gives to a tensor and its counts of batches.
    let checkpoint = read_checkpoint(&common::golden("../blocks/batch_norm.pth")).unwrap();
    assert_eq!(checkpoint.trainer_name, "nnUNetTrainerBN");
    let (parameters, network) = build(&plain, 1);
    parameters.load_checkpoint(&checkpoint).unwrap();
    let logits = network.forward(&wave((2, 1, 1, 8, 8))).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let golden = &golden_json("../blocks/blocks.json")["network_batch_norm_evaluation"];
    check("evaluation", &logits, &golden["output"]);
}

/// Every preset in a small size, and some parts that no preset has.
fn all(dims: usize) -> Vec<(String, NetworkSpec)> {
    let shape = PresetShape::even(dims, &[4, 8, 12], 3);
    let preset = |preset: Preset| (preset.name().to_owned(), preset.architecture(&shape).resolve().unwrap());
    let mut all: Vec<_> = Preset::all().map(preset).collect();
    let own = |change: &dyn Fn(&mut Blocks)| {
        let mut blocks = Blocks::standard(NetworkKind::ResidualEncoderUNet, 3, Some(Activation::Gelu));
        change(&mut blocks);
        NetworkSpec {
            kind: NetworkKind::Composed,
            features: vec![4, 8, 12],
            blocks: Some(blocks),
            ..small(NetworkKind::ResidualEncoderUNet, dims)
        }
    };
    let squeezed = own(&|blocks| {
        (blocks.squeeze_excitation, blocks.norm) = (Some(2), NormKind::Group { groups: 4 });
        (blocks.decoder, blocks.stochastic_depth) = (BlockKind::Residual, 0.5);
    });
    all.push(("squeeze".to_owned(), squeezed));
    let mixed = own(&|blocks| {
        (blocks.encoder, blocks.decoder) = (BlockKind::Bottleneck, BlockKind::Vnet);
        (blocks.joined, blocks.norm) = (DecoderKind::Attention, NormKind::FilterResponse);
        (blocks.activation, blocks.up) = (Some(Activation::Tlu), UpKind::TransposedWide);
    });
    all.push(("mixed".to_owned(), NetworkSpec { dropout: Some(0.3), ..mixed }));
    let deep = own(&|blocks| {
        (blocks.encoder, blocks.down) = (BlockKind::Plain, DownKind::Conv);
        (blocks.joined, blocks.norm) = (DecoderKind::Nested, BATCH);
        (blocks.decoder, blocks.growth_rate) = (BlockKind::Dense, 2);
    });
    all.push(("nested dense".to_owned(), deep));
    all
}

fn image(dims: usize, channels: usize) -> Tensor {
    let space = if dims == 2 { [1, 16, 8] } else { [8, 8, 8] };
    let shape = (2, channels, space[0], space[1], space[2]);
    let count = 2 * channels * space.iter().product::<usize>();
    Tensor::from_vec(values(count, 9), shape, &Device::Cpu).unwrap()
}

#[test]
fn every_network_trains_evaluates_and_predicts() {
    for dims in [2, 3] {
        for (name, spec) in all(dims) {
            let (parameters, network) = build(&spec, 2);
            let x = image(dims, 2);
            let outputs = network.forward_training(&x, DrawKey::default()).unwrap();
            assert_eq!(outputs.len(), spec.deep_supervision_scales().len(), "{name}");
            for (output, scale) in outputs.iter().zip(spec.deep_supervision_scales()) {
                let (_, z, y, columns, classes) = output.dims5().unwrap();
                let full = [x.dim(2).unwrap(), x.dim(3).unwrap(), x.dim(4).unwrap()];
                let expected: [usize; 3] = std::array::from_fn(|a| (full[a] as f64 * scale[a]) as usize);
                assert_eq!(([z, y, columns], classes), (expected, 2), "{name}");
            }
            // Every weight has a part in the outputs, but for what stochastic depth left out.
            let gradients = results(&outputs, &parameters).1;
            assert_eq!(gradients.len(), parameters.names().len(), "{name}");
            // In evaluation nothing is random, and the executor gives the same as autograd.
            let deep = network.forward_deep(&x).unwrap();
            let plain = network.forward_last(&x).unwrap();
            assert!(!plain.track_op());
            close(&name, &channels_first(&plain), &channels_first(&deep[0]));
            let size = [x.dim(2).unwrap(), x.dim(3).unwrap(), x.dim(4).unwrap()];
            let executor = Executor::new(&network, size, Precision::F32).unwrap();
            let tile: Vec<f32> = x.get(0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let logits = executor.forward(&tile).unwrap();
            let expected = plain.get(0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            close(&name, &logits, &expected);
            // Copies: what changes afterwards is not seen.
            for var in parameters.vars() {
                var.set(&var.ones_like().unwrap()).unwrap();
            }
            assert_eq!(executor.forward(&tile).unwrap(), logits, "{name}");
            assert!(Executor::new(&network, size, Precision::Bf16).unwrap_err().to_string().contains("bf16"));
        }
    }
}

#[test]
fn checkpoints_keep_running_statistics() {
    let shape = PresetShape::even(2, &[4, 8], 3);
    let spec = Preset::ResidualUNet.architecture(&shape).resolve().unwrap();
    let (parameters, network) = build(&spec, 1);
    let x = image(2, 1);
    let before = network.forward(&x).unwrap();
    network.forward_training(&x, DrawKey::default()).unwrap();
    let after = network.forward(&x).unwrap();
    let difference =
        (&before - &after).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference > 1e-3, "training left no trace in evaluation: {difference}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint_final.safetensors");
    let tensors: Vec<(String, Tensor)> =
        parameters.state().map(|(name, var)| (format!("network.{name}"), var.as_detached_tensor())).collect();
    let entries = [
        ("format", "nnunet-1"),
        ("trainer_name", "nnUNetTrainer"),
        ("configuration", "2d"),
        ("inference_allowed_mirroring_axes", "null"),
    ];
    let metadata = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    weights::write_safetensors(&path, &tensors, &metadata).unwrap();
    let (others, other) = build(&spec, 1);
    others.load_checkpoint(&read_checkpoint(&path).unwrap()).unwrap();
    let found: Vec<f32> = other.forward(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found, after.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    // Without them the network is not whole.
    let mut map = parameters.to_map();
    map.retain(|name, _| !name.ends_with("running_var"));
    let error = others.load(&map).unwrap_err().to_string();
    assert!(error.contains("running_var") && error.contains("missing"), "{error}");
}

#[test]
fn dropout_draws_by_key_and_only_in_training() {
    for kind in [NetworkKind::PlainConvUNet, NetworkKind::ResidualEncoderUNet] {
        let spec = NetworkSpec { dropout: Some(0.5), ..small(kind, 2) };
        assert!(spec.is_standard());
        let (_, network) = build(&spec, 1);
        let x = image(2, 1);
        let logits = |key: u64| -> Vec<f32> {
            let key = DrawKey { iteration: key, ..DrawKey::default() };
            network.forward_training(&x, key).unwrap()[0].flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(logits(1), logits(1));
        assert_ne!(logits(1), logits(2));
        let evaluated = network.forward_deep(&x).unwrap();
        let plain: Vec<f32> = channels_first(&network.forward_last(&x).unwrap());
        close("evaluation", &channels_first(&evaluated[0]), &plain);
    }
    // Single values instead of channels.
    let mut spec = layered(NetworkKind::PlainConvUNet, 2);
    spec.dropout = Some(0.5);
    let channels = build(&spec, 1).1;
    spec.blocks.as_mut().unwrap().dropout = DropoutKind::Value;
    let single = build(&spec, 1).1;
    let first = |network: &UNet| {
        channels_first(&network.forward_training(&image(2, 1), DrawKey::default()).unwrap()[0])
    };
    assert_ne!(first(&channels), first(&single));
}

#[test]
fn groups_that_do_not_divide_inner_channels_are_refused_by_name() {
    let shape = PresetShape::even(2, &[4, 8], 3);
    let mut architecture = Preset::DenseUNet.architecture(&shape);
    let kwargs = &mut architecture.arch_kwargs;
    kwargs.insert("norm_op".to_owned(), "torch.nn.GroupNorm".into());
    kwargs.insert("norm_op_kwargs".to_owned(), serde_json::json!({"num_groups": 4}));
    kwargs.insert("growth_rate".to_owned(), 3.into());
    let spec = architecture.resolve().unwrap();
    let error = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("4 groups") && error.contains("7 channels"), "{error}");
}

/// Trained values of a network with the publication's sizes, but for the heads that the publication does not have.
fn published_count(preset: Preset, dims: usize, channels: usize, classes: usize) -> usize {
    let spec = preset.published(dims).resolve().unwrap();
    let parameters = Parameters::new(&spec, channels, classes, 0, &Device::Cpu).unwrap();
    let last = format!("seg_layers.{}.", spec.num_stages() - 2);
    let named = parameters.names().iter().zip(parameters.vars());
    let counted = named.filter(|(name, _)| !name.contains("seg_layers.") || name.contains(&last));
    counted.map(|(_, var)| var.elem_count()).sum()
}

#[test]
fn published_sizes_have_the_published_numbers_of_parameters() {
    // Çiçek et al. count 19 069 955 values for three channels and three classes: without those of the batch norms (two for
    // each of the 2336 channels) and the biases of the transposed convolutions (one for each of 896).
    assert_eq!(published_count(Preset::UNet3d, 3, 3, 3), 19_069_955 + 2 * 2336 + 896);
    // Zhou et al. count 9.04 million.
    assert_eq!(published_count(Preset::UNetPlusPlus, 2, 1, 1) / 10_000, 904);
}
