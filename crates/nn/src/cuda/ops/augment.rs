//! Augmentation of patches (channel, z, y, x).

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{blocks, count, floats, launch, pointer};
use crate::NnError;

/// An affine map from voxels of a patch to coordinates of what was loaded, both counted from their middles.
#[derive(Debug, Clone, Copy)]
pub struct Warp {
    /// Voxels of what was loaded.
    pub from: [usize; 3],
    /// Voxels of the patch.
    pub to: [usize; 3],
    /// Rows z, y, x.
    pub matrix: [[f32; 3]; 3],
}

impl Warp {
    fn words(&self) -> Result<Argument, NnError> {
        count(self.from.iter().product())?;
        count(self.to.iter().product())?;
        let axes = [self.from, self.to].into_iter().flatten().map(|n| n as u32);
        Ok(Argument::Words(axes.chain(self.matrix.into_iter().flatten().map(f32::to_bits)).collect()))
    }

    fn run(&self, kernel: &str, from: View<'_>) -> Result<Array, NnError> {
        let (voxels, source) = (self.to.iter().product::<usize>(), self.from.iter().product::<usize>());
        let channels = from.len / source.max(1);
        from.holds(channels * source)?;
        let to = Array::new(from.engine, from.kind, channels * voxels)?;
        let arguments = [pointer(from), pointer(to.view()), self.words()?];
        launch(&**from.engine, kernel, [blocks(voxels), channels, 1], &arguments)?;
        Ok(to)
    }
}

/// All channels, interpolated trilinearly; zeros outside.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn warp_image(image: View<'_>, warp: &Warp) -> Result<Array, NnError> {
    image.expect(Kind::F32)?;
    warp.run("warp_image", image)
}

/// The nearest labels; −1 outside.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn warp_labels(labels: View<'_>, warp: &Warp) -> Result<Array, NnError> {
    labels.expect(Kind::I16)?;
    warp.run("warp_labels", labels)
}

/// Mean, standard deviation, smallest and largest value of a channel.
fn statistics(channel: View<'_>) -> Result<Array, NnError> {
    floats(channel, channel.len)?;
    let found = Array::new(channel.engine, Kind::F32, 4)?;
    let arguments = [pointer(channel), pointer(found.view()), count(channel.len)?];
    launch(&**channel.engine, "intensity_statistics", [1, 1, 1], &arguments)?;
    Ok(found)
}

/// Multiplies a channel.
///
/// # Errors
/// The device failed.
pub fn brightness(channel: View<'_>, factor: f32) -> Result<(), NnError> {
    floats(channel, channel.len)?;
    let arguments = [pointer(channel), count(channel.len)?, Argument::F32(factor)];
    launch(&**channel.engine, "intensity_brightness", [blocks(channel.len), 1, 1], &arguments)
}

/// Stretches a channel around its mean; within its range if `preserve`.
///
/// # Errors
/// The device failed.
pub fn contrast(channel: View<'_>, factor: f32, preserve: bool) -> Result<(), NnError> {
    let found = statistics(channel)?;
    let arguments = [
        pointer(channel),
        pointer(found.view()),
        count(channel.len)?,
        Argument::F32(factor),
        Argument::U32(u32::from(preserve)),
    ];
    launch(&**channel.engine, "intensity_contrast", [blocks(channel.len), 1, 1], &arguments)
}

/// Raises a channel, scaled to 0..1, to a power and restores its mean and standard deviation; `inverted` does so on the
/// negated channel.
///
/// # Errors
/// The device failed.
pub fn gamma(channel: View<'_>, exponent: f32, inverted: bool) -> Result<(), NnError> {
    let (before, sign) = (statistics(channel)?, Argument::F32(if inverted { -1.0 } else { 1.0 }));
    let grid = [blocks(channel.len), 1, 1];
    let arguments = [
        pointer(channel),
        pointer(before.view()),
        count(channel.len)?,
        Argument::F32(exponent),
        sign.clone(),
    ];
    launch(&**channel.engine, "intensity_power", grid, &arguments)?;
    let after = statistics(channel)?;
    let arguments =
        [pointer(channel), pointer(before.view()), pointer(after.view()), count(channel.len)?, sign];
    launch(&**channel.engine, "intensity_restore", grid, &arguments)
}

/// Adds normal noise; the numbers depend on the key and the voxel alone.
///
/// # Errors
/// The device failed.
pub fn noise(channel: View<'_>, deviation: f32, key: u64) -> Result<(), NnError> {
    floats(channel, channel.len)?;
    let arguments = [
        pointer(channel),
        count(channel.len)?,
        Argument::F32(deviation),
        Argument::U32(key as u32),
        Argument::U32((key >> 32) as u32),
    ];
    launch(&**channel.engine, "intensity_noise", [blocks(channel.len.div_ceil(4)), 1, 1], &arguments)
}
