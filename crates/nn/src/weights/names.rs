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

/// Whether a name is that of values which a network keeps without training them.
pub(crate) fn is_kept(name: &str) -> bool {
    [".running_mean", ".running_var", COUNT].iter().any(|end| name.ends_with(end))
}

/// End of the name under which PyTorch's batch norms count batches; it only matters to averages that are not running ones.
pub(crate) const COUNT: &str = ".num_batches_tracked";

/// All names of the weights `names` (first names, in order), each with the number of its weight, in the order of PyTorch.
///
/// `dropout`: between convolution and norm lies dropout, except in the second half of residual blocks and in their skips.
pub(crate) fn state_names(names: &[String], dropout: bool) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    let mut rest: &[String] = names;
    let unit = |name: &String| {
        let (unit, part) = name.rsplit_once('.').and_then(|(left, _)| left.rsplit_once('.'))?;
        matches!(part, "conv" | "norm").then(|| unit.to_owned())
    };
    while let Some(first) = rest.first() {
        let start = names.len() - rest.len();
        let Some(prefix) = unit(first) else {
            all.push((first.clone(), start));
            rest = &rest[1..];
            continue;
        };
        let count = rest.iter().take_while(|name| unit(name).as_ref() == Some(&prefix)).count();
        let plain = !dropout || prefix.ends_with(".conv2") || prefix.contains(".skip.");
        let norm = if plain { "1" } else { "2" };
        let own = rest[..count].iter().enumerate().map(|(i, name)| (name.clone(), start + i));
        let again = rest[..count].iter().enumerate().map(|(i, name)| {
            let module = name.strip_prefix(&prefix).unwrap_or_default();
            let module = module.replacen(".conv.", ".all_modules.0.", 1);
            let module = module.replacen(".norm.", &format!(".all_modules.{norm}."), 1);
            (format!("{prefix}{module}"), start + i)
        });
        all.extend(own.chain(again));
        rest = &rest[count..];
    }
    let end = all.iter().position(|(name, _)| !name.starts_with("encoder.")).unwrap_or(all.len());
    let below: Vec<_> =
        all[..end].iter().map(|(name, number)| (format!("decoder.{name}"), *number)).collect();
    all.splice(end..end, below);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_unit_are_listed_twice_and_those_of_the_encoder_four_times() {
        let names =
            ["encoder.s.conv.weight", "encoder.s.norm.bias", "decoder.seg_layers.0.bias"].map(str::to_owned);
        let all: Vec<_> = state_names(&names, false);
        let expected = [
            ("encoder.s.conv.weight", 0),
            ("encoder.s.norm.bias", 1),
            ("encoder.s.all_modules.0.weight", 0),
            ("encoder.s.all_modules.1.bias", 1),
            ("decoder.encoder.s.conv.weight", 0),
            ("decoder.encoder.s.norm.bias", 1),
            ("decoder.encoder.s.all_modules.0.weight", 0),
            ("decoder.encoder.s.all_modules.1.bias", 1),
            ("decoder.seg_layers.0.bias", 2),
        ];
        assert_eq!(all, expected.map(|(name, number)| (name.to_owned(), number)));
        assert!(all.iter().all(|(name, number)| canonical_name(name) == names[*number]));
        let skip = ["encoder.b.skip.1.norm.bias", "encoder.b.conv1.norm.bias"].map(str::to_owned);
        let all = state_names(&skip, true);
        assert_eq!(all[1].0, "encoder.b.skip.1.all_modules.1.bias");
        assert_eq!(all[3].0, "encoder.b.conv1.all_modules.2.bias");
    }

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
