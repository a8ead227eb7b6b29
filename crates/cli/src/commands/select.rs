//! The best of the trained models.

use anyhow::Result;
use nnunet::{Folders, SelectionRequest};

use crate::args::FindBestConfigurationArgs;
use crate::commands::project;
use crate::ui::Ui;

pub(crate) fn find_best_configuration(
    args: &FindBestConfigurationArgs,
    folders: &Folders,
    ui: Ui,
) -> Result<()> {
    let request = SelectionRequest {
        configurations: args.configurations.clone(),
        plans: args.plans_name.clone(),
        folds: args.folds.iter().map(|fold| fold.parse()).collect::<Result<_, _>>()?,
        ensembling: !args.no_ensembling,
        overwrite: !args.no_overwrite,
        ..SelectionRequest::default()
    };
    let stage = ui.stage("ensembles");
    let selection = project(&args.dataset, folders)?.find_best_configuration(
        &request,
        &|line| stage.say(line),
        &|progress| stage.update(progress),
    )?;
    stage.finish();
    for (name, score) in &selection.scores {
        println!("{name}: {score:.4}");
    }
    let [before, after] = selection.score;
    println!("best: {}: {before:.4}, {after:.4} with postprocessing\n", selection.best);
    print!("{}", selection.instructions);
    Ok(())
}
