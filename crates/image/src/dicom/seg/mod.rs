//! DICOM SEG files, written and read.

mod labels;
mod read;
mod write;

pub use read::{DicomSeg, read_dicom_seg};
pub use write::{
    SegOptions, dicom_seg_step, write_dicom_seg, write_dicom_seg_fractional, write_dicom_seg_steps,
};

/// Segmentation Storage.
const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// Label Map Segmentation Storage.
const LABEL_MAP: &str = "1.2.840.10008.5.1.4.1.1.66.7";
