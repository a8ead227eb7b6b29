//! The names that a weight has in PyTorch's state dictionaries.

/// The first name of a weight.
///
/// State dictionaries list convolutions and norms twice (`conv`, `norm` and `all_modules.N`) and the encoder once more
/// below the decoder; data-parallel training adds `module.`, compiled networks `_orig_mod.`.
pub(crate) fn canonical_name(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    let name = name.strip_prefix("_orig_mod.").unwrap_or(name);
    let name = match name.strip_prefix("decoder.encoder.") {
        Some(rest) => format!("encoder.{rest}"),
        None => name.to_owned(),
    };
    let Some((unit, rest)) = name.split_once(".all_modules.") else { return name };
    match rest.split_once('.') {
        Some(("0", weight)) => format!("{unit}.conv.{weight}"),
        // Behind the convolution comes the norm, or dropout, which has no weights, and then the norm.
        Some(("1" | "2", weight)) => format!("{unit}.norm.{weight}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_lead_to_the_first_name() {
        for (alias, name) in [
            (
                "decoder.encoder.stages.0.0.convs.1.all_modules.0.weight",
                "encoder.stages.0.0.convs.1.conv.weight",
            ),
            ("encoder.stages.0.0.convs.0.all_modules.1.bias", "encoder.stages.0.0.convs.0.norm.bias"),
            ("module.decoder.seg_layers.2.weight", "decoder.seg_layers.2.weight"),
            ("decoder.stages.1.convs.0.conv.bias", "decoder.stages.1.convs.0.conv.bias"),
        ] {
            assert_eq!(canonical_name(alias), name);
        }
    }
}
