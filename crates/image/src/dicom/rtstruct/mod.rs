//! RT Structure Set files, written and read.

mod outline;
mod raster;
mod read;
mod structures;
mod write;

pub use read::{is_dicom_rtstruct, read_dicom_rtstruct};
pub use structures::{DicomRoi, DicomStructures, RoiOverlap};
pub use write::write_dicom_rtstruct;

/// RT Structure Set Storage.
const STRUCTURE_SET: &str = "1.2.840.10008.5.1.4.1.1.481.3";
