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
    Seg {
        /// The segmentation, with the voxels of the series
        #[arg(value_name = "LABELS")]
        labels: PathBuf,
        #[command(flatten)]
        source: DicomSourceArgs,
        /// Mapping file: names, coded terms and colours of labels
        #[arg(long, value_name = "FILE")]
        codes: Option<PathBuf>,
        /// dataset.json that names the labels
        #[arg(long, value_name = "FILE")]
        dataset_json: Option<PathBuf>,
        /// The DICOM SEG file to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Convert a DICOM SEG file to a segmentation, to train with for instance
    Labels {
        /// The DICOM SEG file
        #[arg(value_name = "SEG")]
        seg: PathBuf,
        #[command(flatten)]
        source: DicomSourceArgs,
        /// dataset.json that gives each segment name its label [default: segment numbers]
        #[arg(long, value_name = "FILE")]
        dataset_json: Option<PathBuf>,
        /// The segmentation to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
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
