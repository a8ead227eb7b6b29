//! Tables of labels inside the NIfTI files that hold the labels.

use std::path::Path;

use nnunet_image::{NiftiExtension, nifti_extensions, set_nifti_extensions};
use serde::{Deserialize, Serialize};

use super::LabelTable;
use crate::Error;

/// The text of the extension: a JSON object with this one key.
#[derive(Serialize, Deserialize)]
struct Embedded {
    nnunet: LabelTable,
}

/// Keeps a table in a NIfTI file, as a header extension of plain text (code 6): `{"nnunet": TABLE}`, the table as in
/// `PREFIX.labels.json`. It takes the place of one that is there already; other extensions, header and voxels stay as they are.
///
/// # Errors
/// A file that is not NIfTI or cannot be written.
pub fn embed_label_table(path: &Path, table: &LabelTable) -> Result<(), Error> {
    let mut extensions = nifti_extensions(path)?;
    extensions.retain(|extension| table_of(extension).is_none());
    let text = serde_json::to_string(&Embedded { nnunet: table.clone() })
        .map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))?;
    extensions.push(NiftiExtension::comment(&text));
    Ok(set_nifti_extensions(path, &extensions)?)
}

/// The table in a NIfTI file, if there is one.
///
/// # Errors
/// A file that is not NIfTI, or whose extensions are broken.
pub fn embedded_label_table(path: &Path) -> Result<Option<LabelTable>, Error> {
    Ok(nifti_extensions(path)?.iter().find_map(table_of))
}

fn table_of(extension: &NiftiExtension) -> Option<LabelTable> {
    serde_json::from_str::<Embedded>(extension.text()?).ok().map(|found| found.nnunet)
}
