//! Checkpoints from one format to the other.

use std::path::Path;

use nnunet_fingerprint::json;
use nnunet_nn::weights::TrainingCheckpoint;
use nnunet_plan::Plans;
use serde_json::Value;

use crate::Error;

/// Converts a checkpoint, `.pth` to `.safetensors` or the other way round, with everything that a training goes on from.
///
/// For `.pth` the plans are needed: those of the model folder that the checkpoint lies in (`../plans.json`), or those
/// that the checkpoint itself carries.
///
/// # Errors
/// A file that cannot be read or written, another ending, no plans, or weights that are not those of the plans' network.
pub fn convert_checkpoint(from: &Path, to: &Path) -> Result<(), Error> {
    let mut checkpoint = TrainingCheckpoint::read(from)?;
    match to.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => Ok(checkpoint.write_safetensors(to)?),
        Some("pth") => {
            let model = from.parent().and_then(Path::parent);
            complete(&mut checkpoint, from, model)?;
            let plans = checkpoint.entries.get("init_args").and_then(|args| args.get("plans")).cloned();
            let plans: Plans = serde_json::from_value(plans.unwrap_or_default()).map_err(|e| {
                Error::Invalid(format!(
                    "{}: no plans.json in the model folder, and no plans in the checkpoint ({e})",
                    from.display()
                ))
            })?;
            let configuration = if checkpoint.configuration.is_empty() {
                only(&plans).ok_or_else(|| {
                    Error::Invalid(format!("{} does not name its configuration", from.display()))
                })?
            } else {
                checkpoint.configuration.clone()
            };
            let architecture = plans.configuration(&configuration)?.architecture;
            let spec = architecture.for_trainer(&checkpoint.trainer_name)?.resolve()?;
            checkpoint.configuration = configuration;
            Ok(checkpoint.write_pth(to, &spec).map_err(|error| error.in_file(from))?)
        }
        _ => Err(Error::Invalid(format!(
            "{}: expected a name that ends in .pth or .safetensors",
            to.display()
        ))),
    }
}

fn only(plans: &Plans) -> Option<String> {
    let mut names = plans.configurations.keys();
    names.next().filter(|_| names.next().is_none()).cloned()
}

/// Fills what nnU-Net expects of `init_args` from the model folder.
fn complete(checkpoint: &mut TrainingCheckpoint, from: &Path, model: Option<&Path>) -> Result<(), Error> {
    let mut args = match checkpoint.entries.remove("init_args") {
        Some(Value::Object(args)) => args,
        _ => serde_json::Map::new(),
    };
    for (key, name) in [("plans", "plans.json"), ("dataset_json", "dataset.json")] {
        let file = model.map(|folder| folder.join(name)).filter(|file| file.is_file());
        if let Some(file) = file {
            args.insert(key.to_owned(), json::read(&file)?);
        }
    }
    let fold = from.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.strip_prefix("fold_"));
    let fold =
        fold.map_or(Value::from(0), |fold| fold.parse::<u32>().map_or_else(|_| fold.into(), Value::from));
    if !args.contains_key("fold") {
        args.insert("fold".to_owned(), fold);
    }
    if checkpoint.trainer_name.is_empty() {
        checkpoint.trainer_name = crate::TRAINER.to_owned();
    }
    checkpoint.entries.insert("init_args".to_owned(), Value::Object(args));
    Ok(())
}
