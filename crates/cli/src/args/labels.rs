//! Arguments of the commands that tell and show what is in label files.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct StatisticsArgs {
    /// Label files, or folders of them
    #[arg(required = true, value_name = "LABELS")]
    pub(crate) labels: Vec<PathBuf>,
    /// Image of the label file, one file per channel
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "images")]
    pub(crate) image: Vec<PathBuf>,
    /// Folder of images: CASE_0000.nii.gz, CASE_0001.nii.gz, … for the label file CASE.nii.gz
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// dataset.json that names labels, regions and channels [default: that of the folder of label files]
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: Option<PathBuf>,
    /// Write the statistics as JSON
    #[arg(short, long, value_name = "FILE", required_unless_present = "csv")]
    pub(crate) output: Option<PathBuf>,
    /// Write the statistics as CSV, one row per case and label
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Its labels
    #[arg(value_name = "LABELS")]
    pub(crate) labels: PathBuf,
    /// The picture
    #[arg(short, long, value_name = "FILE.png")]
    pub(crate) output: PathBuf,
    /// dataset.json that names the labels, for --codes
    #[arg(long, value_name = "FILE", requires = "codes")]
    pub(crate) dataset_json: Option<PathBuf>,
    /// Mapping file with colours to use instead of the default ones
    #[arg(long, value_name = "FILE", requires = "dataset_json")]
    pub(crate) codes: Option<PathBuf>,
    /// Pixels of the volume's longest side
    #[arg(long, value_name = "N", default_value_t = 384, value_parser = clap::value_parser!(u16).range(16..=4096))]
    pub(crate) size: u16,
}

#[derive(Debug, Args)]
pub(crate) struct ColoursArgs {
    /// dataset.json that names the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: PathBuf,
    /// Mapping file: names, coded terms and colours of labels
    #[arg(long, value_name = "FILE")]
    pub(crate) codes: Option<PathBuf>,
    /// What the files are called before their endings .label, .ctbl, .mitklabel.json and .labels.json
    #[arg(short, long, value_name = "PREFIX", required_unless_present = "embed")]
    pub(crate) output: Option<PathBuf>,
    /// Keep names, colours and codes in these NIfTI files, or in those of these folders, as a header extension
    #[arg(long, num_args = 1.., value_name = "FILE|DIR")]
    pub(crate) embed: Vec<PathBuf>,
}
