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

/// Networks on a device other than the CPU.
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(super) struct OnDevice {
    pub(super) networks: Vec<nnunet_nn::cuda::DeviceNetwork>,
}

#[cfg(any(feature = "cuda", feature = "emulator"))]
impl OnDevice {
    /// Copies networks to the device of the options, if there is one.
    pub(super) fn prepare(
        networks: &[UNet],
        options: &crate::PredictorOptions,
    ) -> Result<Option<Self>, NnError> {
        let Some(accelerator) = &options.accelerator else { return Ok(None) };
        let kind = nnunet_nn::Accelerator::kind(options.precision);
        let copy = |network| nnunet_nn::cuda::DeviceNetwork::new(accelerator.engine(), network, kind);
        Ok(Some(Self { networks: networks.iter().map(copy).collect::<Result<_, _>>()? }))
    }
}

#[cfg(any(feature = "cuda", feature = "emulator"))]
impl TileNetwork for nnunet_nn::cuda::DeviceNetwork {
    fn forward(&self, tile: Vec<f32>, [channels, z, y, x]: [usize; 4]) -> Result<Vec<f32>, InferError> {
        use nnunet_nn::cuda::{Array, ops};
        let dims = nnunet_nn::kernels::Dims { batch: 1, space: [z, y, x], channels };
        let tile = Array::of_f32(self.engine(), &tile)?;
        let tile = ops::channels_last(tile.view(), dims, self.kind())?;
        Ok(self.logits(tile, dims.space, 1)?.to_f32()?)
    }
}
