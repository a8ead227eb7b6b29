//! Configurations written before plans described the network as constructor arguments.

use serde_json::{Map, Value, json};

use crate::PlanError;

/// Adds `architecture` to a configuration that describes its network in the old keys.
pub(crate) fn upgrade(map: &mut Map<String, Value>) -> Result<(), PlanError> {
    let get = |key: &str| {
        map.get(key).cloned().ok_or_else(|| PlanError::key(key, "missing, and there is no architecture"))
    };
    let strides = get("pool_op_kernel_sizes")?;
    let stages = strides.as_array().map_or(0, Vec::len);
    let number = |key: &str| get(key)?.as_u64().ok_or_else(|| PlanError::key(key, "expected a whole number"));
    let (base, most) = (number("UNet_base_num_features")?, number("unet_max_num_features")?);
    let features: Vec<u64> = (0..stages)
        .map(|i| base.saturating_mul(1u64.checked_shl(i as u32).unwrap_or(u64::MAX)).min(most))
        .collect();
    let class = get("UNet_class_name")?;
    let class = class.as_str().unwrap_or_default();
    let encoder_key = if class == "PlainConvUNet" { "n_conv_per_stage" } else { "n_blocks_per_stage" };
    let dims = map.get("patch_size").and_then(Value::as_array).map_or(3, Vec::len);
    let mut kwargs = json!({
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": format!("torch.nn.modules.conv.Conv{dims}d"),
        "kernel_sizes": get("conv_kernel_sizes")?,
        "strides": strides,
        "n_conv_per_stage_decoder": get("n_conv_per_stage_decoder")?,
        "conv_bias": true,
        "norm_op": format!("torch.nn.modules.instancenorm.InstanceNorm{dims}d"),
        "norm_op_kwargs": {"eps": 1e-5, "affine": true},
        "dropout_op": null,
        "dropout_op_kwargs": null,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": true},
    });
    kwargs[encoder_key] = get("n_conv_per_stage_encoder")?;
    let architecture = json!({
        "network_class_name": format!("dynamic_network_architectures.architectures.unet.{class}"),
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    });
    map.insert("architecture".to_owned(), architecture);
    Ok(())
}
