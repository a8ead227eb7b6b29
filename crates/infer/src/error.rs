use std::path::PathBuf;

use nnunet_fingerprint::DatasetError;
use nnunet_nn::NnError;
use nnunet_plan::PlanError;
use nnunet_preprocess::PreprocessError;

/// Why a prediction or an evaluation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// A model folder lacks something.
    #[error("{}: no {missing}; found {found}", folder.display())]
    ModelFolder {
        /// The folder that was searched.
        folder: PathBuf,
        /// What should be there.
        missing: String,
        /// What is there.
        found: String,
    },
    /// A model that this crate cannot run, or parts that do not fit together.
    #[error("the model cannot be used: {0}")]
    Model(String),
    /// An option outside of its range.
    #[error("{option} is {found}, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An image with the wrong number of channels.
    #[error("the image has {found} channels, the model was trained with {expected} ({names})")]
    Channels {
        /// Channels of the image.
        found: usize,
        /// Channels of the model.
        expected: usize,
        /// The model's channels by name.
        names: String,
    },
    /// An array does not have the shape that goes with it.
    #[error("{what} has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// The array.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// An image that is smaller than the patch where it must not be.
    #[error(
        "along axis {axis} the image has {image} voxels, the patch {patch}; expected a patch of at least 1 and no more"
    )]
    PatchSize {
        /// The axis: z, y or x.
        axis: &'static str,
        /// Size of the patch along it.
        patch: usize,
        /// Size of the image along it.
        image: usize,
    },
    /// Nothing to slide over, or nothing to slide.
    #[error("an image of shape {shape:?} or a patch of shape {patch:?} has no voxels or channels")]
    EmptyImage {
        /// Spatial shape of the image.
        shape: [usize; 3],
        /// Patch size.
        patch: [usize; 3],
    },
    /// A predictor without networks.
    #[error("there is no network to predict with")]
    NoNetwork,
    /// The network answered with the wrong number of logits.
    #[error("the network gave {found} logits for a tile, expected {expected}")]
    NetworkOutput {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A voxel of an image that is infinite or not a number.
    #[error(
        "channel {channel} ({name}): the voxel (z, y, x) = {voxel:?} is {value}, expected finite numbers"
    )]
    Voxel {
        /// Number of the channel.
        channel: usize,
        /// Its name in `dataset.json`.
        name: String,
        /// The first such voxel.
        voxel: [usize; 3],
        /// What it holds.
        value: f32,
    },
    /// A logit that is infinite or not a number.
    #[error("the logits at voxel (z, y, x) = {voxel:?} of the preprocessed image are not finite")]
    NotFinite {
        /// The first such voxel.
        voxel: [usize; 3],
    },
    /// More memory is needed than there is.
    #[error("not enough memory for {what}: {:.1} GB", *bytes as f64 / 1e9)]
    Memory {
        /// What needs it.
        what: &'static str,
        /// How much it needs.
        bytes: usize,
    },
    /// A limit of memory that a case cannot be predicted within.
    #[error("{what} needs {:.4} GB, the limit is {:.4} GB", *bytes as f64 / 1e9, *limit as f64 / 1e9)]
    MemoryLimit {
        /// What needs it.
        what: &'static str,
        /// How much it needs at least.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The prediction was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A cascade's configuration without the segmentation that it continues.
    #[error(
        "configuration {configuration} continues the segmentations of {previous}; give the folder of the previous stage's \
         predictions"
    )]
    PreviousStage {
        /// The configuration.
        configuration: String,
        /// The configuration whose segmentations it needs.
        previous: String,
    },
    /// A file that is not what its name says.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A folder or file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Predictions cannot be written; nothing was predicted.
    #[error("output folder {}: {reason}", folder.display())]
    Output {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A prediction without a reference, or a reference without a prediction.
    #[error("{} has no counterpart {}", file.display(), missing.display())]
    Counterpart {
        /// The file that is there.
        file: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// Nothing to evaluate.
    #[error("{}: no prediction named *{ending}", folder.display())]
    NoPredictions {
        /// The folder of predictions.
        folder: PathBuf,
        /// The file ending.
        ending: String,
    },
    /// A prediction and its reference differ in shape.
    #[error(
        "{} has the shape {prediction_shape:?}, its reference {} has {reference_shape:?}",
        prediction.display(), reference.display()
    )]
    ShapesDiffer {
        /// The prediction.
        prediction: PathBuf,
        /// Its shape (z, y, x).
        prediction_shape: [usize; 3],
        /// The reference.
        reference: PathBuf,
        /// Its shape (z, y, x).
        reference_shape: [usize; 3],
    },
    /// Methods whose scores cannot be compared.
    #[error("cannot rank: {0}")]
    Ranking(String),
    /// A checkpoint that does not fit the plans.
    #[error("{} does not fit the plans: {source}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<NnError>,
    },
    /// An image could not be read, written or resampled.
    #[error(transparent)]
    Image(#[from] nnunet_image::ImageError),
    /// A JSON file could not be read or written.
    #[error(transparent)]
    Json(#[from] nnunet_fingerprint::JsonError),
    /// `dataset.json` cannot be used.
    #[error(transparent)]
    Dataset(Box<DatasetError>),
    /// The plans cannot be used.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// A case could not be preprocessed.
    #[error(transparent)]
    Preprocess(Box<PreprocessError>),
    /// A network or checkpoint could not be used.
    #[error(transparent)]
    Network(Box<NnError>),
}

impl InferError {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}

// These errors are large; boxes keep the results of every function small.

impl From<DatasetError> for InferError {
    fn from(error: DatasetError) -> Self {
        Self::Dataset(Box::new(error))
    }
}

impl From<PlanError> for InferError {
    fn from(error: PlanError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<PreprocessError> for InferError {
    fn from(error: PreprocessError) -> Self {
        Self::Preprocess(Box::new(error))
    }
}

impl From<NnError> for InferError {
    fn from(error: NnError) -> Self {
        Self::Network(Box::new(error))
    }
}
