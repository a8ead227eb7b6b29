use nnunet_nn::Precision;

use crate::InferError;

/// The numbers in which overlapping tiles are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accumulator {
    /// 32-bit sums. What the tiles say is kept to single precision.
    #[default]
    F32,
    /// 16-bit sums, rounded after every addition as nnU-Net v2.8.1 does on the CPU. Half the memory, and the
    /// same rounding as the reference where few tiles meet: near the corners its logits are coarse.
    F16,
}

/// How a network is slid over an image. The defaults are those of nnU-Net.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictorOptions {
    /// Distance of neighbouring tiles as a fraction of the patch size, above 0 and at most 1.
    pub tile_step_size: f64,
    /// Weigh the centre of a tile more than its border (see
    /// [`gaussian_importance_map`](crate::gaussian_importance_map)).
    pub use_gaussian: bool,
    /// Average over mirrored versions of each tile, along the axes that were mirrored in training.
    pub use_mirroring: bool,
    /// The numbers in which tiles are summed.
    pub accumulator: Accumulator,
    /// The arithmetic of the networks.
    pub precision: Precision,
}

impl Default for PredictorOptions {
    fn default() -> Self {
        Self {
            tile_step_size: 0.5,
            use_gaussian: true,
            use_mirroring: true,
            accumulator: Accumulator::F32,
            precision: Precision::Auto,
        }
    }
}

impl PredictorOptions {
    /// # Errors
    /// A step size outside (0, 1].
    pub(crate) fn check(&self) -> Result<(), InferError> {
        check_step(self.tile_step_size)
    }
}

pub(crate) fn check_step(step: f64) -> Result<(), InferError> {
    if step > 0.0 && step <= 1.0 {
        return Ok(());
    }
    Err(InferError::Option {
        option: "tile_step_size",
        found: step.to_string(),
        expected: "a number above 0 and at most 1",
    })
}
