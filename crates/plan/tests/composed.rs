//! Networks of other parts than nnU-Net's own: keys, errors, presets, memory estimate.

use nnunet_plan::{
    Activation, Architecture, BlockKind, Blocks, DatasetJson, DecoderKind, DownKind, DropoutKind,
    Fingerprint, NetworkKind, NetworkSpec, NormKind, NormSpec, PlannerOptions, Preset, PresetShape, UpKind,
    plan_experiment,
};
use serde_json::{Value, json};

fn standard(changes: Value) -> Architecture {
    let mut kwargs = json!({
        "n_stages": 3, "features_per_stage": [4, 8, 16], "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3], [3, 3], [3, 3]], "strides": [[1, 1], [2, 2], [2, 2]], "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2], "conv_bias": true,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d", "norm_op_kwargs": {"eps": 1e-5, "affine": true},
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": true},
    });
    let map = kwargs.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    let class = if map.remove("composed").is_some() { "nnunet.ComposedUNet" } else { "PlainConvUNet" };
    let arch_kwargs = map.clone();
    Architecture { network_class_name: class.to_owned(), arch_kwargs, kw_requires_import: Vec::new() }
}

fn composed(mut changes: Value) -> Architecture {
    changes["composed"] = true.into();
    standard(changes)
}

fn resolved(architecture: &Architecture) -> NetworkSpec {
    // As a plans file would keep it.
    let text = serde_json::to_string(architecture).unwrap();
    let read: Architecture = serde_json::from_str(&text).unwrap();
    assert_eq!(&read, architecture);
    read.resolve().unwrap()
}

fn blocks(changes: Value) -> Blocks {
    resolved(&composed(changes)).blocks.unwrap()
}

#[test]
fn networks_of_nnunet_have_no_other_parts() {
    let spec = resolved(&standard(json!({})));
    assert!(
        spec.is_standard() && spec.negative_slope == Some(0.01) && spec.kind == NetworkKind::PlainConvUNet
    );
    let parts = Blocks::standard(NetworkKind::PlainConvUNet, 3, Some(Activation::LeakyRelu(0.01)));
    assert_eq!(spec.parts(), parts);
    assert!(resolved(&standard(json!({"nonlin": "torch.nn.ReLU"}))).is_standard());
    let dropped =
        resolved(&standard(json!({"dropout_op": "torch.nn.Dropout2d", "dropout_op_kwargs": {"p": 0.2}})));
    assert!(dropped.is_standard() && dropped.dropout == Some(0.2));
}

#[test]
fn other_norms_and_activations_of_nnunets_networks() {
    let of = |changes: Value| resolved(&standard(changes)).blocks.unwrap();
    let batch =
        json!({"norm_op": "torch.nn.modules.batchnorm.BatchNorm2d", "norm_op_kwargs": {"momentum": 0.2}});
    assert_eq!(of(batch.clone()).norm, NormKind::Batch { momentum: 0.2 });
    assert_eq!(resolved(&standard(batch)).norm, Some(NormSpec { eps: 1e-5, affine: true }));
    let group = json!({"norm_op": "torch.nn.GroupNorm", "norm_op_kwargs": {"num_groups": 2}});
    assert_eq!(of(group).norm, NormKind::Group { groups: 2 });
    let frn = json!({"norm_op": "nnunet.FilterResponseNorm", "norm_op_kwargs": null, "nonlin": "nnunet.TLU"});
    assert_eq!(
        (of(frn.clone()).norm, of(frn.clone()).activation),
        (NormKind::FilterResponse, Some(Activation::Tlu))
    );
    assert_eq!(resolved(&standard(frn)).norm, Some(NormSpec { eps: 1e-6, affine: true }));
    for (class, kind) in
        [("GELU", Activation::Gelu), ("SiLU", Activation::Silu), ("PReLU", Activation::Prelu)]
    {
        assert_eq!(of(json!({"nonlin": class, "nonlin_kwargs": null})).activation, Some(kind));
    }
    let single = json!({"dropout_op": "torch.nn.Dropout", "dropout_op_kwargs": {"p": 0.2}});
    assert_eq!(of(single).dropout, DropoutKind::Value);
}

#[test]
fn keys_of_composed_networks() {
    let found = blocks(json!({
        "encoder_block": "preactivation", "decoder_block": "dense", "decoder": "attention", "down": "max_pool",
        "up": "linear", "dilations": [1, 1, 2], "squeeze_excitation": 4, "growth_rate": 6, "stochastic_depth": 0.25,
    }));
    let expected = Blocks {
        norm: NormKind::Instance,
        activation: Some(Activation::LeakyRelu(0.01)),
        dropout: DropoutKind::Channel,
        encoder: BlockKind::Preactivation,
        decoder: BlockKind::Dense,
        joined: DecoderKind::Attention,
        down: DownKind::MaxPool,
        up: UpKind::Linear,
        dilations: vec![1, 1, 2],
        squeeze_excitation: Some(4),
        growth_rate: 6,
        stochastic_depth: 0.25,
    };
    assert_eq!(found, expected);
    let plain = blocks(json!({}));
    assert_eq!(plain, Blocks::standard(NetworkKind::Composed, 3, Some(Activation::LeakyRelu(0.01))));
    // No decoder stages, so that their number may be missing.
    let aspp = json!({"decoder": "aspp", "aspp_rates": [2, 4], "aspp_channels": 8, "n_conv_per_stage_decoder": null});
    let spec = resolved(&composed(aspp));
    assert_eq!(spec.deep_supervision_scales(), [[1.0; 3]]);
    let nested = resolved(&composed(json!({"decoder": "nested"})));
    assert_eq!(nested.deep_supervision_scales(), [[1.0; 3]; 2]);
}

/// Each is refused with an error that holds two texts.
fn refused(cases: &[(Architecture, [&str; 2])]) {
    for (architecture, expected) in cases {
        let error = architecture.resolve().unwrap_err().to_string();
        assert!(expected.iter().all(|text| error.contains(text)), "{error}; expected {expected:?}");
    }
}

#[test]
fn keys_and_sizes_that_are_unknown_or_impossible_are_named() {
    refused(&[
        (standard(json!({"decoder": "nested"})), ["decoder", "ComposedUNet"]),
        (composed(json!({"attention": true})), ["attention", "encoder_block"]),
        (composed(json!({"encoder_block": "transformer"})), ["encoder_block", "preactivation"]),
        (composed(json!({"decoder": "sum"})), ["decoder", "attention, nested"]),
        (composed(json!({"up": "nearest"})), ["up", "linear"]),
        (composed(json!({"dilations": [1, 1, 0]})), ["dilations", "stage 2"]),
        (composed(json!({"dilations": [1, 1, 2]})), ["dilations", "[1, 2, 2]"]),
        (composed(json!({"dilations": [1, 1]})), ["dilations", "expected 3"]),
        (composed(json!({"features_per_stage": [4, 8]})), ["features_per_stage", "expected 3"]),
        (
            composed(json!({"n_conv_per_stage_decoder": [2, 2, 2]})),
            ["n_conv_per_stage_decoder", "expected 2"],
        ),
        (composed(json!({"encoder_block": "dense", "down": "max_pool"})), ["growth_rate", "missing"]),
        (
            composed(json!({"encoder_block": "dense", "down": "max_pool", "growth_rate": 0})),
            ["growth_rate", "1 to 4096"],
        ),
        (composed(json!({"features_per_stage": [4, 8, 1_000_000]})), ["features_per_stage", "at most 65536"]),
        (composed(json!({"n_conv_per_stage": 1_000_000_000})), ["n_conv_per_stage", "at most 256"]),
        (composed(json!({"kernel_sizes": 4_000_000_000u64})), ["kernel_sizes", "at most 256"]),
    ]);
}

#[test]
fn parts_that_do_not_go_together_are_named() {
    refused(&[
        (composed(json!({"encoder_block": "dense", "growth_rate": 4})), ["down", "max_pool"]),
        (composed(json!({"encoder_block": "vnet"})), ["down", "conv"]),
        (composed(json!({"stochastic_depth": 0.1})), ["stochastic_depth", "residual"]),
        (
            composed(json!({"encoder_block": "residual", "stochastic_depth": 1.0})),
            ["stochastic_depth", "below 1"],
        ),
        (composed(json!({"squeeze_excitation": 0})), ["squeeze_excitation", "at least 1"]),
        (composed(json!({"decoder": "nested", "decoder_block": "vnet"})), ["decoder_block", "nested"]),
        (
            composed(json!({"decoder": "aspp", "aspp_rates": [0], "aspp_channels": 8})),
            ["aspp_rates", "above 0"],
        ),
        (composed(json!({"decoder": "aspp", "aspp_rates": [2]})), ["aspp_channels", "missing"]),
        (composed(json!({"down": "max_pool", "strides": 2})), ["strides", "stage 0"]),
        (composed(json!({"n_stages": 1_000_000_000_000u64})), ["n_stages", "1000000000000"]),
    ]);
}

#[test]
fn norms_and_activations_that_are_not_there_are_named() {
    refused(&[
        (standard(json!({"norm_op": "torch.nn.LayerNorm"})), ["norm_op", "GroupNorm"]),
        (standard(json!({"norm_op": "torch.nn.GroupNorm"})), ["num_groups", "missing"]),
        (
            standard(json!({"norm_op": "torch.nn.GroupNorm", "norm_op_kwargs": {"num_groups": 3}})),
            ["num_groups", "3 groups do not divide 4"],
        ),
        (
            standard(json!({"norm_op": "BatchNorm2d", "norm_op_kwargs": {"momentum": 2}})),
            ["momentum", "0 to 1"],
        ),
        (
            standard(json!({"norm_op": "BatchNorm2d", "norm_op_kwargs": {"track_running_stats": false}})),
            ["track_running_stats", "false"],
        ),
        (standard(json!({"nonlin": "torch.nn.Mish"})), ["nonlin", "SiLU"]),
        (
            standard(json!({"nonlin": "GELU", "nonlin_kwargs": {"approximate": "tanh"}})),
            ["approximate", "none"],
        ),
    ]);
}

const KEYS: [&str; 25] = [
    "n_stages",
    "features_per_stage",
    "conv_op",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
    "encoder_block",
    "decoder_block",
    "decoder",
    "down",
    "up",
    "dilations",
    "squeeze_excitation",
    "growth_rate",
    "stochastic_depth",
    "aspp_rates",
    "aspp_channels",
];

#[test]
fn no_value_of_any_key_panics() {
    let odd = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x.GroupNorm"),
        json!("BatchNorm3d"),
        json!("dense"),
        json!("vnet"),
        json!("aspp"),
        json!("nested"),
        json!([]),
        json!([0]),
        json!([1, 1, 1]),
        json!([[], [], []]),
        json!([u64::MAX, 1, 1]),
        json!({}),
        json!({"num_groups": u64::MAX}),
        json!({"p": "x", "momentum": -1e300, "eps": null}),
    ];
    let mut resolved = 0;
    for key in KEYS {
        for first in &odd {
            for (other, second) in
                [("decoder", json!("aspp")), ("encoder_block", json!("dense")), ("up", json!("linear"))]
            {
                let mut architecture = composed(
                    json!({"down": "conv", "growth_rate": 4, "aspp_rates": [1], "aspp_channels": 2}),
                );
                architecture.arch_kwargs.insert(other.to_owned(), second);
                architecture.arch_kwargs.insert(key.to_owned(), first.clone());
                if let Ok(spec) = architecture.resolve() {
                    resolved += 1;
                    assert!(
                        spec.feature_map_cost([8, 64, 64], 3) > 0
                            && !spec.deep_supervision_scales().is_empty()
                    );
                    assert!(!spec.describe().is_empty());
                }
            }
        }
    }
    assert!(resolved > 100, "{resolved}");
}

#[test]
fn batch_norms_of_the_trainer_variant() {
    let plain = standard(json!({}));
    assert_eq!(plain.for_trainer("nnUNetTrainer").unwrap(), plain);
    let changed = plain.for_trainer("nnUNetTrainerBN").unwrap();
    assert_eq!(changed.arch_kwargs["norm_op"], json!("torch.nn.modules.batchnorm.BatchNorm2d"));
    assert_eq!(resolved(&changed).blocks.unwrap().norm, NormKind::Batch { momentum: 0.1 });
    let mut without = plain;
    without.arch_kwargs.shift_remove("norm_op");
    assert!(without.for_trainer("nnUNetTrainerBN").unwrap_err().to_string().contains("norm_op"));
}

#[test]
fn presets_have_names_and_resolve_in_both_dimensions() {
    for preset in Preset::all() {
        assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        for dims in [2, 3] {
            let spec = resolved(&preset.published(dims));
            assert_eq!((spec.dims, spec.features.as_slice()), (dims, preset.published_features()));
            assert!(!spec.is_standard(), "{preset:?}");
            let small = PresetShape::even(dims, &preset.features(3, 16), preset.kernel());
            assert_eq!(resolved(&preset.architecture(&small)).num_stages(), 3);
        }
    }
    let error = "segformer".parse::<Preset>().unwrap_err().to_string();
    assert!(error.contains("segformer") && error.contains("attention-unet"), "{error}");
    assert_eq!(Preset::VNet.features(7, 100), [16, 32, 64, 100, 100, 100, 100]);
}

#[test]
fn the_planner_plans_every_preset_within_the_memory_target() {
    let dataset: DatasetJson = serde_json::from_value(json!({
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}, "numTraining": 3, "file_ending": ".nii.gz",
    }))
    .unwrap();
    let fingerprint: Fingerprint = serde_json::from_value(json!({
        "foreground_intensity_properties_per_channel": {}, "median_relative_size_after_cropping": 1.0,
        "shapes_after_crop": [[60, 180, 160], [64, 170, 150], [62, 190, 170]],
        "spacings": [[3.0, 1.0, 1.0], [3.0, 1.0, 1.0], [3.0, 1.0, 1.0]],
    }))
    .unwrap();
    let plain = plan_experiment(&fingerprint, &dataset, &PlannerOptions::default()).unwrap();
    for preset in Preset::all() {
        let options = PlannerOptions { preset: Some(preset), ..PlannerOptions::default() };
        let plans = plan_experiment(&fingerprint, &dataset, &options).unwrap();
        assert_eq!(plans.plans_name, format!("nnUNetPlans_{}", preset.name()));
        for (name, budget) in [("2d", 85e6 * 6.0), ("3d_fullres", 560e6)] {
            let configuration = plans.configuration(name).unwrap();
            // Preprocessing does not depend on the network.
            let expected = plain.configuration(name).unwrap();
            assert_eq!(configuration.data_identifier, expected.data_identifier);
            assert_eq!(configuration.spacing, expected.spacing);
            let spec = configuration.architecture.resolve().unwrap();
            assert!(!spec.is_standard() && spec.dims == configuration.patch_size.len(), "{name} {preset:?}");
            let patch = configuration.patch_3d();
            let cost = spec.feature_map_cost(patch, 2) as f64;
            assert!(cost <= budget, "{name} {preset:?}: {cost} for a patch of {patch:?}");
            for axis in 0..3 {
                let divisor: usize = spec.strides.iter().map(|stride| stride[axis]).product();
                assert!(patch[axis].is_multiple_of(divisor), "{name} {preset:?}: {patch:?}");
            }
        }
    }
}

#[test]
fn the_memory_estimate_counts_what_convolutions_give_out() {
    let patch = [1, 16, 16];
    // The same parts, the same estimate.
    for (class, kind, key) in [
        ("PlainConvUNet", NetworkKind::PlainConvUNet, "n_conv_per_stage"),
        ("ResidualEncoderUNet", NetworkKind::ResidualEncoderUNet, "n_blocks_per_stage"),
    ] {
        let mut architecture = standard(json!({}));
        architecture.network_class_name = class.to_owned();
        let counts = architecture.arch_kwargs["n_conv_per_stage"].clone();
        architecture.arch_kwargs.insert(key.to_owned(), counts);
        let spec = architecture.resolve().unwrap();
        let parts = NetworkSpec { blocks: Some(Blocks::standard(kind, 3, None)), ..spec.clone() };
        assert_eq!(parts.feature_map_cost(patch, 3), spec.feature_map_cost(patch, 3), "{class}");
    }
    let cost = |changes: Value| composed(changes).resolve().unwrap().feature_map_cost(patch, 3);
    // Encoder 2·(4·256 + 8·64 + 16·16), three nodes of an up-convolution and two convolutions, heads 3·256.
    let encoder = 2 * (4 * 256 + 8 * 64 + 16 * 16);
    assert_eq!(cost(json!({"decoder": "nested"})), encoder + 3 * (2 * 4 * 256 + 8 * 64) + 3 * 256);
    // Gates: θ and φ with half the channels, ψ with one, in the resolution below.
    let decoder = 3 * (4 * 256 + 8 * 64) + 3 * 256;
    assert_eq!(
        cost(json!({"decoder": "attention"})),
        encoder + decoder + (2 * 2 + 1) * 64 + (2 * 4 + 1) * 16
    );
    // Two rates, a 1×1 branch and what joins them, at the lowest resolution; the head there and interpolated.
    let aspp = json!({"decoder": "aspp", "aspp_rates": [2, 4], "aspp_channels": 8});
    assert_eq!(cost(aspp), encoder + 4 * 8 * 16 + 3 * (16 + 256));
    // A stem, two layers of 6 and a transition per block.
    let dense = json!({"encoder_block": "dense", "growth_rate": 6, "down": "max_pool"});
    let blocks = (12 + 4) * 256 + (12 + 8) * 64 + (12 + 16) * 16;
    assert_eq!(cost(dense), 4 * 256 + blocks + decoder);
}
