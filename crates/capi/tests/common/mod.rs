//! A small model on disk and an image.

#![allow(dead_code)] // Each test file uses its share.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use ndarray::Array4;
use nnunet_nn::{Parameters, weights::write_safetensors};
use nnunet_plan::Plans;

/// `dataset.json` of one channel and two foreground labels.
pub const DATASET: &str = r#"{
    "channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1, "b": 2},
    "numTraining": 3, "file_ending": ".nii.gz"
}"#;

/// Plans of a two-stage network with a patch of 16 voxels.
pub const PLANS: &str = r#"{
    "dataset_name": "Dataset001_Small", "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [2.0, 1.0, 1.0], "original_median_shape_after_transp": [12, 20, 18],
    "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {},
    "configurations": {"3d_fullres": {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [8, 16, 16], "median_image_size_in_voxels": [12.0, 20.0, 18.0], "spacing": [2.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [false],
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
        "resampling_fn_seg_kwargs": {"is_seg": true, "order": 1, "order_z": 0, "force_separate_z": null},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": false, "order": 1, "order_z": 0, "force_separate_z": null},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2, "features_per_stage": [8, 16], "conv_op": "torch.nn.modules.conv.Conv3d",
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

/// A model folder of one fold with fresh weights.
pub fn write_model(folder: &Path) {
    std::fs::create_dir_all(folder.join("fold_0")).unwrap();
    std::fs::write(folder.join("dataset.json"), DATASET).unwrap();
    std::fs::write(folder.join("plans.json"), PLANS).unwrap();
    let plans = Plans::read(&folder.join("plans.json")).unwrap();
    let spec = plans.configuration("3d_fullres").unwrap().architecture.resolve().unwrap();
    let parameters = Parameters::new(&spec, 1, 3, 7, &Device::Cpu).unwrap();
    let named = |(name, tensor)| (format!("network.{name}"), tensor);
    let tensors: Vec<_> = parameters.to_map().into_iter().map(named).collect();
    let metadata: HashMap<String, String> = [
        ("format", "nnunet-1"),
        ("trainer_name", "nnUNetTrainer"),
        ("configuration", "3d_fullres"),
        ("inference_allowed_mirroring_axes", "[0, 1, 2]"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    write_safetensors(&folder.join("fold_0/checkpoint_final.safetensors"), &tensors, &metadata).unwrap();
}

/// Smooth waves with a grain.
pub fn image() -> Array4<f32> {
    Array4::from_shape_fn((1, 12, 20, 18), |(_, z, y, x)| {
        let wave = (0.5 * z as f32).sin() + (0.4 * y as f32).cos() * (0.3 * x as f32).sin();
        10.0 * wave + ((z * 37 + y * 17 + x * 29) % 11) as f32 / 5.0
    })
}
