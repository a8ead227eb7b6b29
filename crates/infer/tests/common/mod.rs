//! A small model on disk, and where the test data lie.

#![allow(dead_code)] // Each test file uses its share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use nnunet_nn::{Parameters, weights::write_safetensors};
use nnunet_plan::Plans;

pub fn test_data() -> Option<PathBuf> {
    let data = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: NNUNET_TEST_DATA is not set");
    }
    data
}

/// `dataset.json` of one channel and two foreground labels.
pub const DATASET: &str = r#"{
    "channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1, "b": 2},
    "numTraining": 3, "file_ending": ".nii.gz"
}"#;

/// Plans of a two-stage network with a patch of 8 voxels, transposing the axes.
pub const PLANS: &str = r#"{
    "dataset_name": "Dataset001_Small", "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [1.0, 1.0, 1.0], "original_median_shape_after_transp": [12, 12, 12],
    "image_reader_writer": "SimpleITKIO", "transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0],
    "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {},
    "configurations": {"3d_fullres": {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [8, 8, 8], "median_image_size_in_voxels": [12.0, 12.0, 12.0], "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [false],
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

/// Copies `dataset.json` and `plans.json` to a folder.
pub fn write_descriptions(folder: &Path) {
    std::fs::write(folder.join("dataset.json"), DATASET).unwrap();
    std::fs::write(folder.join("plans.json"), PLANS).unwrap();
}

/// A whole model folder with a fresh network per fold, different from fold to fold.
pub fn write_model(folder: &Path, folds: u64) {
    write_descriptions(folder);
    let plans = Plans::read(&folder.join("plans.json")).unwrap();
    let spec = plans.configuration("3d_fullres").unwrap().architecture.resolve().unwrap();
    for fold in 0..folds {
        let parameters = Parameters::new(&spec, 1, 3, fold, &Device::Cpu).unwrap();
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
        let fold = folder.join(format!("fold_{fold}"));
        std::fs::create_dir(&fold).unwrap();
        write_safetensors(&fold.join("checkpoint_final.safetensors"), &tensors, &metadata).unwrap();
    }
}

/// Replaces the network of the plans in a folder, and writes a fresh network of it as the only fold; its weights.
pub fn write_model_of(
    folder: &Path,
    architecture: &nnunet_plan::Architecture,
    trainer: &str,
) -> (nnunet_plan::NetworkSpec, Parameters) {
    write_descriptions(folder);
    let path = folder.join("plans.json");
    let mut plans = Plans::read(&path).unwrap();
    plans.configurations["3d_fullres"]["architecture"] = serde_json::to_value(architecture).unwrap();
    plans.write(&path).unwrap();
    let spec = architecture.for_trainer(trainer).unwrap().resolve().unwrap();
    let parameters = Parameters::new(&spec, 1, 3, 5, &Device::Cpu).unwrap();
    let named =
        |(name, var): (&str, &candle_core::Var)| (format!("network.{name}"), var.as_detached_tensor());
    let tensors: Vec<_> = parameters.state().map(named).collect();
    let metadata: HashMap<String, String> = [
        ("format", "nnunet-1"),
        ("trainer_name", trainer),
        ("configuration", "3d_fullres"),
        ("inference_allowed_mirroring_axes", "null"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    std::fs::create_dir(folder.join("fold_0")).unwrap();
    write_safetensors(&folder.join("fold_0/checkpoint_final.safetensors"), &tensors, &metadata).unwrap();
    (spec, parameters)
}
