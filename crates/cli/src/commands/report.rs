//! A page about trained models.

use anyhow::Result;
use nnunet::{Folders, ReportRequest};

use crate::args::ReportArgs;
use crate::ui::Ui;

pub(crate) fn report(args: &ReportArgs, folders: &Folders, ui: Ui) -> Result<()> {
    let request =
        ReportRequest { results: args.folder.clone(), folders: folders.clone(), overlays: args.overlays };
    let content = nnunet::report(&request, &args.output)?;
    for line in &content.left_out {
        ui.say(line);
    }
    ui.detail(&format!(
        "{} data sets, {} models, {} folds, {} pictures",
        content.datasets, content.models, content.folds, content.overlays
    ));
    println!("{}", args.output.display());
    Ok(())
}
