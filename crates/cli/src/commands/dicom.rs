//! DICOM series, DICOM SEG and RT Structure Set files.

use std::path::Path;

use anyhow::{Result, bail};
use nnunet::image::{DicomFolder, DicomSelector, RoiOverlap, is_dicom_rtstruct};

use crate::args::{DicomCommand, DicomSourceArgs, Overlap, SegmentationArgs};

pub(crate) fn dicom(command: &DicomCommand) -> Result<()> {
    match command {
        DicomCommand::List { folder } => {
            let DicomFolder { series, broken } = DicomFolder::read_below(folder)?;
            for found in series {
                let number = found.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
                let (modality, description) = (&found.modality, &found.description);
                println!("{number}\t{modality}\t{description}\t{}\t{}", found.files.len(), found.uid);
            }
            for (_, error) in &broken {
                eprintln!("error: {error}");
            }
            if !broken.is_empty() {
                bail!("{} files cannot be read", broken.len());
            }
        }
        DicomCommand::Convert { source, output } => {
            nnunet::dicom_to_image(&source.source, series(source).as_ref(), output)?;
        }
        DicomCommand::Seg(args) => describe(args, nnunet::labels_to_seg)?,
        DicomCommand::Rtstruct(args) => describe(args, nnunet::labels_to_structures)?,
        DicomCommand::Labels { seg, source, dataset_json, roi, overlap, output } => {
            let series = series(source);
            let (place, dataset) = ((source.source.as_path(), series.as_ref()), dataset_json.as_deref());
            if !is_dicom_rtstruct(seg)? {
                if !roi.is_empty() {
                    bail!("--roi: {} is no RT Structure Set", seg.display());
                }
                return Ok(nnunet::seg_to_labels(seg, Some(place), dataset, output)?);
            }
            let rois = roi.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
            let overlap = match overlap {
                Overlap::Refuse => RoiOverlap::Refuse,
                Overlap::First => RoiOverlap::First,
                Overlap::Last => RoiOverlap::Last,
            };
            let left_out = nnunet::structures_to_labels(seg, place, &rois, dataset, overlap, output)?;
            if !left_out.is_empty() {
                eprintln!("left out: {}", left_out.join(", "));
            }
        }
    }
    Ok(())
}

fn series(source: &DicomSourceArgs) -> Option<DicomSelector> {
    source.series.clone().map(DicomSelector)
}

/// Labels, folder of the series, the series, `dataset.json`, mapping file, output.
type Write = fn(
    &Path,
    &Path,
    Option<&DicomSelector>,
    Option<&Path>,
    Option<&Path>,
    &Path,
) -> Result<(), nnunet::Error>;

/// Writes a segmentation as a file about its series.
fn describe(args: &SegmentationArgs, write: Write) -> Result<()> {
    let SegmentationArgs { labels, source, codes, dataset_json, output } = args;
    let (dataset, codes) = (dataset_json.as_deref(), codes.as_deref());
    Ok(write(labels, &source.source, series(source).as_ref(), dataset, codes, output)?)
}
