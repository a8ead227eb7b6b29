//! Cases that the network is done with.

use std::path::Path;

use ndarray::Array4;
use nnunet_image::LabelMap;
use nnunet_preprocess::CaseProperties;

use super::Predictor;
use crate::export::{Block, Held, Shelf, TakeSlab};
use crate::logits::Logits;
use crate::{InferError, Prediction};

/// What is wanted of a case.
#[derive(Debug, Clone, Copy)]
pub(super) enum Results<'a> {
    Labels,
    /// Labels, and probabilities as a whole array.
    Probabilities,
    /// Labels, and probabilities slab by slab; the folder has room for what does not fit into memory meanwhile.
    Streamed(&'a Path),
}

/// [`Results`] without the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Labels,
    Probabilities,
    Streamed,
}

impl Results<'_> {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Labels => Kind::Labels,
            Self::Probabilities => Kind::Probabilities,
            Self::Streamed(_) => Kind::Streamed,
        }
    }
}

/// What leads from the network's grid to the image as read.
pub(super) struct GridOf {
    pub(super) properties: CaseProperties,
    /// Shape of the network's grid.
    pub(super) shape: [usize; 3],
    pub(super) results: Kind,
}

/// What the network leaves.
pub(super) enum Predicted {
    /// All that is left is to bring the logits to the image's grid.
    Logits {
        logits: Logits,
        block: Block,
        grid: GridOf,
    },
    /// The same, for logits in a file.
    Shelved {
        shelf: Shelf,
        block: Block,
        grid: GridOf,
    },
    /// The region of interest has no share in what cropping kept.
    Nothing(GridOf),
    Done(Prediction),
}

impl Predicted {
    /// The logits `(channel, z, y, x)`, where they are still there.
    pub(super) fn logits(&self) -> Result<Option<Array4<f32>>, InferError> {
        Ok(match self {
            Self::Logits { logits, .. } => Some(logits.to_array()),
            Self::Shelved { shelf, block, .. } => Some(shelf.read(block.low)?.to_array()),
            Self::Nothing(_) | Self::Done(_) => None,
        })
    }

    /// The whole result in memory; not for what was to be streamed.
    pub(super) fn finish(self, predictor: &Predictor) -> Result<Prediction, InferError> {
        match self {
            Self::Done(prediction) => Ok(prediction),
            Self::Nothing(grid) => {
                let export = predictor.export(&grid)?;
                Ok(export.finish(export.canvas()?))
            }
            Self::Logits { logits, block, grid } => {
                let export = predictor.export(&grid)?;
                let mut canvas = export.canvas()?;
                export.fill(&mut canvas, &block, &logits)?;
                drop(logits);
                Ok(export.finish(canvas))
            }
            Self::Shelved { shelf, block, grid } => {
                let logits = shelf.read(block.low)?;
                Self::Logits { logits, block, grid }.finish(predictor)
            }
        }
    }

    /// The labels, while `take` gets the probabilities slab by slab.
    pub(super) fn stream(
        self,
        predictor: &Predictor,
        take: &mut TakeSlab<'_>,
    ) -> Result<LabelMap, InferError> {
        match self {
            Self::Nothing(grid) => predictor.export(&grid)?.stream(None, take),
            Self::Logits { logits, block, grid } => {
                let held = Held::Memory(logits, block.low);
                predictor.export(&grid)?.stream(Some((block.out, held)), take)
            }
            Self::Shelved { shelf, block, grid } => {
                predictor.export(&grid)?.stream(Some((block.out, Held::File(shelf))), take)
            }
            Self::Done(prediction) => {
                if let Some(probabilities) = &prediction.probabilities {
                    take(probabilities.view())?;
                }
                Ok(prediction.labels)
            }
        }
    }
}
