//! Other layouts to nnU-Net's.

use anyhow::Result;
use nnunet::Folders;

use crate::args::ConvertMsdArgs;
use crate::ui::Ui;

pub(crate) fn convert_msd(args: &ConvertMsdArgs, folders: &Folders, ui: Ui) -> Result<()> {
    let stage = ui.stage("convert");
    let folder =
        nnunet::convert_msd(&args.folder, folders, args.overwrite_id, &|progress| stage.update(progress))?;
    stage.finish();
    println!("{}", folder.display());
    Ok(())
}
