//! Configurations written before plans described the network as constructor arguments.

use serde_json::{Map, Value, json};

use crate::PlanError;

/// Adds `architecture` to a configuration that describes its network in the old keys.
pub(crate) fn upgrade(map: &mut Map<String, Value>) -> Result<(), PlanError> {
    let get = |key: &str| {
        map.get(key).cloned().ok_or_else(|| PlanError::key(key, "missing, and there is no architecture"))
    };
    let strides = get("pool_op_kernel_sizes")?;
    let stages = get("n_conv_per_stage_encoder")?.as_array().map_or(0, Vec::len);
    let number = |key: &str| get(key)?.as_u64().ok_or_else(|| PlanError::key(key, "expected a whole number"));
    let (base, most) = (number("UNet_base_num_features")?, number("unet_max_num_features")?);
    let features: Vec<u64> = (0..stages)
        .map(|i| base.saturating_mul(1u64.checked_shl(i as u32).unwrap_or(u64::MAX)).min(most))
        .collect();
    let class = get("UNet_class_name")?;
    let class = class.as_str().unwrap_or_default();
    let (module, encoder_key) = match class {
        "PlainConvUNet" => ("unet", "n_conv_per_stage"),
        "ResidualEncoderUNet" => ("residual_unet", "n_blocks_per_stage"),
        other => {
            let reason = format!("{other:?} is not supported; PlainConvUNet and ResidualEncoderUNet are");
            return Err(PlanError::key("UNet_class_name", reason));
        }
    };
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
        "network_class_name": format!("dynamic_network_architectures.architectures.{module}.{class}"),
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    });
    for key in OLD_KEYS {
        map.shift_remove(key);
    }
    map.insert("architecture".to_owned(), architecture);
    Ok(())
}

/// Keys that `architecture` stands for.
const OLD_KEYS: [&str; 8] = [
    "UNet_class_name",
    "UNet_base_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
    "unet_max_num_features",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn old(class: &str) -> Map<String, Value> {
        let value = json!({
            "UNet_class_name": class, "UNet_base_num_features": 32, "unet_max_num_features": 100,
            "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2], "num_pool_per_axis": [2, 2],
            "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2]], "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3]],
            "patch_size": [64, 64],
        });
        value.as_object().unwrap().clone()
    }

    #[test]
    fn old_keys_become_an_architecture() {
        for (class, key) in
            [("PlainConvUNet", "n_conv_per_stage"), ("ResidualEncoderUNet", "n_blocks_per_stage")]
        {
            let mut map = old(class);
            upgrade(&mut map).unwrap();
            assert!(map.keys().eq(["patch_size", "architecture"]));
            let architecture: crate::Architecture =
                serde_json::from_value(map["architecture"].clone()).unwrap();
            assert_eq!(architecture.arch_kwargs[key], json!([2, 2, 2]));
            let spec = architecture.resolve().unwrap();
            assert_eq!((spec.dims, spec.features), (2, vec![32, 64, 100]));
        }
        assert!(upgrade(&mut old("Generic_UNet")).unwrap_err().to_string().contains("Generic_UNet"));
        let mut without = old("PlainConvUNet");
        without.shift_remove("conv_kernel_sizes");
        assert!(upgrade(&mut without).unwrap_err().to_string().contains("conv_kernel_sizes"));
    }
}
