//! DICOM series and DICOM SEG files.

use anyhow::Result;
use nnunet::image::{DicomSelector, dicom_series_below};

use crate::args::{DicomCommand, DicomSourceArgs};

pub(crate) fn dicom(command: &DicomCommand) -> Result<()> {
    let series = |source: &DicomSourceArgs| source.series.clone().map(DicomSelector);
    match command {
        DicomCommand::List { folder } => {
            for found in dicom_series_below(folder)? {
                let number = found.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
                let (modality, description) = (&found.modality, &found.description);
                println!("{number}\t{modality}\t{description}\t{}\t{}", found.files.len(), found.uid);
            }
        }
        DicomCommand::Convert { source, output } => {
            nnunet::dicom_to_image(&source.source, series(source).as_ref(), output)?;
        }
        DicomCommand::Seg { labels, source, codes, output } => {
            let series = series(source);
            nnunet::labels_to_seg(labels, &source.source, series.as_ref(), codes.as_deref(), output)?;
        }
        DicomCommand::Labels { seg, source, dataset_json, output } => {
            let series = series(source);
            let place = Some((source.source.as_path(), series.as_ref()));
            nnunet::seg_to_labels(seg, place, dataset_json.as_deref(), output)?;
        }
    }
    Ok(())
}
