use ndarray::Array4;

use super::components::components;
use super::element::Element;
use super::morphology::Bits;
use super::{Cascade, CascadeParameters, Operation, Removal};
use crate::Sample;

/// Turns the second label channel into image channels and damages them.
///
/// The image already has room for one channel per label at its end; `planar` makes operators two-dimensional.
pub(crate) fn append_one_hot(
    sample: &mut Sample,
    cascade: &Cascade,
    parameters: &CascadeParameters,
    planar: bool,
) {
    let (_, z, y, x) = sample.image.dim();
    let (shape, voxels) = ([z, y, x], z * y * x);
    let labels = std::mem::replace(&mut sample.labels, Array4::zeros((0, 0, 0, 0)));
    let (mut labels, offset) = labels.into_raw_vec_and_offset();
    labels.drain(..offset.unwrap_or(0));
    if let Some(image) = sample.image.as_slice_mut() {
        let first = image.len() - cascade.labels.len() * voxels;
        let channels = &mut image[first..];
        for (channel, label) in channels.chunks_exact_mut(voxels).zip(&cascade.labels) {
            let previous = labels[voxels..].iter();
            channel.iter_mut().zip(previous).for_each(|(v, found)| *v = f32::from(found == label));
        }
        for operation in &parameters.operations {
            operate(channels, shape, operation, planar);
        }
        for removal in &parameters.removals {
            remove(channels, shape, removal, cascade.largest_removed);
        }
    }
    labels.truncate(voxels);
    if let Ok(kept) = Array4::from_shape_vec((1, z, y, x), labels) {
        sample.labels = kept;
    }
}

/// Voxels that a channel gains are taken from all others; nobody gets those that it loses.
fn operate(channels: &mut [f32], shape: [usize; 3], operation: &Operation, planar: bool) {
    let voxels: usize = shape.iter().product();
    let range = operation.channel * voxels..(operation.channel + 1) * voxels;
    let before = Bits::from_channel(&channels[range.clone()], shape);
    let element = if planar { Element::disc(operation.radius) } else { Element::ball(operation.radius) };
    let after = before.apply(operation.operator, &element);
    for i in 0..voxels {
        let (was, is) = (before.get(i), after.get(i));
        if is && !was {
            channels.iter_mut().skip(i).step_by(voxels).for_each(|v| *v = 0.0);
        }
        channels[range.start + i] = f32::from(is);
    }
}

/// Removes one of the components that cover less than `largest` of the patch.
fn remove(channels: &mut [f32], shape: [usize; 3], removal: &Removal, largest: f64) {
    let voxels: usize = shape.iter().product();
    let channel = &mut channels[removal.channel * voxels..(removal.channel + 1) * voxels];
    let (numbers, sizes) = components(channel, shape);
    let small: Vec<u32> = (1..)
        .zip(&sizes)
        .filter(|(_, size)| (**size as f64) < voxels as f64 * largest)
        .map(|(n, _)| n)
        .collect();
    let choice = (removal.choice * small.len() as f64) as usize;
    let Some(chosen) = small.get(choice.min(small.len().saturating_sub(1))) else { return };
    channel.iter_mut().zip(&numbers).filter(|(_, n)| *n == chosen).for_each(|(v, _)| *v = 0.0);
}
