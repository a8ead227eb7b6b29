//! The segmentation of a previous stage as further image channels, damaged at random so that the network does not
//! simply copy it.

mod apply;
mod components;
mod element;
mod morphology;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub(crate) use apply::append_one_hot;

use crate::rng::{chance, uniform};

/// Settings of the channels that a cascade's second stage sees of the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Cascade {
    /// Foreground labels, ascending: one channel each, 1 where the previous stage found the label.
    pub labels: Vec<i16>,
    /// Probability that channels of a sample are changed by morphological operators, 0.4.
    pub p_operator: f64,
    /// Probability that a channel of such a sample is changed, 0.5.
    pub p_operator_per_label: f64,
    /// Radius of the structuring element in voxels, 1 to 8.
    pub radius: [f64; 2],
    /// Probability that components are removed from channels of a sample, 0.2.
    pub p_removal: f64,
    /// Probability that a channel of such a sample loses a component, 0.5.
    pub p_removal_per_label: f64,
    /// A component is only removed if it covers less than this part of the patch, 0.15.
    pub largest_removed: f64,
}

impl Cascade {
    /// The settings of nnU-Net v2.8.1.
    pub fn nnunet(labels: Vec<i16>) -> Self {
        Self {
            labels,
            p_operator: 0.4,
            p_operator_per_label: 0.5,
            radius: [1.0, 8.0],
            p_removal: 0.2,
            p_removal_per_label: 0.5,
            largest_removed: 0.15,
        }
    }

    /// Draws what happens to the channels of a sample.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> CascadeParameters {
        let mut parameters = CascadeParameters::default();
        if chance(rng, self.p_operator) {
            for channel in self.choose(self.p_operator_per_label, rng) {
                let operator = Operator::ALL[rng.random_range(0..4)];
                parameters.operations.push(Operation {
                    channel,
                    operator,
                    radius: uniform(rng, self.radius),
                });
            }
        }
        if chance(rng, self.p_removal) {
            let channels = self.choose(self.p_removal_per_label, rng);
            parameters.removals =
                channels.into_iter().map(|channel| Removal { channel, choice: rng.random() }).collect();
        }
        parameters
    }

    /// Channels in random order, each with probability `p`.
    fn choose(&self, p: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        order.retain(|_| chance(rng, p));
        order
    }
}

/// What happens to the channels of a sample, in this order. The default only shows the labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CascadeParameters {
    /// Morphological operators, one after the other.
    pub operations: Vec<Operation>,
    /// Components that vanish.
    pub removals: Vec<Removal>,
}

/// A morphological operator on one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operation {
    /// Number of the channel among the labels.
    pub channel: usize,
    /// What is done.
    pub operator: Operator,
    /// Radius of the ball or disc, in voxels.
    pub radius: f64,
}

/// The removal of one component of a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removal {
    /// Number of the channel among the labels.
    pub channel: usize,
    /// Which of the components that are small enough, as a number in `[0, 1)`.
    pub choice: f64,
}

/// Morphological operators. Nothing beyond the border of the patch is foreground, and nothing there erodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Grows the foreground.
    Dilate,
    /// Shrinks it.
    Erode,
    /// Grows, then shrinks.
    Close,
    /// Shrinks, then grows.
    Open,
}

impl Operator {
    /// All operators.
    pub const ALL: [Self; 4] = [Self::Dilate, Self::Erode, Self::Close, Self::Open];
}
