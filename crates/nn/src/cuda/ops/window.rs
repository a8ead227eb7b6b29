//! Tiles of an image and their weighted sums.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{blocks, count, floats, launch, optional, pointer};
use crate::NnError;

/// Where a tile lies in an image, and which axes of it are turned around.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    /// Voxels of the image.
    pub image: [usize; 3],
    /// Voxels of the tile.
    pub patch: [usize; 3],
    /// First voxel of the tile; may be outside.
    pub origin: [isize; 3],
    /// Axes that are turned around.
    pub flip: [bool; 3],
}

impl Placement {
    fn patch(&self) -> usize {
        self.patch.iter().product()
    }

    fn image(&self) -> usize {
        self.image.iter().product()
    }

    fn words(&self, channels: usize) -> Result<Argument, NnError> {
        count(self.image())?;
        count(self.patch() * channels)?;
        let axes = [self.image, self.patch].into_iter().flatten().map(|n| n as u32);
        let origin = self.origin.map(|n| (n as i32).cast_unsigned());
        let words = axes.chain(origin).chain(self.flip.map(u32::from)).chain([channels as u32]);
        Ok(Argument::Words(words.collect()))
    }
}

/// A tile (voxel, channel) of an f32 image (channel, voxel), turned around; zeros outside.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn window_cut(image: View<'_>, channels: usize, place: &Placement, kind: Kind) -> Result<Array, NnError> {
    floats(image, place.image() * channels)?;
    let tile = Array::new(image.engine, kind, place.patch() * channels)?;
    super::activations(tile.view(), place.patch() * channels)?;
    let arguments = [pointer(image), pointer(tile.view()), place.words(channels)?];
    let kernel = format!("window_cut_{}", kind.suffix());
    launch(&**image.engine, &kernel, [blocks(tile.view().len), 1, 1], &arguments)?;
    Ok(tile)
}

/// Adds the f32 logits of a turned tile, times `factor` and their weights in `importance` (1 without), to `sums` (voxel,
/// channel), and the weights to `weights`, if given.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn window_add(
    logits: View<'_>,
    channels: usize,
    importance: Option<View<'_>>,
    place: &Placement,
    factor: f32,
    sums: View<'_>,
    weights: Option<View<'_>>,
) -> Result<(), NnError> {
    floats(logits, place.patch() * channels)?;
    floats(sums, place.image() * channels)?;
    importance.map_or(Ok(()), |map| floats(map, place.patch()))?;
    weights.map_or(Ok(()), |weights| floats(weights, place.image()))?;
    let arguments = [
        pointer(logits),
        optional(importance),
        pointer(sums),
        optional(weights),
        place.words(channels)?,
        Argument::F32(factor),
    ];
    launch(&**logits.engine, "window_add", [blocks(logits.len), 1, 1], &arguments)
}

/// Divides sums by their weights, in place; returns the first voxel whose mean is not finite.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn window_mean(sums: View<'_>, weights: View<'_>, channels: usize) -> Result<Option<usize>, NnError> {
    floats(sums, weights.len * channels)?;
    floats(weights, weights.len)?;
    let bad = Array::new(sums.engine, Kind::U32, 1)?;
    sums.engine.write(bad.view().pointer, &u32::MAX.to_ne_bytes())?;
    let arguments =
        [pointer(sums), pointer(weights), count(weights.len)?, count(channels)?, pointer(bad.view())];
    launch(&**sums.engine, "window_mean", [blocks(weights.len), 1, 1], &arguments)?;
    let bad = bad.to_u32()?[0];
    Ok((bad != u32::MAX).then_some(bad as usize))
}

/// The first of the largest channels of every voxel.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn window_labels(means: View<'_>, channels: usize) -> Result<Array, NnError> {
    let voxels = means.len / channels.max(1);
    floats(means, voxels * channels)?;
    let labels = Array::new(means.engine, Kind::I16, voxels)?;
    let arguments = [pointer(means), pointer(labels.view()), count(voxels)?, count(channels)?];
    launch(&**means.engine, "window_labels", [blocks(voxels), 1, 1], &arguments)?;
    Ok(labels)
}
