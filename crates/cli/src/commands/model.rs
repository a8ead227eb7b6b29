//! Models that are shared, and checkpoints of other formats.

use anyhow::{Context, Result, bail};
use nnunet::fingerprint::Fold;
use nnunet::{ExportRequest, Folders};

use crate::args::{ModelCommand, ModelExportArgs};
use crate::commands::project;

pub(crate) fn model(command: &ModelCommand, folders: &Folders) -> Result<()> {
    match command {
        ModelCommand::Export(args) => export(args, folders),
        ModelCommand::Import(args) => {
            let results = folders.results.as_deref();
            let results = results
                .context("the folder of results is not set: give --results DIR or set nnUNet_results")?;
            for folder in nnunet::import_model(&args.archive, results)? {
                println!("{}", folder.display());
            }
            Ok(())
        }
        ModelCommand::Convert(args) => {
            nnunet::convert_checkpoint(&args.checkpoint, &args.output)?;
            println!("{}", args.output.display());
            Ok(())
        }
    }
}

fn export(args: &ModelExportArgs, folders: &Folders) -> Result<()> {
    let mut request = request(args, folders)?;
    request.folds =
        args.folds.iter().map(|fold| Ok(fold.parse::<Fold>()?.folder_name())).collect::<Result<_>>()?;
    request.checkpoints = args.checkpoint.clone();
    request.predictions = args.predictions;
    for name in nnunet::export_model(&request, &args.output)? {
        eprintln!("{name}");
    }
    println!("{}", args.output.display());
    Ok(())
}

/// Which folder to export from.
fn request(args: &ModelExportArgs, folders: &Folders) -> Result<ExportRequest> {
    if let Some(model) = &args.model {
        let model = model.canonicalize().with_context(|| model.display().to_string())?;
        let name = model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = name.split("__").collect();
        let (&[trainer, plans, configuration], Some(results)) = (parts.as_slice(), model.parent()) else {
            bail!("{}: expected a folder named TRAINER__PLANS__CONFIGURATION", model.display());
        };
        let mut request = ExportRequest::new(results);
        (request.trainer, request.plans) = (trainer.to_owned(), plans.to_owned());
        request.configurations = vec![configuration.to_owned()];
        return Ok(request);
    }
    let results = match args.dataset.as_ref().or(args.dataset_option.as_ref()) {
        Some(spec) => project(spec, folders)?.results_folder()?,
        None => only_dataset(folders)?,
    };
    let mut request = ExportRequest::new(&results);
    request.plans.clone_from(&args.plans_name);
    request.configurations.clone_from(&args.configurations);
    Ok(request)
}

fn only_dataset(folders: &Folders) -> Result<std::path::PathBuf> {
    let results = folders.results.as_deref();
    let results =
        results.context("the folder of results is not set: give --results DIR or set nnUNet_results")?;
    let entries = std::fs::read_dir(results).with_context(|| results.display().to_string())?;
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.is_dir() && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("Dataset"))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => bail!("{}: no data set has results there", results.display()),
        (Some(_), false) => {
            bail!("{}: more than one data set has results there; name one", results.display())
        }
    }
}
