//! The transforms of nnU-Net's DA5 trainers that its default does not have.

mod apply;
mod bump;
mod median;
mod orient;
mod parameters;
mod rectangles;
mod sharpen;

pub(crate) use apply::{Stage, after_mirroring, around_intensities, orient};
pub use bump::Bump;
pub use parameters::{Rectangle, StrongParameters};

use crate::Chance;

/// Settings of the transforms beyond the default ones; the values are those of nnU-Net v2.8.1's DA5 trainers.
#[derive(Debug, Clone, PartialEq)]
pub struct Strong {
    /// Probability of 0 to 3 quarter turns in a plane of two axes of equal length, 0.5.
    pub p_quarter_turns: f64,
    /// Probability that axes of equal length are permuted, 0.5.
    pub p_transpose: f64,
    /// Median filter, 0.2; the range is the length of its window in voxels, 2 to below 8. A sample gets the chance of
    /// either a median filter or a blur.
    pub median: Chance,
    /// Brightness that is added per channel, 0.1; the range is mean and standard deviation, 0 and 0.5.
    pub shift: Chance,
    /// Contrast per channel, 0.2; the range is the factor on the distance from the mean, 0.5 to 2. One sample in two
    /// keeps the channel's range.
    pub contrast: Chance,
    /// A second gamma of the negated image, 0.1; the range is the exponent, 0.7 to 1.5.
    pub gamma_inverted: Chance,
    /// Probability that one to four boxes of a channel are filled with their mean, 0.4.
    pub p_rectangles: f64,
    /// A Gaussian bump that is added per channel, 0.3; the range is its height, of either sign, 1 to 5.
    pub gradient: Chance,
    /// Probability of a gamma that is blended in by a Gaussian bump, 0.3.
    pub p_local_gamma: f64,
    /// Exponents of the local gamma, below and above 1 with equal probability: 0.01 to 0.8 and 1.5 to 4.
    pub local_gamma: [[f64; 2]; 2],
    /// Sharpening per channel, 0.2; the range is the factor on the Laplacian, 0.1 to 1.
    pub sharpen: Chance,
    /// Probability that a channel of a sample gets a transform that is drawn per channel, 0.5.
    pub per_channel: f64,
}

impl Default for Strong {
    fn default() -> Self {
        let chance = |probability, range| Chance { probability, range };
        Self {
            p_quarter_turns: 0.5,
            p_transpose: 0.5,
            median: chance(0.2, [2.0, 8.0]),
            shift: chance(0.1, [0.0, 0.5]),
            contrast: chance(0.2, [0.5, 2.0]),
            gamma_inverted: chance(0.1, [0.7, 1.5]),
            p_rectangles: 0.4,
            gradient: chance(0.3, [1.0, 5.0]),
            p_local_gamma: 0.3,
            local_gamma: [[0.01, 0.8], [1.5, 4.0]],
            sharpen: chance(0.2, [0.1, 1.0]),
            per_channel: 0.5,
        }
    }
}
