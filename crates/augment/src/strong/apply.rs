use super::median::median;
use super::orient::{quarter_turns, reorder};
use super::rectangles::fill;
use super::sharpen::sharpen;
use super::{Bump, StrongParameters};
use crate::intensity::{contrast, power};

/// Quarter turns and permuted axes of one array.
pub(crate) fn orient<T: Copy>(data: &mut [T], shape: [usize; 3], parameters: &StrongParameters) {
    if let Some((a, b, count)) = parameters.quarter_turns {
        let (order, reverse) = quarter_turns(a, b, count);
        reorder(data, shape, order, reverse);
    }
    if let Some(order) = parameters.axis_order {
        reorder(data, shape, order, [false; 3]);
    }
}

/// Which part of the intensity transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before noise.
    Median,
    /// Between noise and low resolution.
    Contrast,
}

/// The intensity transforms of channel `c` that stand between the default ones.
pub(crate) fn around_intensities(
    channel: &mut [f32],
    shape: [usize; 3],
    c: usize,
    planar: bool,
    stage: Stage,
    parameters: &StrongParameters,
) {
    match stage {
        Stage::Median => {
            if let Some(window) = of_channel(&parameters.median, c) {
                median(channel, shape, window, planar);
            }
        }
        Stage::Contrast => {
            if let Some(shift) = of_channel(&parameters.shift, c) {
                channel.iter_mut().for_each(|v| *v += shift as f32);
            }
            if let Some(factor) = of_channel(&parameters.contrast, c) {
                contrast(channel, factor, parameters.contrast_keeps_range);
            }
        }
    }
}

/// The intensity transforms of channel `c` that come after mirroring.
pub(crate) fn after_mirroring(
    channel: &mut [f32],
    shape: [usize; 3],
    c: usize,
    planar: bool,
    parameters: &StrongParameters,
) {
    if let Some(rectangles) = parameters.rectangles.as_ref().and_then(|all| all.get(c)) {
        fill(channel, shape, rectangles);
    }
    if let Some((bump, height)) = of_channel(&parameters.gradient, c) {
        add_bump(channel, &bump.values(shape, planar), height as f32);
    }
    if let Some((bump, exponent)) = of_channel(&parameters.local_gamma, c) {
        local_gamma(channel, &bump, shape, planar, exponent as f32);
    }
    if let Some(strength) = of_channel(&parameters.sharpen, c) {
        sharpen(channel, shape, strength, planar);
    }
}

fn of_channel<T: Copy>(all: &Option<Vec<Option<T>>>, c: usize) -> Option<T> {
    all.as_ref().and_then(|all| all.get(c).copied().flatten())
}

/// Adds a bump, scaled so that its largest value is `height`.
fn add_bump(channel: &mut [f32], bump: &[f32], height: f32) {
    let largest = bump.iter().copied().fold(0.0f32, f32::max);
    if largest < 1e-8 {
        return;
    }
    channel.iter_mut().zip(bump).for_each(|(v, b)| *v += b / largest * height);
}

/// Blends in the channel's gamma where the bump is.
fn local_gamma(channel: &mut [f32], bump: &Bump, shape: [usize; 3], planar: bool, exponent: f32) {
    let low = channel.iter().copied().fold(f32::INFINITY, f32::min);
    let range = (channel.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low).max(1e-8);
    for (v, weight) in channel.iter_mut().zip(bump.values(shape, planar)) {
        let x = (*v - low) / range;
        *v = (power(x, exponent) * weight + x * (1.0 - weight)) * range + low;
    }
}
