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
        let first = number * block;
        // Taps of a channel lie together in the weights of a convolution, so they are read together.
        for (channel, tap) in (0..ci).flat_map(|channel| (0..taps).map(move |tap| (channel, tap))) {
            let lanes = &mut chunk[(tap * ci + channel) * block..][..block.min(co - first)];
            for (lane, value) in lanes.iter_mut().enumerate() {
                *value = weight(tap, channel, first + lane);
            }
        }
    });
    PackedWeights { data, block }
}
