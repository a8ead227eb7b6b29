//! Networks for prediction alone: weights prepared once, buffers used again, no autograd.

mod compile;
mod program;
mod slots;

use std::sync::{Arc, Mutex, PoisonError};

pub(in crate::model) use program::Program;
use program::Workspace;

use candle_core::{Device, Tensor};

use super::composed::Composed;
use super::unet::{Compiled, UNet};
use crate::blocks::Pass;
use crate::kernels::{Dims, Products};
use crate::{NnError, Precision};

/// A network made ready to predict tiles of one size.
///
/// Convolution weights are transformed and packed once. Activations lie in buffers that are allocated with the first tile of a
/// thread and used again: a layer writes its output as it comes, gathers the statistics of the norm on the way, and the next
/// layer normalises what it reads; skip connections are written where the decoder reads them. Several threads may predict at
/// the same time, each with buffers of its own.
///
/// The weights are those of the moment: what training changes afterwards is not seen.
///
/// Networks of other parts than nnU-Net's own are predicted layer by layer, with tensors of their own for each tile.
pub struct Executor {
    compiled: Compiled,
    input: Dims,
    idle: Arc<Mutex<Vec<Workspace>>>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Executor {
    /// Prepares a network for tiles of `size` voxels (z, y, x). Activations are kept in f32 with either precision; in bf16
    /// they are rounded where a convolution reads them.
    ///
    /// # Errors
    /// A size that the strides of the network do not divide, weights that are not on the CPU, or bf16 for a network that has
    /// none.
    pub fn new(network: &UNet, size: [usize; 3], precision: Precision) -> Result<Self, NnError> {
        if !network.is_standard() {
            network.check_precision(precision)?;
        }
        Self::with(network, size, Products::strict(precision))
    }

    /// Prepares a network in f32 without Winograd's minimal filtering and without fused multiply-add: slower, with rounding
    /// errors as small as those of other direct convolutions and convolutions of the same bits with every instruction set,
    /// for comparisons with results of elsewhere.
    ///
    /// # Errors
    /// As [`Executor::new`].
    pub fn direct(network: &UNet, size: [usize; 3]) -> Result<Self, NnError> {
        Self::with(network, size, Products::Direct)
    }

    fn with(network: &UNet, size: [usize; 3], products: Products) -> Result<Self, NnError> {
        network.check_size(size)?;
        let compiled = network.compile(size, products)?;
        let input = Dims { batch: 1, space: size, channels: network.in_channels() };
        Ok(Self { compiled, input, idle: Arc::default() })
    }

    /// Uses the buffers of another executor, where the networks are of the same kind: for networks that run in turn.
    pub fn share_buffers(&mut self, other: &Self) {
        if let (Compiled::Steps(own), Compiled::Steps(other_steps)) = (&self.compiled, &other.compiled)
            && own.fits(other_steps)
        {
            self.idle = Arc::clone(&other.idle);
        }
    }

    /// Voxels (z, y, x) of a tile.
    pub fn size(&self) -> [usize; 3] {
        self.input.space
    }

    /// Channels that a tile has.
    pub fn in_channels(&self) -> usize {
        self.input.channels
    }

    /// Bytes of the buffers of one thread; 0 where tensors are made for each tile.
    pub fn workspace_bytes(&self) -> usize {
        match &self.compiled {
            Compiled::Steps(program) => program.slots.iter().sum::<usize>() * size_of::<f32>(),
            Compiled::Layers(_) => 0,
        }
    }

    /// Channels-last logits (z, y, x, class) of a tile (channel, z, y, x).
    ///
    /// # Errors
    /// A tile of another number of values.
    pub fn forward(&self, tile: &[f32]) -> Result<Vec<f32>, NnError> {
        let input = self.input;
        if tile.len() != input.len() {
            let (found, [z, y, x]) = (tile.len(), input.space);
            return Err(NnError::Unsupported(format!(
                "a tile of {found} values, expected {} (channels × z × y × x = {} × {z} × {y} × {x})",
                input.len(),
                input.channels
            )));
        }
        let program = match &self.compiled {
            Compiled::Steps(program) => program,
            Compiled::Layers(layers) => return self.layer_by_layer(layers, tile),
        };
        let idle = self.idle().pop();
        let mut workspace = idle.unwrap_or_else(|| program.workspace());
        let logits = program.run(tile, &mut workspace);
        self.idle().push(workspace);
        Ok(logits)
    }

    fn layer_by_layer(&self, layers: &Composed, tile: &[f32]) -> Result<Vec<f32>, NnError> {
        let Dims { space: [z, y, x], channels, .. } = self.input;
        let tile = Tensor::from_slice(tile, (1, channels, z, y, x), &Device::Cpu)?;
        let tile = tile.permute((0, 2, 3, 4, 1))?.contiguous()?;
        let mut outputs = layers.forward(&tile, false, &mut Pass::evaluation())?;
        let logits =
            outputs.pop().ok_or_else(|| NnError::Unsupported("a network without decoder".to_owned()))?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
