use candle_core::{Device, Tensor};
use nnunet_nn::{NnError, UNet};

use crate::InferError;
use crate::window::TileNetwork;

/// A U-Net and where it runs.
pub(super) struct Network {
    pub(super) unet: UNet,
    pub(super) device: Device,
}

impl TileNetwork for Network {
    fn forward(&self, tile: Vec<f32>, [channels, z, y, x]: [usize; 4]) -> Result<Vec<f32>, InferError> {
        let tile = Tensor::from_vec(tile, (1, channels, z, y, x), &self.device).map_err(NnError::from)?;
        let logits = self.unet.forward_last(&tile)?;
        Ok(logits.flatten_all().and_then(|logits| logits.to_vec1()).map_err(NnError::from)?)
    }
}
