use nnunet_nn::{Accelerator, Precision};

use crate::InferError;

/// The numbers in which overlapping tiles are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accumulator {
    /// 32-bit sums. What the tiles say is kept to single precision.
    #[default]
    F32,
    /// 16-bit sums, rounded after every addition as nnU-Net v2.8.1 does on the CPU. Half the memory, and the
    /// same rounding as the reference where few tiles meet: near the corners its logits are coarse. In f32, networks then
    /// convolve directly, since the larger roundings of Winograd's filtering would show.
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
    /// The device that networks run on; the CPU if none.
    pub accelerator: Option<Accelerator>,
    /// Most memory to use for a case in GB, beside the program and the weights; no limit if none. A case that needs more is
    /// predicted in blocks, whose results are the same.
    pub memory_gb: Option<f64>,
}

impl Default for PredictorOptions {
    fn default() -> Self {
        Self {
            tile_step_size: 0.5,
            use_gaussian: true,
            use_mirroring: true,
            accumulator: Accumulator::F32,
            precision: Precision::Auto,
            accelerator: None,
            memory_gb: None,
        }
    }
}

impl PredictorOptions {
    /// An eighth of the work in 3-D and a quarter in 2-D: no mirrored versions.
    pub fn fast() -> Self {
        Self { use_mirroring: false, ..Self::default() }
    }

    /// # Errors
    /// A step size outside (0, 1], or a limit of memory that is not above 0.
    pub(crate) fn check(&self) -> Result<(), InferError> {
        check_step(self.tile_step_size)?;
        match self.memory_gb {
            Some(gb) if !(gb.is_finite() && gb > 0.0) => Err(InferError::Option {
                option: "memory_gb",
                found: gb.to_string(),
                expected: "a number above 0",
            }),
            _ => Ok(()),
        }
    }

    /// Most bytes to use for a case.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_gb.map_or(usize::MAX, |gb| (gb * 1e9).round() as usize)
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
