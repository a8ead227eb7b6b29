use nnunet_nn::{Executor, NnError, Precision, UNet};

use crate::window::TileNetwork;
use crate::{Accumulator, InferError};

/// A network made ready for the tiles of its configuration.
pub(super) struct Network(Executor);

impl Network {
    /// Makes networks ready for tiles of `patch` voxels; they run in turn and share their buffers.
    pub(super) fn prepare(
        networks: Vec<UNet>,
        patch: [usize; 3],
        precision: Precision,
        accumulator: Accumulator,
    ) -> Result<Vec<Self>, NnError> {
        let mut ready: Vec<Self> = Vec::with_capacity(networks.len());
        for network in networks {
            // Who sums as the reference does wants its numbers: roundings of the convolutions would be seen.
            let mut executor = match accumulator {
                Accumulator::F16 if !precision.is_bf16() => Executor::direct(&network, patch)?,
                _ => Executor::new(&network, patch, precision)?,
            };
            if let Some(first) = ready.first() {
                executor.share_buffers(&first.0);
            }
            ready.push(Self(executor));
        }
        Ok(ready)
    }
}

impl TileNetwork for Network {
    fn forward(&self, tile: Vec<f32>, _: [usize; 4]) -> Result<Vec<f32>, InferError> {
        Ok(self.0.forward(&tile)?)
    }
}
