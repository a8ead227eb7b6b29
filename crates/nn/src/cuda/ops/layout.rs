//! Precision, order of axes, pooling.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{activations, blocks, count, floats, launch, pointer};
use crate::NnError;
use crate::kernels::Dims;

/// f32 values rounded to a kind.
///
/// # Errors
/// Another kind of values, or the device failed.
pub fn narrow(from: View<'_>, kind: Kind) -> Result<Array, NnError> {
    from.expect(Kind::F32)?;
    let to = Array::new(from.engine, kind, from.len)?;
    activations(to.view(), from.len)?;
    let arguments = [pointer(from), pointer(to.view()), Argument::U64(from.len as u64)];
    let kernel = format!("narrow_{}", kind.suffix());
    launch(&**from.engine, &kernel, [blocks(from.len), 1, 1], &arguments)?;
    Ok(to)
}

/// Values of f32 or bf16 as f32.
///
/// # Errors
/// Another kind of values, or the device failed.
pub fn widen(from: View<'_>) -> Result<Array, NnError> {
    activations(from, from.len)?;
    let to = Array::new(from.engine, Kind::F32, from.len)?;
    let arguments = [pointer(from), pointer(to.view()), Argument::U64(from.len as u64)];
    let kernel = format!("widen_{}", from.kind.suffix());
    launch(&**from.engine, &kernel, [blocks(from.len), 1, 1], &arguments)?;
    Ok(to)
}

/// f32 values (sample, channel, voxel) as (sample, voxel, channel) of a kind.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn channels_last(from: View<'_>, dims: Dims, kind: Kind) -> Result<Array, NnError> {
    floats(from, dims.len())?;
    let to = Array::new(from.engine, kind, dims.len())?;
    activations(to.view(), dims.len())?;
    let arguments = [pointer(from), pointer(to.view()), count(dims.voxels())?, count(dims.channels)?];
    let grid = [blocks(dims.voxels() * dims.channels), dims.batch, 1];
    count(dims.voxels() * dims.channels)?;
    launch(&**from.engine, &format!("channels_last_{}", kind.suffix()), grid, &arguments)?;
    Ok(to)
}

/// Values (sample, voxel, channel) as f32 (sample, channel, voxel).
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn channels_first(from: View<'_>, dims: Dims) -> Result<Array, NnError> {
    activations(from, dims.len())?;
    let to = Array::new(from.engine, Kind::F32, dims.len())?;
    let arguments = [pointer(from), pointer(to.view()), count(dims.voxels())?, count(dims.channels)?];
    let grid = [blocks(dims.voxels() * dims.channels), dims.batch, 1];
    count(dims.voxels() * dims.channels)?;
    launch(&**from.engine, &format!("channels_first_{}", from.kind.suffix()), grid, &arguments)?;
    Ok(to)
}

/// Weights (a, b, tap) as (a, tap, b) of a kind, or as (b, tap, a) if `turned`.
pub(super) fn pack_weights(
    from: View<'_>,
    kind: Kind,
    [a, b, taps]: [usize; 3],
    turned: bool,
) -> Result<Array, NnError> {
    floats(from, a * b * taps)?;
    let to = Array::new(from.engine, kind, from.len)?;
    let arguments = [
        pointer(from),
        pointer(to.view()),
        count(a)?,
        count(b)?,
        count(taps)?,
        Argument::U32(u32::from(turned)),
    ];
    count(from.len)?;
    launch(&**from.engine, &format!("pack_weights_{}", kind.suffix()), [blocks(from.len), 1, 1], &arguments)?;
    Ok(to)
}

/// Gradients of weights (a, tap, b) into (a, b, tap).
pub(super) fn unpack_weights(from: View<'_>, to: View<'_>, [a, b, taps]: [usize; 3]) -> Result<(), NnError> {
    activations(from, a * b * taps)?;
    floats(to, a * b * taps)?;
    count(from.len)?;
    let arguments = [pointer(from), pointer(to), count(a)?, count(b)?, count(taps)?];
    let kernel = format!("unpack_weights_{}", from.kind.suffix());
    launch(&**from.engine, &kernel, [blocks(from.len), 1, 1], &arguments)
}

/// Copies the `channels` values at `from_first` of every row of `from` to `to_first` of every row of `to`; rows are
/// `from_pitch` and `to_pitch` values long.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn copy_channels(
    from: View<'_>,
    [from_pitch, from_first]: [usize; 2],
    to: View<'_>,
    [to_pitch, to_first]: [usize; 2],
    channels: usize,
) -> Result<(), NnError> {
    add_channels(from, [from_pitch, from_first], to, [to_pitch, to_first], channels, false)
}

/// [`copy_channels`], or the same added to what is there.
pub(crate) fn add_channels(
    from: View<'_>,
    [from_pitch, from_first]: [usize; 2],
    to: View<'_>,
    [to_pitch, to_first]: [usize; 2],
    channels: usize,
    add: bool,
) -> Result<(), NnError> {
    let rows = from.len / from_pitch.max(1);
    to.expect(from.kind)?;
    activations(from, rows * from_pitch)?;
    activations(to, rows * to_pitch)?;
    if from_first + channels > from_pitch || to_first + channels > to_pitch {
        return Err(NnError::Unsupported(format!("{channels} channels of {from_pitch} into {to_pitch}")));
    }
    let arguments = [
        pointer(from.range(from_first..from.len.max(from_first))?),
        pointer(to.range(to_first..to.len.max(to_first))?),
        count(rows)?,
        count(channels)?,
        count(from_pitch)?,
        count(to_pitch)?,
        Argument::U32(u32::from(add)),
    ];
    let kernel = format!("copy_channels_{}", from.kind.suffix());
    launch(&**from.engine, &kernel, [blocks(rows * channels), 1, 1], &arguments)
}

/// Means over boxes of voxels; voxels beyond the last whole box are left out.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Shape of the input.
    pub input: Dims,
    /// Voxels of a box.
    pub stride: [usize; 3],
}

impl Pool {
    /// Shape of the output.
    pub fn output(&self) -> Dims {
        Dims { space: std::array::from_fn(|a| self.input.space[a] / self.stride[a].max(1)), ..self.input }
    }

    fn words(&self) -> Argument {
        let axes = [self.input.space, self.output().space, self.stride];
        let words = axes.into_iter().flatten().chain([self.input.channels]);
        Argument::Words(words.map(|n| n as u32).collect())
    }
}

/// Means over boxes.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn pool(x: View<'_>, pool: Pool) -> Result<Array, NnError> {
    activations(x, pool.input.len())?;
    let output = pool.output();
    let y = Array::new(x.engine, x.kind, output.len())?;
    count(pool.input.voxels() * pool.input.channels)?;
    let grid = [blocks(output.voxels() * output.channels), output.batch, 1];
    let kernel = format!("pool_{}", x.kind.suffix());
    launch(&**x.engine, &kernel, grid, &[pointer(x), pointer(y.view()), pool.words()])?;
    Ok(y)
}

/// Gradient of the input of [`pool()`], into `dx` or added to it.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn pool_backward(dy: View<'_>, pool: Pool, dx: View<'_>, add: bool) -> Result<(), NnError> {
    activations(dy, pool.output().len())?;
    activations(dx, pool.input.len())?;
    dx.expect(dy.kind)?;
    count(pool.input.voxels() * pool.input.channels)?;
    let grid = [blocks(pool.input.voxels() * pool.input.channels), pool.input.batch, 1];
    let arguments = [pointer(dy), pointer(dx), pool.words(), Argument::U32(u32::from(add))];
    launch(&**dy.engine, &format!("pool_backward_{}", dy.kind.suffix()), grid, &arguments)
}
