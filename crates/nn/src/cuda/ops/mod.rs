//! The kernels as functions over arrays.
//!
//! Activations are channels-last of kind f32 or bf16; statistics, weights, their gradients and logits are f32.

mod augment;
mod conv;
mod layout;
mod loss;
mod norm;
mod optimiser;
mod up;
mod window;

pub use augment::{
    Finish, Tap, Warp, blur, brightness, contrast, finish_patch, gamma, low_resolution, noise, warp_image,
    warp_image_into, warp_labels,
};
pub use conv::{conv_backward_data, conv_backward_weights, conv_forward, sum_channels};
pub(crate) use layout::add_channels;
pub use layout::{Pool, channels_first, channels_last, copy_channels, narrow, pool, pool_backward, widen};
pub use loss::{LossTable, LossTarget, segmentation_loss};
pub(crate) use loss::{Scored, loss_of_labels};
pub use norm::{NormBackward, NormRows, norm_apply, norm_backward, norm_none, norm_statistics};
pub use optimiser::{SgdRule, gradient_norm, sgd_step};
pub use up::{UpGradients, up_backward, up_forward};
pub use window::{Placement, window_add, window_cut, window_labels, window_mean};

use super::array::View;
use super::engine::{Argument, Engine, Kind};
use crate::NnError;

/// Threads of a block.
const BLOCK: usize = 256;
/// Channels that a block sums over voxels at a time.
const LANES: usize = 32;

/// Blocks for `threads` threads.
fn blocks(threads: usize) -> usize {
    threads.div_ceil(BLOCK).max(1)
}

/// Voxels of a chunk that one block sums, and the number of chunks.
fn chunks(voxels: usize) -> (usize, usize) {
    let chunk = voxels.div_ceil(256).max(256);
    (chunk, voxels.div_ceil(chunk).max(1))
}

fn launch(
    engine: &dyn Engine,
    kernel: &str,
    grid: [usize; 3],
    arguments: &[Argument],
) -> Result<(), NnError> {
    // Grids beyond these limits cannot be launched; 32-bit counts of values stay below them.
    if grid[0] > i32::MAX as usize || grid[1] > 65_535 || grid[2] > 65_535 {
        return Err(NnError::Unsupported(format!("{kernel}: a grid of {grid:?} blocks")));
    }
    engine.launch(kernel, grid.map(|n| n as u32), arguments)
}

/// A count of values that kernels hold in 32 bits.
fn count(values: usize) -> Result<Argument, NnError> {
    u32::try_from(values)
        .ok()
        .filter(|&n| n <= u32::MAX - 4096)
        .map(Argument::U32)
        .ok_or_else(|| NnError::Unsupported(format!("{values} values in one operation, at most 2³²")))
}

fn pointer(view: View<'_>) -> Argument {
    Argument::Pointer(view.pointer)
}

/// The address of an array that may be absent.
fn optional(view: Option<View<'_>>) -> Argument {
    Argument::Pointer(view.map_or(0, |view| view.pointer))
}

/// Checks that a view holds this many values of f32 or bf16.
fn activations(view: View<'_>, len: usize) -> Result<(), NnError> {
    if !matches!(view.kind, Kind::F32 | Kind::Bf16) {
        return Err(NnError::Unsupported(format!("activations of {:?}", view.kind)));
    }
    view.holds(len)
}

/// Checks that a view holds this many values of f32.
fn floats(view: View<'_>, len: usize) -> Result<(), NnError> {
    view.expect(Kind::F32)?;
    view.holds(len)
}

/// The kernel for values of this kind, four at a time where rows are multiples of four.
fn packed(name: &str, kind: Kind, channels: usize) -> (String, usize) {
    let width = if channels.is_multiple_of(4) { 4 } else { 1 };
    let four = if width == 4 { "x4" } else { "" };
    (format!("{name}_{}{four}", kind.suffix()), width)
}
