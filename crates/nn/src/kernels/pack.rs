//! Weights in the order that the kernels read them.

use rayon::prelude::*;

use super::shape::Correlation;

/// Weights of a correlation: `[block of output channels][tap][input channel][lane]`, zero beyond the last channel.
pub(crate) struct PackedWeights {
    pub(crate) data: Vec<f32>,
    /// Output channels per block.
    pub(crate) block: usize,
}

/// Packs the weights that `weight(tap, input channel, output channel)` gives; taps are numbered z, y, x, x fastest.
pub(crate) fn pack_weights(
    plan: &Correlation,
    block: usize,
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> PackedWeights {
    let taps: usize = plan.taps.iter().product();
    let (ci, co) = (plan.input.channels, plan.output.channels);
    let blocks = co.div_ceil(block);
    let mut data = vec![0.0; blocks * taps * ci * block];
    data.par_chunks_mut((taps * ci * block).max(1)).enumerate().for_each(|(number, chunk)| {
        for (row, lanes) in chunk.chunks_exact_mut(block).enumerate() {
            let (tap, channel) = (row / ci, row % ci);
            let first = number * block;
            for (lane, value) in lanes.iter_mut().take(co - first).enumerate() {
                *value = weight(tap, channel, first + lane);
            }
        }
    });
    PackedWeights { data, block }
}
