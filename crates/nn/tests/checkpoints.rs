//! Checkpoints that are whole, unusual or broken.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{fill, golden, small};
use nnunet_nn::weights::pickle::{Plain, read_plain};
use nnunet_nn::weights::{TrainingCheckpoint, read_safetensors, write_safetensors};
use nnunet_nn::{Parameters, read_checkpoint};
use nnunet_plan::{Activation, Blocks, NetworkKind, NetworkSpec, NormKind};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

fn plain() -> Parameters {
    Parameters::new(&small(NetworkKind::PlainConvUNet, 2), 1, 2, 0, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What of a parameter decides whether two networks are the same.
fn all_values(parameters: &Parameters) -> Vec<Vec<f32>> {
    parameters.vars().iter().map(|var| values(var)).collect()
}

#[test]
fn a_checkpoint_of_pytorch_is_read_with_all_its_names() {
    let checkpoint = read_checkpoint(&golden("plain2d.pth")).unwrap();
    assert_eq!(checkpoint.weights.len(), 136);
    assert_eq!(checkpoint.trainer_name, "nnUNetTrainer");
    assert_eq!(checkpoint.configuration, "2d");
    assert_eq!(checkpoint.mirror_axes, Some(vec![0, 1]));
    let (loaded, filled) = (plain(), plain());
    loaded.load_checkpoint(&checkpoint).unwrap();
    fill(&filled);
    for ((name, a), b) in loaded.names().iter().zip(all_values(&loaded)).zip(all_values(&filled)) {
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-7), "{name}: {a:?} instead of {b:?}");
    }
}

#[test]
fn types_and_layouts_of_tensors_do_not_matter() {
    let checkpoint = read_checkpoint(&golden("kinds.pth")).unwrap();
    let expected: Vec<f32> = (0..6u8).map(|i| f32::from(i) / 4.0).collect();
    assert_eq!(checkpoint.weights.len(), 6);
    for (name, tensor) in &checkpoint.weights {
        assert_eq!(values(tensor), expected, "{name}");
        assert_eq!(tensor.rank(), if name == "transposed" { 2 } else { 1 }, "{name}");
    }
    assert_eq!((checkpoint.trainer_name.as_str(), checkpoint.mirror_axes), ("", None));
}

#[test]
fn our_checkpoints_come_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint_final.safetensors");
    let parameters = plain();
    fill(&parameters);
    let named = |(name, tensor): (String, Tensor)| (format!("network.{name}"), tensor);
    let tensors: Vec<_> = parameters.to_map().into_iter().map(named).collect();
    let text = "[0,1]\n\"ö\"";
    let metadata: HashMap<_, _> = [
        ("format", "nnunet-1"),
        ("trainer_name", "nnUNetTrainer"),
        ("configuration", "2d"),
        ("inference_allowed_mirroring_axes", "[0,1]"),
        ("logging", text),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    write_safetensors(&path, &tensors, &metadata).unwrap();
    assert_eq!(read_safetensors(&path).unwrap().1["logging"], text);
    let checkpoint = read_checkpoint(&path).unwrap();
    assert_eq!((checkpoint.configuration.as_str(), &checkpoint.mirror_axes), ("2d", &Some(vec![0, 1])));
    let other = plain();
    other.load_checkpoint(&checkpoint).unwrap();
    assert_eq!(all_values(&other), all_values(&parameters));
    // The same again gives the same bytes, and nothing is left beside the file.
    let first = std::fs::read(&path).unwrap();
    write_safetensors(&path, &tensors, &metadata).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let twice = [tensors[0].clone(), tensors[0].clone()];
    let error = write_safetensors(&path, &twice, &metadata).unwrap_err().to_string();
    assert!(error.contains(&twice[0].0), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), first);
}

#[test]
fn files_that_are_no_checkpoints_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in [
        ("empty.pth", &b""[..], "zip archive"),
        ("text.pth", b"not a zip archive", "zip archive"),
        ("legacy.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "zip archive"),
        ("empty.safetensors", b"", "safetensors"),
        ("short.safetensors", b"\x08\0\0\0\0\0\0\0{", "safetensors"),
        ("huge.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "safetensors"),
        ("x.onnx", b"", ".safetensors or .pth"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_checkpoint(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    let error = read_checkpoint(&folder.path().join("absent.pth")).unwrap_err().to_string();
    assert!(error.contains("absent.pth"), "{error}");
}

#[test]
fn truncated_checkpoints_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("whole.safetensors");
    let tensors: Vec<_> = plain().to_map().into_iter().map(|(n, t)| (format!("network.{n}"), t)).collect();
    write_safetensors(&ours, &tensors, &HashMap::from([("format".to_owned(), "nnunet-1".to_owned())]))
        .unwrap();
    for (whole, name) in [(golden("plain2d.pth"), "cut.pth"), (ours, "cut.safetensors")] {
        let bytes = std::fs::read(whole).unwrap();
        for tenth in 0..10 {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes[..bytes.len() * tenth / 10]).unwrap();
            let error = read_checkpoint(&path).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

/// Writes the archive again, with changed entries.
fn rewrite(
    source: &Path,
    target: &Path,
    method: CompressionMethod,
    change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>,
) {
    let mut old = zip::ZipArchive::new(std::fs::File::open(source).unwrap()).unwrap();
    let mut new = zip::ZipWriter::new(std::fs::File::create(target).unwrap());
    for i in 0..old.len() {
        let mut entry = old.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let (_, short) = name.split_once('/').unwrap();
        if let Some(bytes) = change(short, bytes) {
            new.start_file(&*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            new.write_all(&bytes).unwrap();
        }
    }
    new.finish().unwrap();
}

/// Reads and loads a changed copy of PyTorch's checkpoint; the error must name the file.
fn changed(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pth");
    rewrite(&golden("plain2d.pth"), &path, CompressionMethod::Stored, change);
    load(&path)
}

fn load(path: &Path) -> String {
    let parameters = plain();
    let before = all_values(&parameters);
    let error = read_checkpoint(path).and_then(|c| parameters.load_checkpoint(&c)).unwrap_err().to_string();
    assert!(error.contains("changed.pth"), "{error}");
    assert_eq!(all_values(&parameters), before);
    error
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = bytes.to_vec();
    let mut count = 0;
    for i in 0..bytes.len() - old.len() {
        if bytes[i..].starts_with(old) {
            bytes[i..i + new.len()].copy_from_slice(new);
            count += 1;
        }
    }
    assert!(count > 0);
    bytes
}

/// Changes the description and nothing else.
fn with_pickle(old: &'static [u8], new: &'static [u8]) -> String {
    changed(|name, bytes| Some(if name == "data.pkl" { replaced(&bytes, old, new) } else { bytes }))
}

#[test]
fn broken_archives_are_refused_with_file_and_key() {
    let first = "encoder.stages.0.0.convs.0.conv.weight";
    let untouched = |_: &str, bytes| Some(bytes);
    let nan = changed(|name, mut bytes| {
        if name == "data/0" {
            bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        Some(bytes)
    });
    assert!(nan.contains(first) && nan.contains("value 2 is NaN"), "{nan}");
    let short = changed(|name, bytes| Some(if name == "data/0" { bytes[4..].to_vec() } else { bytes }));
    assert!(short.contains(first) && short.contains("68 bytes, expected 72"), "{short}");
    let absent = changed(|name, bytes| (name != "data/0").then_some(bytes));
    assert!(absent.contains(first) && absent.contains("data/0"), "{absent}");
    let pickle = changed(|name, bytes| (name != "data.pkl").then_some(bytes));
    assert!(pickle.contains("data.pkl"), "{pickle}");
    let cut = changed(|name, bytes| Some(if name == "data.pkl" { bytes[..999].to_vec() } else { bytes }));
    assert!(cut.contains("data.pkl"), "{cut}");
    let order = changed(|name, bytes| Some(if name == "byteorder" { b"big".to_vec() } else { bytes }));
    assert!(order.contains("big-endian"), "{order}");
    let renamed = with_pickle(b"network_weights", b"network_strings");
    assert!(renamed.contains("no network_weights, but [\"network_strings\""), "{renamed}");
    let key = with_pickle(b"decoder.seg_layers.0.bias", b"decoder.seg_layers.9.bias");
    assert!(
        key.contains("decoder.seg_layers.0.bias") && key.contains("missing, expected shape [2]"),
        "{key}"
    );
    let class = with_pickle(b"ctorch\nFloatStorage\n", b"ctorch\nQInt8Storage\n");
    assert!(class.contains(first) && class.contains("QInt8Storage"), "{class}");
    let call = with_pickle(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9");
    assert!(call.contains(first) && call.contains("_rebuild_tensor_v9"), "{call}");
    let shape = with_pickle(b"K\x02K\x01K\x03K\x03t", b"K\x02K\x01K\xffK\xfft");
    assert!(
        shape.contains(first) && shape.contains("[2, 1, 255, 255]") && shape.contains("18 values"),
        "{shape}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pth");
    rewrite(&golden("plain2d.pth"), &path, CompressionMethod::Deflated, untouched);
    assert!(load(&path).contains("compressed"));
}

#[test]
fn weights_of_another_network_are_refused_with_file_and_key() {
    let checkpoint = read_checkpoint(&golden("plain2d.pth")).unwrap();
    let mut spec = small(NetworkKind::PlainConvUNet, 2);
    spec.features[0] = 3;
    let wide = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    let error = wide.load_checkpoint(&checkpoint).unwrap_err().to_string();
    for part in ["plain2d.pth", "decoder.", "shape [2", "expected [3"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let residual =
        Parameters::new(&small(NetworkKind::ResidualEncoderUNet, 2), 1, 2, 0, &Device::Cpu).unwrap();
    let error = residual.load_checkpoint(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("plain2d.pth: weight "), "{error}");
}

/// Every byte of the description set to some other values: an error or a checkpoint, but no panic.
#[test]
fn no_change_of_the_description_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pth");
    rewrite(&golden("kinds.pth"), &path, CompressionMethod::Stored, |_, bytes| Some(bytes));
    assert_eq!(read_checkpoint(&path).unwrap().weights.len(), 6);
    let mut length = 0;
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).unwrap();
        if entry.name().unwrap().ends_with("data.pkl") {
            length = entry.size() as usize;
        }
    }
    let mut refused = 0;
    for position in 0..length {
        for value in [0, b'.', b'R', 0x85, 0xff] {
            rewrite(&golden("kinds.pth"), &path, CompressionMethod::Stored, |name, mut bytes| {
                if name == "data.pkl" {
                    bytes[position] = value;
                }
                Some(bytes)
            });
            match read_checkpoint(&path) {
                Ok(checkpoint) => assert!(checkpoint.weights.len() <= 6),
                Err(e) => {
                    assert!(e.to_string().contains("changed.pth"), "{e}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > length, "{refused} of {}", 5 * length);
}

#[test]
fn a_checkpoint_is_converted_there_and_back_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let spec = small(NetworkKind::PlainConvUNet, 2);
    let mut read = TrainingCheckpoint::read(&golden("plain2d.pth")).unwrap();
    // All but one weight have momentum, as all but the lowest head do in nnU-Net's trainings.
    read.optimiser =
        read.weights.iter().skip(1).map(|(n, t)| (format!("momentum.{n}"), (t * 0.5).unwrap())).collect();
    assert_eq!(
        read.weights.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        plain().names().iter().collect::<Vec<_>>()
    );
    assert_eq!(read.entries["logging"]["lrs"], serde_json::json!([0.01]));
    assert_eq!((&read.entries["_best_ema"], &read.entries["current_epoch"]), (&0.5.into(), &1.into()));

    let ours = folder.path().join("checkpoint_final.safetensors");
    read.write_safetensors(&ours).unwrap();
    let theirs = folder.path().join("checkpoint_final.pth");
    TrainingCheckpoint::read(&ours).unwrap().write_pth(&theirs, &spec).unwrap();
    let back = TrainingCheckpoint::read(&theirs).unwrap();
    let lists = |c: &TrainingCheckpoint| {
        let list = |tensors: &[(String, Tensor)]| {
            tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect::<Vec<_>>()
        };
        (list(&c.weights), list(&c.optimiser))
    };
    assert_eq!(lists(&back), lists(&read));
    for key in ["logging", "_best_ema", "current_epoch"] {
        assert_eq!(back.entries[key], read.entries[key], "{key}");
    }
    assert_eq!((&back.trainer_name, &back.configuration), (&"nnUNetTrainer".to_owned(), &"2d".to_owned()));
    assert_eq!(back.mirror_axes, Some(vec![0, 1]));
    let checkpoint = read_checkpoint(&theirs).unwrap();
    let loaded = plain();
    loaded.load_checkpoint(&checkpoint).unwrap();
    // Another network's weights are refused by name.
    let mut deeper = spec;
    deeper.encoder_convs[0] = 1;
    let error = read.write_pth(&folder.path().join("x.pth"), &deeper).unwrap_err().to_string();
    assert!(error.contains("encoder.stages.0.0.convs.1"), "{error}");
    assert!(!folder.path().join("x.pth").exists());
}

/// The means of Adam after gradients of 1, 2 and 1, as PyTorch writes them, and there and back.
#[test]
fn the_means_of_adam_are_read_and_written_with_their_steps() {
    let read = TrainingCheckpoint::read(&golden("adam.pth")).unwrap();
    assert_eq!(read.steps, 3);
    let expected = [("exp_avg", 0.361), ("exp_avg_sq", 0.005_994_001), ("max_exp_avg_sq", 0.005_994_001)];
    let mut found = read.optimiser.iter();
    for (weight, columns) in [("decoder.seg_layers.0.weight", 1), ("decoder.seg_layers.1.weight", 2)] {
        for (buffer, expected) in expected {
            let (name, tensor) = found.next().unwrap();
            assert_eq!((name, tensor.dims()), (&format!("{buffer}.{weight}"), &[2, columns][..]));
            assert!(values(tensor).iter().all(|v| (v - expected).abs() < 1e-7), "{name}: {tensor}");
        }
    }
    // The third weight never had a gradient.
    assert!(found.next().is_none());

    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("a.safetensors"), folder.path().join("checkpoint_final.pth"));
    let mut whole = TrainingCheckpoint::read(&golden("plain2d.pth")).unwrap();
    whole.trainer_name = "nnUNetTrainerVanillaAdam".to_owned();
    whole.steps = 7;
    whole.optimiser = whole
        .weights
        .iter()
        .flat_map(|(name, tensor)| {
            ["exp_avg", "exp_avg_sq"].map(|buffer| (format!("{buffer}.{name}"), tensor.clone()))
        })
        .collect();
    whole.write_safetensors(&ours).unwrap();
    let again = TrainingCheckpoint::read(&ours).unwrap();
    again.write_pth(&theirs, &small(NetworkKind::PlainConvUNet, 2)).unwrap();
    let back = TrainingCheckpoint::read(&theirs).unwrap();
    assert_eq!((again.steps, back.steps), (7, 7));
    let list = |c: &TrainingCheckpoint| {
        c.optimiser.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect::<Vec<_>>()
    };
    assert_eq!(list(&back), list(&whole));
    let mut bytes = Vec::new();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&theirs).unwrap()).unwrap();
    archive.by_name("checkpoint_final/data.pkl").unwrap().read_to_end(&mut bytes).unwrap();
    let root = read_plain(&bytes).unwrap();
    let Some(Plain::List(groups)) = root.get("optimizer_state").and_then(|state| state.get("param_groups"))
    else {
        panic!("no groups")
    };
    for (key, value) in [("amsgrad", false), ("decoupled_weight_decay", false)] {
        assert_eq!(groups[0].get(key), Some(&Plain::Bool(value)), "{key}");
    }
    assert_eq!(groups[0].get("lr"), Some(&Plain::Float(0.01)));
}

#[test]
fn written_checkpoints_have_the_names_of_pytorch_in_its_order() {
    let text = std::fs::read_to_string(golden("networks.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint_final.pth");
    for (name, kind, dims) in [
        ("plain2d", NetworkKind::PlainConvUNet, 2),
        ("plain3d", NetworkKind::PlainConvUNet, 3),
        ("residual2d", NetworkKind::ResidualEncoderUNet, 2),
        ("residual3d", NetworkKind::ResidualEncoderUNet, 3),
    ] {
        let spec = small(kind, dims);
        let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
        let checkpoint = TrainingCheckpoint {
            weights: parameters.to_map().into_iter().collect(),
            optimiser: Vec::new(),
            steps: 0,
            trainer_name: "nnUNetTrainer".to_owned(),
            configuration: "x".to_owned(),
            mirror_axes: None,
            entries: serde_json::Map::new(),
        };
        checkpoint.write_pth(&path, &spec).unwrap();
        let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("checkpoint_final/data.pkl").unwrap().read_to_end(&mut bytes).unwrap();
        let Plain::Dict(weights) = read_plain(&bytes).unwrap().get("network_weights").unwrap().clone() else {
            panic!("no dictionary")
        };
        let keys: Vec<serde_json::Value> = weights.iter().map(|(key, _)| key.to_json()).collect();
        assert_eq!(keys, *all[name]["keys"].as_array().unwrap(), "{name}");
    }
}

#[test]
fn batch_norms_are_converted_there_and_back_with_what_they_have_seen() {
    let standard = small(NetworkKind::PlainConvUNet, 2);
    let blocks = Blocks {
        norm: NormKind::Batch { momentum: 0.1 },
        ..Blocks::standard(NetworkKind::PlainConvUNet, 3, Some(Activation::LeakyRelu(0.01)))
    };
    let spec = NetworkSpec { blocks: Some(blocks), ..standard };
    let mut read = TrainingCheckpoint::read(&golden("../blocks/batch_norm.pth")).unwrap();
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    let momentum = |name: &String| (format!("momentum.{name}"), parameters.to_map()[name].clone());
    read.optimiser = parameters.names().iter().map(momentum).collect();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("a.safetensors"), folder.path().join("checkpoint_final.pth"));
    read.write_safetensors(&ours).unwrap();
    TrainingCheckpoint::read(&ours).unwrap().write_pth(&theirs, &spec).unwrap();
    let back = TrainingCheckpoint::read(&theirs).unwrap();
    // The optimiser numbers what is trained alone.
    assert_eq!(back.optimiser.len(), read.optimiser.len());
    for ((name, tensor), (expected, values_before)) in back.optimiser.iter().zip(&read.optimiser) {
        assert_eq!((name, values(tensor)), (expected, values(values_before)));
    }
    let find = |list: &[(String, Tensor)], name: &str| {
        values(&list.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}")).1)
    };
    for (name, tensor) in &read.weights {
        assert_eq!(find(&back.weights, name), values(tensor), "{name}");
    }
    // All names of PyTorch, in its order.
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&theirs).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name("checkpoint_final/data.pkl").unwrap().read_to_end(&mut bytes).unwrap();
    let Plain::Dict(weights) = read_plain(&bytes).unwrap().get("network_weights").unwrap().clone() else {
        panic!("no dictionary")
    };
    let keys: Vec<serde_json::Value> = weights.iter().map(|(key, _)| key.to_json()).collect();
    let golden = common::golden_json("../blocks/blocks.json");
    assert_eq!(keys, *golden["network_batch_norm_plain"]["keys"].as_array().unwrap());
    // nnU-Net has no network of other parts.
    let mut other = spec;
    other.kind = NetworkKind::Composed;
    let error = read.write_pth(&folder.path().join("x.pth"), &other).unwrap_err().to_string();
    assert!(error.contains("Composed") && error.contains("safetensors"), "{error}");
}

#[test]
fn bytes_in_memory_are_checkpoints_on_disk() {
    let path = golden("plain2d.pth");
    let disk = read_checkpoint(&path).unwrap();
    let memory = nnunet_nn::checkpoint_from_bytes(&path, std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(memory.configuration, disk.configuration);
    assert_eq!(memory.mirror_axes, disk.mirror_axes);
    assert_eq!(memory.weights.len(), disk.weights.len());
    for (name, weight) in &disk.weights {
        let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&memory.weights[name]), values(weight), "{name}");
    }
}
