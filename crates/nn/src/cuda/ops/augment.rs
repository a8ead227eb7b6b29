//! Augmentation of patches (channel, z, y, x).

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{activations, blocks, count, floats, launch, optional, pointer};
use crate::NnError;

/// An affine map from voxels of a patch, counted from its middle, to coordinates of what was loaded.
#[derive(Debug, Clone, Copy)]
pub struct Warp {
    /// Voxels of what was loaded.
    pub from: [usize; 3],
    /// Voxels of the patch.
    pub to: [usize; 3],
    /// Rows z, y, x.
    pub matrix: [[f32; 3]; 3],
    /// Coordinates that the middle of the patch comes from.
    pub centre: [f32; 3],
}

impl Warp {
    fn words(&self) -> Result<Argument, NnError> {
        count(self.from.iter().product())?;
        count(self.to.iter().product())?;
        let axes = [self.from, self.to].into_iter().flatten().map(|n| n as u32);
        let numbers = self.matrix.into_iter().flatten().chain(self.centre).map(f32::to_bits);
        Ok(Argument::Words(axes.chain(numbers).collect()))
    }

    fn run(&self, kernel: &str, from: View<'_>) -> Result<Array, NnError> {
        let (voxels, source) = (self.to.iter().product::<usize>(), self.from.iter().product::<usize>());
        let to = Array::new(from.engine, from.kind, from.len / source.max(1) * voxels)?;
        self.run_into(kernel, from, to.view())?;
        Ok(to)
    }

    fn run_into(&self, kernel: &str, from: View<'_>, to: View<'_>) -> Result<(), NnError> {
        let (voxels, source) = (self.to.iter().product::<usize>(), self.from.iter().product::<usize>());
        let channels = from.len / source.max(1);
        from.holds(channels * source)?;
        to.holds(channels * voxels)?;
        let arguments = [pointer(from), pointer(to), self.words()?];
        launch(&**from.engine, kernel, [blocks(voxels), channels, 1], &arguments)
    }
}

/// [`warp_image`] into an array that is there.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn warp_image_into(image: View<'_>, warp: &Warp, to: View<'_>) -> Result<(), NnError> {
    image.expect(Kind::F32)?;
    to.expect(Kind::F32)?;
    warp.run_into("warp_image", image, to)
}

/// Longest weights of a blur from the middle outwards.
const BLUR_WEIGHTS: usize = 16;

/// Blurs a channel of `shape` (z, y, x) along each axis that has weights, given from the middle outwards, with reflecting
/// borders.
///
/// # Errors
/// More than 16 weights, shapes that do not fit, or the device failed.
pub fn blur(channel: View<'_>, shape: [usize; 3], weights: [&[f32]; 3]) -> Result<(), NnError> {
    floats(channel, shape.iter().product())?;
    count(channel.len)?;
    let spare = Array::new(channel.engine, Kind::F32, channel.len)?;
    let run = |axis: usize, weights: &[f32], from: View<'_>, to: View<'_>| {
        if weights.len() > BLUR_WEIGHTS {
            return Err(NnError::Unsupported(format!("{} weights of a blur, at most 16", weights.len())));
        }
        let mut words: Vec<u32> =
            shape.into_iter().chain([axis, weights.len() - 1]).map(|n| n as u32).collect();
        words.extend(weights.iter().map(|w| w.to_bits()));
        words.resize(5 + BLUR_WEIGHTS, 0);
        let arguments = [pointer(from), pointer(to), Argument::Words(words)];
        launch(&**channel.engine, "blur_axis", [blocks(channel.len), 1, 1], &arguments)
    };
    let (mut here, mut there) = (channel, spare.view());
    for (axis, weights) in weights.into_iter().enumerate().filter(|(_, weights)| !weights.is_empty()) {
        run(axis, weights, here, there)?;
        (here, there) = (there, here);
    }
    // An odd number of axes ends in the spare array.
    if here.pointer == channel.pointer { Ok(()) } else { run(2, &[1.0], here, channel) }
}

/// What a voxel of low resolution becomes: two voxels of its axis and the weight of the second.
pub type Tap = (u32, u32, f32);

/// Interpolates a channel of `shape` (z, y, x) between the voxels that the taps of each axis name.
///
/// # Errors
/// Taps beyond an axis, shapes that do not fit, or the device failed.
pub fn low_resolution(channel: View<'_>, shape: [usize; 3], taps: [&[Tap]; 3]) -> Result<(), NnError> {
    floats(channel, shape.iter().product())?;
    count(channel.len)?;
    for (axis, taps) in taps.iter().enumerate() {
        let inside = |tap: &Tap| (tap.0.max(tap.1) as usize) < shape[axis];
        if taps.len() != shape[axis] || !taps.iter().all(inside) {
            return Err(NnError::Unsupported(format!("taps that do not fit {shape:?} along axis {axis}")));
        }
    }
    let words: Vec<u32> =
        taps.into_iter().flatten().flat_map(|&(low, high, weight)| [low, high, weight.to_bits()]).collect();
    let taps = Array::new(channel.engine, Kind::U32, words.len())?;
    channel.engine.write(taps.view().pointer, bytemuck::cast_slice(&words))?;
    let result = Array::new(channel.engine, Kind::F32, channel.len)?;
    let shape = Argument::Words(shape.map(|n| n as u32).to_vec());
    let grid = [blocks(channel.len), 1, 1];
    let arguments = [pointer(channel), pointer(result.view()), pointer(taps.view()), shape];
    launch(&**channel.engine, "low_resolution", grid, &arguments)?;
    let mut words = vec![1, 1, channel.len as u32, 2, 0, 1.0f32.to_bits()];
    words.resize(5 + BLUR_WEIGHTS, 0);
    let arguments = [pointer(result.view()), pointer(channel), Argument::Words(words)];
    launch(&**channel.engine, "blur_axis", grid, &arguments)
}

/// How an augmented patch is handed to a network.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// Voxels (z, y, x).
    pub shape: [usize; 3],
    /// Axes that are reversed.
    pub mirror: [bool; 3],
    /// Labels of the reversed patch, and the channels that are 0 where they are below 0.
    pub mask: Option<(View<'a>, &'a [bool])>,
}

/// Writes an f32 patch (channel, voxel) as (voxel, channel) of the kind of `to`.
///
/// # Errors
/// Shapes that do not fit, more than 32 channels with a mask, or the device failed.
pub fn finish_patch(from: View<'_>, to: View<'_>, finish: &Finish<'_>) -> Result<(), NnError> {
    let voxels: usize = finish.shape.iter().product();
    let channels = from.len / voxels.max(1);
    floats(from, channels * voxels)?;
    activations(to, channels * voxels)?;
    count(voxels)?;
    let (mut masked, mut labels) = (0u32, None);
    if let Some((mask, flags)) = finish.mask {
        mask.expect(Kind::I16)?;
        mask.holds(voxels)?;
        if flags.len() != channels || channels > 32 {
            return Err(NnError::Unsupported(format!("a mask for {} of {channels} channels", flags.len())));
        }
        masked = flags.iter().enumerate().map(|(c, &flag)| u32::from(flag) << c).sum();
        labels = Some(mask);
    }
    let mut words: Vec<u32> = finish.shape.into_iter().chain([channels]).map(|n| n as u32).collect();
    words.extend(finish.mirror.map(u32::from));
    words.push(masked);
    let arguments = [pointer(from), optional(labels), pointer(to), Argument::Words(words)];
    let kernel = format!("finish_patch_{}", to.kind.suffix());
    launch(&**from.engine, &kernel, [blocks(voxels), 1, 1], &arguments)
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
