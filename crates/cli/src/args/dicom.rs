//! The arguments about DICOM.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Files about DICOM series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// CASE.nii.gz
    Nifti,
    /// CASE.dcm, a DICOM SEG file
    DicomSeg,
    /// CASE_rtstruct.dcm, contours as an RT Structure Set
    Rtstruct,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DicomCommand {
    /// List the series of a folder and of those below: number, modality, description, files, UID
    List {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Convert a series to an image
    Convert {
        #[command(flatten)]
        source: DicomSourceArgs,
        /// The image to write, .nii.gz or another ending
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write a segmentation as DICOM SEG
    Seg(SegmentationArgs),
    /// Write a segmentation as contours, an RT Structure Set
    Rtstruct(SegmentationArgs),
    /// Convert a DICOM SEG or RT Structure Set file to a segmentation, to train with for instance
    Labels {
        /// The DICOM SEG or RT Structure Set file
        #[arg(value_name = "FILE")]
        seg: PathBuf,
        #[command(flatten)]
        source: DicomSourceArgs,
        /// dataset.json that gives each segment or region name its label [default: their numbers]
        #[arg(long, value_name = "FILE")]
        dataset_json: Option<PathBuf>,
        /// RT Structure Set: the regions of interest to draw, NAME or NAME=LABEL (`*`: any letters) [default: all]
        #[arg(long, value_name = "ROI", num_args = 1.., conflicts_with = "dataset_json")]
        roi: Vec<String>,
        /// RT Structure Set: what becomes of voxels in several regions
        #[arg(long, value_enum, default_value_t = Overlap::Refuse)]
        overlap: Overlap,
        /// The segmentation to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// What becomes of voxels in several regions of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlap {
    /// They are an error
    Refuse,
    /// They belong to the first region
    First,
    /// They belong to the last region
    Last,
}

/// A segmentation that becomes a DICOM file about a series.
#[derive(Debug, Args)]
pub(crate) struct SegmentationArgs {
    /// The segmentation, with the voxels of the series
    #[arg(value_name = "LABELS")]
    pub(crate) labels: PathBuf,
    #[command(flatten)]
    pub(crate) source: DicomSourceArgs,
    /// Mapping file: names, coded terms and colours of labels
    #[arg(long, value_name = "FILE")]
    pub(crate) codes: Option<PathBuf>,
    /// dataset.json that names the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: Option<PathBuf>,
    /// The DICOM file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DicomSourceArgs {
    /// Folder with the series, itself or below
    #[arg(long, value_name = "DIR")]
    pub(crate) source: PathBuf,
    /// The series by UID, number or description (`*`: any letters) [default: the only one]
    #[arg(long, value_name = "SERIES")]
    pub(crate) series: Option<String>,
}
