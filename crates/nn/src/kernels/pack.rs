//! Weights in the order that the kernels read them.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::scratch::Scratch;
use super::shape::Correlation;
use super::turn::turn;

/// Where the weights of correlations come from.
pub(crate) trait Weights: Sync {
    /// The weight of a part, tap, input and output channel; taps are numbered z, y, x, x fastest.
    fn at(&self, part: usize, tap: usize, input: usize, output: usize) -> f32;

    /// Those of a part as distances in memory, if that is what they are.
    fn strided(&self, _part: usize) -> Option<&Strided<'_>> {
        None
    }
}

impl<F: Fn(usize, usize, usize, usize) -> f32 + Sync> Weights for F {
    fn at(&self, part: usize, tap: usize, input: usize, output: usize) -> f32 {
        self(part, tap, input, output)
    }
}

/// Weights of a single correlation that lie at `output * o + input * c + taps[tap]` for output channel `o` and input channel `c`.
pub(crate) struct Strided<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) output: usize,
    pub(crate) input: usize,
    pub(crate) taps: Vec<usize>,
}

impl<'a> Strided<'a> {
    /// The weights (out, in, taps) of a convolution.
    pub(crate) fn convolution(values: &'a [f32], channels: usize, taps: usize) -> Self {
        Self { values, output: channels * taps, input: taps, taps: (0..taps).collect() }
    }
}

impl Strided<'_> {
    /// Asks for the weights of some channels: they lie in more runs than the processor follows by itself.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    fn prefetch(&self, channels: Range<usize>, lanes: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if !channels.is_empty() && !lanes.is_empty() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let width = self.taps.iter().max().map_or(0, |last| last + 1);
            let (by_lane, first) =
                (self.output > self.input, lanes.start * self.output + channels.start * self.input);
            let (runs, step, length) = if by_lane {
                (lanes.len(), self.output, (channels.len() - 1) * self.input + width)
            } else {
                (channels.len(), self.input, (lanes.len() - 1) * self.output + width)
            };
            for run in 0..runs {
                for at in (0..length).step_by(16) {
                    let at = self.values.as_ptr().wrapping_add(first + run * step + at);
                    // SAFETY: every x86-64 processor has the instruction, which never fails.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
                }
            }
        }
    }
}

impl Weights for Strided<'_> {
    fn at(&self, _: usize, tap: usize, input: usize, output: usize) -> f32 {
        self.values[output * self.output + input * self.input + self.taps[tap]]
    }

    fn strided(&self, _part: usize) -> Option<&Strided<'_>> {
        Some(self)
    }
}

/// Each part with weights of its own.
impl Weights for [Strided<'_>] {
    fn at(&self, part: usize, tap: usize, input: usize, output: usize) -> f32 {
        self[part].at(0, tap, input, output)
    }

    fn strided(&self, part: usize) -> Option<&Strided<'_>> {
        Some(&self[part])
    }
}

/// Weights of a correlation: `[block of output channels][tap][input channel][lane]`, zero beyond the last channel.
pub(crate) struct PackedWeights {
    pub(crate) data: Scratch<f32>,
    /// Output channels per block.
    pub(crate) block: usize,
}

/// Packs the weights of a part.
pub(crate) fn pack_weights(
    plan: &Correlation,
    block: usize,
    weights: &(impl Weights + ?Sized),
    part: usize,
) -> PackedWeights {
    let taps: usize = plan.taps.iter().product();
    let (ci, co) = (plan.input.channels, plan.output.channels);
    let blocks = co.div_ceil(block);
    let mut data = Scratch::any(blocks * taps * ci * block);
    data.par_chunks_mut((taps * ci * block).max(1)).enumerate().for_each(|(number, chunk)| {
        let first = number * block;
        gather(weights, part, taps, ci, first..co.min(first + block), block, |channels, gathered| {
            for (own, channel) in channels.enumerate() {
                for (tap, lanes) in
                    gathered[own * taps * block..][..taps * block].chunks_exact(block).enumerate()
                {
                    chunk[(tap * ci + channel) * block..][..block].copy_from_slice(lanes);
                }
            }
        });
    });
    PackedWeights { data, block }
}

/// Values of a few channels that [`gather`] collects, at most about this many: they stay in a first level cache.
const GATHERED: usize = 1 << 13;

/// Weights of the output channels `lanes`, a few input channels at a time, as `[channel][tap][lane]` with `block` lanes, zero
/// beyond the last; always an even number of channels but for the last of them.
pub(crate) fn gather(
    weights: &(impl Weights + ?Sized),
    part: usize,
    taps: usize,
    channels: usize,
    lanes: Range<usize>,
    block: usize,
    mut take: impl FnMut(Range<usize>, &[f32]),
) {
    let together = (GATHERED / (taps * block).max(1) / 2 * 2).max(2).min(channels);
    let mut values = vec![0.0; together * taps * block];
    for start in (0..channels).step_by(together.max(1)) {
        let own = start..channels.min(start + together);
        if let Some(from) = weights.strided(part) {
            from.prefetch(own.end..channels.min(own.end + together), lanes.clone());
        }
        let turned = weights.strided(part).is_some_and(|from| {
            own.clone().zip(values.chunks_exact_mut(taps * block)).all(|(channel, to)| {
                let first = lanes.start * from.output + channel * from.input;
                turn(&from.values[first..], from.output, lanes.len(), &from.taps, to, block)
            })
        });
        if !turned {
            // Taps of two channels lie together in the weights of a convolution, so they are read one after another.
            for (lane, output) in lanes.clone().enumerate() {
                for (channel, to) in own.clone().zip(values.chunks_exact_mut(taps * block)) {
                    for (tap, to) in to.iter_mut().skip(lane).step_by(block).enumerate() {
                        *to = weights.at(part, tap, channel, output);
                    }
                }
            }
        }
        take(own, &values);
    }
}
