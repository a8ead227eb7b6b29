//! Export of logits on a grid of 1.5 mm to an image of 0.8 mm in the plane.
//!
//! `cargo run --release -p nnunet-benches --bin export CLASSES [PLANES] [FILE]` draws logits of PLANES × 273 × 273 (400 planes
//! by default) and prints the seconds of the export to PLANES × 512 × 512, and the peak of memory in MB with what of it are
//! the logits. FILE takes the results: `.raw` labels as bytes, `.npz` the probabilities, in bounded memory and with the time
//! of writing. `benches/export.py` times nnU-Net's function on the same.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ndarray::{Array4, ArrayView4};
use nnunet::fingerprint::DatasetJson;
use nnunet::image::npz::Spill;
use nnunet::image::{BoundingBox, Geometry};
use nnunet::infer::{export_logits_channels_last, export_logits_in_slabs};
use nnunet::plan::Plans;
use nnunet::preprocess::CaseProperties;
use serde_json::json;

const GRID: usize = 273;
const IMAGE: usize = 512;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let classes: usize = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let planes: usize = arguments.next().map_or(Ok(400), |n| n.parse())?;
    let file = arguments.next().unwrap_or_default();
    let logits = Array4::from_shape_fn((planes, GRID, GRID, classes), |(z, y, x, c)| {
        let noise = (z * 73 + y * 179 + x * 283 + c * 419) % 1009;
        ((z + y + x) as f32 * 0.02 + c as f32).sin() * 3.0 + noise as f32 / 1009.0
    });
    let labels: serde_json::Map<_, _> = (0..classes)
        .map(|label| (if label == 0 { "background".to_owned() } else { format!("l{label}") }, json!(label)))
        .collect();
    let dataset: DatasetJson = serde_json::from_value(json!({
        "channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"
    }))?;
    let plans: Plans = serde_json::from_str(PLANS)?;
    let configuration = plans.configuration("3d_fullres")?;
    let shape = [planes, IMAGE, IMAGE];
    let spacing = [1.5, 0.8, 0.8];
    let properties = CaseProperties {
        geometry: Geometry { spacing, ..Geometry::default() },
        spacing,
        shape_before_cropping: shape,
        bbox: BoundingBox { start: [0; 3], end: shape },
        shape_after_cropping: shape,
        class_locations: Vec::new(),
    };
    let rules = dataset.label_rules()?;
    let held = logits.len() * 4 / 1_000_000;
    let (begun, processor) = (Instant::now(), processor_seconds()?);
    let labels = if file.ends_with(".npz") {
        let path = Path::new(&file);
        let mut spill = Spill::new(path.parent().unwrap_or(Path::new(".")), classes)?;
        let mut take = |slab: ArrayView4<'_, f32>| {
            let channels = slab.outer_iter().enumerate();
            let values: Vec<_> = channels.filter_map(|(c, values)| Some((c, values.to_slice()?))).collect();
            Ok(spill.push(&values)?)
        };
        let labels = export_logits_in_slabs(logits, &properties, &plans, &configuration, &rules, &mut take)?;
        spill.write_npz(path, "probabilities", &[classes, planes, IMAGE, IMAGE])?;
        labels
    } else {
        export_logits_channels_last(logits, &properties, &plans, &configuration, &rules, false)?.labels
    };
    let (seconds, processor) = (begun.elapsed().as_secs_f64(), processor_seconds()? - processor);
    let sum: i64 = labels.data.iter().map(|&label| i64::from(label)).sum();
    if file.ends_with(".raw") {
        std::fs::write(&file, labels.data.iter().map(|&label| label as u8).collect::<Vec<_>>())?;
    }
    let peak = peak_mb()?;
    println!(
        "{seconds:.2} s, processor time {processor:.2} s, peak {peak} MB, of which logits {held} MB (sum of labels {sum})"
    );
    Ok(())
}

/// Time of all threads, in user mode and in the kernel: fields 14 and 15, in hundredths.
fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    Ok(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

/// Most memory that the process has had.
fn peak_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1000)
}

const PLANS: &str = r#"{
    "dataset_name": "Dataset001_X", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
    "original_median_spacing_after_transp": [1.5, 1.5, 1.5], "original_median_shape_after_transp": [400, 273, 273],
    "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner", "foreground_intensity_properties_per_channel": {},
    "configurations": {"3d_fullres": {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [64, 64, 64], "median_image_size_in_voxels": [400.0, 273.0, 273.0],
        "spacing": [1.5, 1.5, 1.5], "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false],
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
        "resampling_fn_seg_kwargs": {"is_seg": true, "order": 1, "order_z": 0, "force_separate_z": null},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": false, "order": 1, "order_z": 0, "force_separate_z": null},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]],
                "n_conv_per_stage": [2, 2], "n_conv_per_stage_decoder": [2], "conv_bias": true,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": true}, "dropout_op": null, "dropout_op_kwargs": null,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": true}
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]
        },
        "batch_dice": false
    }}
}"#;
