//! The command line, as data.

mod dicom;
mod labels;
mod rank;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nnunet::preprocess::StoreFormat;

pub(crate) use dicom::{DicomCommand, DicomSourceArgs, OutputFormat, Overlap, SegmentationArgs};
pub(crate) use labels::{ColoursArgs, PreviewArgs, StatisticsArgs};
pub(crate) use rank::{RankArgs, Score};

/// nnU-Net in Rust: configures, trains and runs a segmentation network for your data set.
#[derive(Debug, Parser)]
#[command(name = "nnunet", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder of raw data sets [default: $nnUNet_raw]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Folders")]
    pub(crate) raw: Option<PathBuf>,
    /// Folder of preprocessed data [default: $nnUNet_preprocessed]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Folders")]
    pub(crate) preprocessed: Option<PathBuf>,
    /// Folder of trained models [default: $nnUNet_results]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Folders")]
    pub(crate) results: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the integrity of data sets; reports all findings at once
    Verify(Datasets),
    /// Extract the fingerprint of data sets
    Fingerprint(FingerprintArgs),
    /// Choose configurations from a fingerprint
    Plan(PlanArgs),
    /// Preprocess all cases of a data set for its configurations
    Preprocess(PreprocessArgs),
    /// Preprocess one case to an .npz file
    PreprocessCase(PreprocessCaseArgs),
    /// Fingerprint, plan and preprocess data sets
    PlanAndPreprocess(PlanAndPreprocessArgs),
    /// Train a fold of a configuration, then validate it
    Train(TrainArgs),
    /// Segment images with a trained model
    Predict(PredictArgs),
    /// Compare predictions with reference segmentations
    Evaluate(EvaluateArgs),
    /// Measure each label: volume, place, intensities
    Statistics(StatisticsArgs),
    /// Draw a segmentation over its image in three planes
    Preview(PreviewArgs),
    /// Write names, colours and codes of labels for ITK-SNAP, 3D Slicer and MITK
    Colours(ColoursArgs),
    /// Rank methods by their summaries, as challenges do
    Rank(RankArgs),
    /// Write one HTML page about trained models: fingerprint, plans, curves, scores, overlays
    Report(ReportArgs),
    /// Average saved probabilities of several models
    Ensemble(EnsembleArgs),
    /// Decide whether to keep only the largest components of predictions
    DeterminePostprocessing(DeterminePostprocessingArgs),
    /// Apply postprocessing to a folder of segmentations
    ApplyPostprocessing(ApplyPostprocessingArgs),
    /// Pick the best configuration or ensemble of a data set
    FindBestConfiguration(FindBestConfigurationArgs),
    /// Share models and convert checkpoints
    #[command(subcommand)]
    Model(ModelCommand),
    /// Convert a Medical Segmentation Decathlon task (TaskNN_Name)
    ConvertMsd(ConvertMsdArgs),
    /// List and convert DICOM series and DICOM SEG files
    #[command(subcommand)]
    Dicom(DicomCommand),
    /// Check every operation of a device against the portable CPU kernels, and measure its speed
    SelfTest(SelfTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SelfTestArgs {
    /// Device: auto, cpu, cuda, cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
pub(crate) struct Datasets {
    /// Data sets: number, DatasetNNN_Name, or path of the folder
    #[arg(required = true, value_name = "DATASET")]
    pub(crate) datasets: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FingerprintArgs {
    #[command(flatten)]
    pub(crate) datasets: Datasets,
    /// Extract the fingerprint anew where there is one already
    #[arg(long)]
    pub(crate) clean: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlannerArgs {
    /// Which planner decides: default, resenc, resenc-m, resenc-l, resenc-xl, no-resampling, torchres,
    /// resenc-l-torchres, resenc-l-torchres-sepz, or the name of the reference's class
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) planner: String,
    /// Plan a published network instead of the planner's: unet, unet-3d, vnet, residual-unet, attention-unet, dense-unet,
    /// unet-plus-plus or deeplab; it runs on the CPU
    #[arg(long, value_name = "NAME")]
    pub(crate) architecture: Option<String>,
    /// Memory target in GB [default: the planner's own]
    #[arg(long, value_name = "GB", value_parser = positive)]
    pub(crate) vram_gb: Option<f64>,
    /// Target spacing in millimetres, in the axis order of the arrays
    #[arg(long, num_args = 3, value_names = ["Z", "Y", "X"], value_parser = positive)]
    pub(crate) target_spacing: Option<Vec<f64>>,
    /// Keep the axis order of the images instead of putting the coarsest axis first
    #[arg(long)]
    pub(crate) suppress_transpose: bool,
    /// Name of the plans [default: the planner's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) plans_name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Data sets: number, DatasetNNN_Name, or path of the folder
    #[arg(value_name = "DATASET", required_unless_present = "dataset_json", conflicts_with = "dataset_json")]
    pub(crate) datasets: Vec<String>,
    #[command(flatten)]
    pub(crate) planner: PlannerArgs,
    /// Plan from this dataset.json, without a data set folder
    #[arg(long, value_name = "FILE", requires = "fingerprint", requires = "output")]
    pub(crate) dataset_json: Option<PathBuf>,
    /// Plan from this dataset_fingerprint.json
    #[arg(long, value_name = "FILE", requires = "dataset_json")]
    pub(crate) fingerprint: Option<PathBuf>,
    /// Where the plans go
    #[arg(short, long, value_name = "FILE", requires = "dataset_json")]
    pub(crate) output: Option<PathBuf>,
    /// Tell for each choice the rule, the numbers that went in, and what would change it
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PreprocessArgs {
    #[command(flatten)]
    pub(crate) datasets: Datasets,
    /// Configurations [default: all of the plans]
    #[arg(short, long, num_args = 1.., value_name = "CONFIG")]
    pub(crate) configurations: Vec<String>,
    /// Name of the plans
    #[arg(long, default_value = "nnUNetPlans", value_name = "NAME")]
    pub(crate) plans_name: String,
    /// How preprocessed arrays are kept: npy (uncompressed, fastest to read) or zarr (compressed, Zarr 3)
    #[arg(long, default_value = "npy", value_name = "FORMAT")]
    pub(crate) store: StoreFormat,
}

#[derive(Debug, Args)]
pub(crate) struct PreprocessCaseArgs {
    /// Plans file
    #[arg(long, value_name = "FILE")]
    pub(crate) plans: PathBuf,
    /// dataset.json
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: PathBuf,
    /// Configuration of the plans
    #[arg(short, long, value_name = "CONFIG")]
    pub(crate) configuration: String,
    /// Segmentation of the case
    #[arg(long, value_name = "FILE")]
    pub(crate) seg: Option<PathBuf>,
    /// The .npz file to write: `data` (c,z,y,x) and, with --seg, `seg` (1,z,y,x)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// One file per channel
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanAndPreprocessArgs {
    #[command(flatten)]
    pub(crate) datasets: Datasets,
    #[command(flatten)]
    pub(crate) planner: PlannerArgs,
    /// Configurations to preprocess [default: all of the plans]
    #[arg(short, long, num_args = 1.., value_name = "CONFIG")]
    pub(crate) configurations: Vec<String>,
    /// Check the integrity of the data set first
    #[arg(long)]
    pub(crate) verify: bool,
    /// Extract the fingerprint anew where there is one already
    #[arg(long)]
    pub(crate) clean: bool,
    /// Stop after planning
    #[arg(long)]
    pub(crate) no_preprocessing: bool,
    /// How preprocessed arrays are kept: npy (uncompressed, fastest to read) or zarr (compressed, Zarr 3)
    #[arg(long, default_value = "npy", value_name = "FORMAT")]
    pub(crate) store: StoreFormat,
}

/// Number format of the network's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// What the device does best: bf16 where the processor has AMX, f32 elsewhere
    Auto,
    /// 32-bit floats
    F32,
    /// Products in bf16, sums in f32
    Bf16,
}

impl From<Precision> for nnunet::nn::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => Self::Auto,
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ComputeArgs {
    /// Device: auto, cpu, cuda, cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: String,
    /// Precision of the network's arithmetic
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub(crate) precision: Precision,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Data set: number, DatasetNNN_Name, or path of the folder
    #[arg(value_name = "DATASET")]
    pub(crate) dataset: String,
    /// Configuration of the plans: 2d, 3d_fullres, …
    #[arg(value_name = "CONFIG")]
    pub(crate) configuration: String,
    /// Fold number, or `all`
    #[arg(value_name = "FOLD")]
    pub(crate) fold: String,
    /// Name of the plans
    #[arg(long, default_value = "nnUNetPlans", value_name = "NAME")]
    pub(crate) plans_name: String,
    /// Trainer of nnU-Net: its default, or one of its variants such as nnUNetTrainer_250epochs or nnUNetTrainerDA5
    #[arg(long, default_value = "nnUNetTrainer", value_name = "NAME")]
    pub(crate) trainer: String,
    /// Stop once the pseudo Dice has not risen for this many epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) early_stopping: Option<u32>,
    /// Number of epochs [default: the trainer's, 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epochs: Option<u32>,
    /// Training iterations per epoch [default: 250]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) iterations: Option<u32>,
    /// Validation iterations per epoch [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) val_iterations: Option<u32>,
    /// Batch size [default: the trainer's, that of the plans]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: Option<u32>,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Train on this many CUDA devices together, numbered from 0: each computes a share of every batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) gpus: Option<u32>,
    /// Keep a third of the activations and make the others again: less memory, a fifth more time, the same numbers (CPU)
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Augment images on the device instead of with the loader threads (with --device cuda)
    #[arg(long)]
    pub(crate) augment_on_device: bool,
    /// Continue from the last checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Start from the weights of this checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) pretrained: Option<PathBuf>,
    /// Save the probabilities of the final validation
    #[arg(long)]
    pub(crate) save_probabilities: bool,
    /// Only run the final validation of a finished training
    #[arg(long, conflicts_with = "resume")]
    pub(crate) validate_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Folder of images or of DICOM series, or image files (CASE_0000.nii.gz, CASE_0001.nii.gz, …)
    #[arg(short, long, required = true, num_args = 1.., value_name = "DIR|FILE")]
    pub(crate) input: Vec<PathBuf>,
    /// Folder for the segmentations
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Model folder in nnU-Net's layout
    #[arg(short, long, value_name = "MODEL_DIR")]
    pub(crate) model: PathBuf,
    /// Folds to average [default: all that are there]
    #[arg(short, long, num_args = 1.., value_name = "FOLD")]
    pub(crate) folds: Vec<String>,
    /// Checkpoint to use [default: checkpoint_final]
    #[arg(long, value_name = "NAME")]
    pub(crate) checkpoint: Option<String>,
    /// Tile step size as a fraction of the patch, in (0, 1]
    #[arg(long, default_value_t = 0.5, value_name = "F")]
    pub(crate) step: f64,
    /// No test-time mirroring
    #[arg(long)]
    pub(crate) no_mirroring: bool,
    /// Also write the probabilities as .npz
    #[arg(long)]
    pub(crate) save_probabilities: bool,
    /// Also write the probabilities as one NIfTI image per channel
    #[arg(long)]
    pub(crate) save_probabilities_nifti: bool,
    /// Folder with the previous stage's segmentations, for the second stage of a cascade
    #[arg(long, value_name = "DIR")]
    pub(crate) previous_stage: Option<PathBuf>,
    /// Keep segmentations that exist
    #[arg(long = "continue")]
    pub(crate) continue_prediction: bool,
    /// Share the cases among this many runs
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) num_parts: usize,
    /// Which share this run takes, from 0
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub(crate) part_id: usize,
    /// Accept channels of a case whose headers place them elsewhere than the first
    #[arg(long)]
    pub(crate) allow_misplaced_channels: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Most memory for a case, in GB; larger cases are predicted in blocks [default: no limit]
    #[arg(long, value_name = "F", value_parser = positive)]
    pub(crate) memory_gb: Option<f64>,
    /// Sum of the tiles: f32, or f16 as the reference keeps it
    #[arg(long, default_value = "f32", value_parser = ["f32", "f16"], value_name = "TYPE")]
    pub(crate) accumulator: String,
    /// The DICOM series to segment, by UID, number or description (`*`: any letters); one per channel of the model
    #[arg(long, num_args = 1.., value_name = "SERIES", help_heading = "DICOM")]
    pub(crate) series: Vec<String>,
    /// What to write about DICOM series
    #[arg(long, value_enum, num_args = 1.., default_values_t = [OutputFormat::Nifti], help_heading = "DICOM")]
    pub(crate) output_format: Vec<OutputFormat>,
    /// With `--output-format dicom-seg`: also CASE_probabilities.dcm, a DICOM SEG file of type FRACTIONAL
    #[arg(long, help_heading = "DICOM")]
    pub(crate) fractional: bool,
    /// Mapping file: names, coded terms and colours of labels, for DICOM SEG and kept in the NIfTI files of DICOM series
    #[arg(long, value_name = "FILE", help_heading = "DICOM")]
    pub(crate) codes: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Folder of reference segmentations
    #[arg(value_name = "REFERENCE_DIR")]
    pub(crate) reference: PathBuf,
    /// Folder of predictions
    #[arg(value_name = "PREDICTION_DIR")]
    pub(crate) prediction: PathBuf,
    /// dataset.json that names the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: PathBuf,
    /// Where the summary goes [default: PREDICTION_DIR/summary.json]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Accept references without a prediction
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// Also write surface distances and lesion counts to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) extended: Option<PathBuf>,
    /// Distance in millimetres within which surfaces agree, for --extended
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = positive)]
    pub(crate) surface_tolerance: f64,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Model folder, folder of a data set's models, or folder of results
    #[arg(value_name = "RESULTS_DIR")]
    pub(crate) folder: PathBuf,
    /// Where the page goes
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How many of the best and of the worst cases are shown as pictures, each
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) overlays: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EnsembleArgs {
    /// Folders of predictions with saved probabilities
    #[arg(short, long, required = true, num_args = 1.., value_name = "DIR")]
    pub(crate) input: Vec<PathBuf>,
    /// Folder for the segmentations
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Also write the mean probabilities as .npz
    #[arg(long, alias = "save-npz")]
    pub(crate) save_probabilities: bool,
}

/// The files that describe predictions.
#[derive(Debug, Args)]
pub(crate) struct DescriptionArgs {
    /// Plans file [default: plans.json of the input folder]
    #[arg(long, alias = "plans-json", value_name = "FILE")]
    pub(crate) plans: Option<PathBuf>,
    /// dataset.json [default: that of the input folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DeterminePostprocessingArgs {
    /// Folder of predictions of the training cases
    #[arg(short, long, value_name = "DIR")]
    pub(crate) input: PathBuf,
    /// Folder of reference segmentations
    #[arg(short, long, alias = "ref", value_name = "DIR")]
    pub(crate) reference: PathBuf,
    #[command(flatten)]
    pub(crate) description: DescriptionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyPostprocessingArgs {
    /// Folder of segmentations
    #[arg(short, long, value_name = "DIR")]
    pub(crate) input: PathBuf,
    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// postprocessing.json, or nnU-Net's postprocessing.pkl
    #[arg(short, long, alias = "pp-pkl-file", value_name = "FILE")]
    pub(crate) postprocessing: PathBuf,
    #[command(flatten)]
    pub(crate) description: DescriptionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FindBestConfigurationArgs {
    /// Data set: number, DatasetNNN_Name, or path of the folder
    #[arg(value_name = "DATASET")]
    pub(crate) dataset: String,
    /// Configurations to compare [default: all that are trained]
    #[arg(short, long, num_args = 1.., value_name = "CONFIG")]
    pub(crate) configurations: Vec<String>,
    /// Folds whose validation counts
    #[arg(short, long, num_args = 1.., value_name = "FOLD", default_values = ["0", "1", "2", "3", "4"])]
    pub(crate) folds: Vec<String>,
    /// Names of the plans to compare
    #[arg(long, num_args = 1.., value_name = "NAME", default_values = ["nnUNetPlans"])]
    pub(crate) plans_name: Vec<String>,
    /// Compare single models only
    #[arg(long, alias = "disable-ensembling")]
    pub(crate) no_ensembling: bool,
    /// Keep what an earlier run left
    #[arg(long)]
    pub(crate) no_overwrite: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Write trained models to a zip archive
    Export(ModelExportArgs),
    /// Unpack an archive of models into the results folder
    Import(ModelImportArgs),
    /// Convert a checkpoint between .pth and .safetensors
    Convert(ModelConvertArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelExportArgs {
    /// Data set whose models to export: number or DatasetNNN_Name [default: the only one in the results folder]
    #[arg(value_name = "DATASET")]
    pub(crate) dataset: Option<String>,
    /// The same
    #[arg(short, long = "dataset", value_name = "DATASET", conflicts_with = "dataset")]
    pub(crate) dataset_option: Option<String>,
    /// Export this model folder alone
    #[arg(short, long, value_name = "MODEL_DIR", conflicts_with_all = ["dataset", "dataset_option", "configurations"])]
    pub(crate) model: Option<PathBuf>,
    /// The archive
    #[arg(short, long, value_name = "FILE.zip")]
    pub(crate) output: PathBuf,
    /// Configurations [default: all that are trained]
    #[arg(short, long, num_args = 1.., value_name = "CONFIG")]
    pub(crate) configurations: Vec<String>,
    /// Folds [default: all that have the checkpoint]
    #[arg(short, long, num_args = 1.., value_name = "FOLD")]
    pub(crate) folds: Vec<String>,
    /// Name of the plans
    #[arg(long, default_value = "nnUNetPlans", value_name = "NAME")]
    pub(crate) plans_name: String,
    /// Checkpoints
    #[arg(long, num_args = 1.., default_values = ["checkpoint_final"], value_name = "NAME")]
    pub(crate) checkpoint: Vec<String>,
    /// Include the segmentations of the cross-validation
    #[arg(long)]
    pub(crate) predictions: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelImportArgs {
    /// The archive
    #[arg(value_name = "FILE.zip")]
    pub(crate) archive: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ModelConvertArgs {
    /// The checkpoint to read
    #[arg(value_name = "CHECKPOINT")]
    pub(crate) checkpoint: PathBuf,
    /// The file to write, .pth or .safetensors
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertMsdArgs {
    /// Folder TaskNN_Name with imagesTr, labelsTr, imagesTs and dataset.json
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Data set number to use instead of the task's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) overwrite_id: Option<u32>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a number above 0".to_owned()),
    }
}
