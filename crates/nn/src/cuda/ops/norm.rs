//! Instance norm, leaky ReLU and residual addition.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Kind};
use super::{LANES, activations, blocks, chunks, count, floats, launch, optional, packed, pointer};
use crate::NnError;
use crate::kernels::Dims;

/// What the norm of a layer came to, for each sample and channel.
#[derive(Debug)]
pub struct NormRows {
    /// Mean; 0 without norm.
    pub mean: Array,
    /// 1 / sqrt(variance + eps); 1 without norm.
    pub inverse: Array,
    /// Factor that normalises and applies the scale.
    pub scale: Array,
    /// Term behind it.
    pub shift: Array,
    normed: bool,
}

impl NormRows {
    fn new(y: View<'_>, rows: usize, normed: bool) -> Result<Self, NnError> {
        let row = || Array::new(y.engine, Kind::F32, rows);
        Ok(Self { mean: row()?, inverse: row()?, scale: row()?, shift: row()?, normed })
    }
}

fn rows(dims: Dims) -> usize {
    dims.batch * dims.channels
}

fn check_row(view: Option<View<'_>>, channels: usize) -> Result<(), NnError> {
    view.map_or(Ok(()), |view| floats(view, channels))
}

/// Statistics of every sample and channel of `y`, and the scale and shift that they make with `gamma` and `beta` (1 and 0 if
/// absent).
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn norm_statistics(
    y: View<'_>,
    dims: Dims,
    gamma: Option<View<'_>>,
    beta: Option<View<'_>>,
    eps: f64,
) -> Result<NormRows, NnError> {
    activations(y, dims.len())?;
    check_row(gamma, dims.channels)?;
    check_row(beta, dims.channels)?;
    let (voxels, channels) = (dims.voxels(), dims.channels);
    let (chunk, number) = chunks(voxels);
    let groups = channels.div_ceil(LANES);
    let partial = Array::new(y.engine, Kind::F32, dims.batch * number * channels * 2)?;
    let found = NormRows::new(y, rows(dims), true)?;
    let suffix = y.kind.suffix();
    let (voxels, channels) = (count(voxels)?, count(channels)?);
    let arguments = [pointer(y), pointer(partial.view()), voxels.clone(), channels.clone(), count(chunk)?];
    launch(&**y.engine, &format!("norm_partial_{suffix}"), [number, groups, dims.batch], &arguments)?;
    let arguments = [
        pointer(partial.view()),
        pointer(y),
        optional(gamma),
        optional(beta),
        pointer(found.mean.view()),
        pointer(found.inverse.view()),
        pointer(found.scale.view()),
        pointer(found.shift.view()),
        voxels,
        channels,
        count(number)?,
        Argument::F32(eps as f32),
    ];
    launch(&**y.engine, &format!("norm_finish_{suffix}"), [groups, dims.batch, 1], &arguments)?;
    Ok(found)
}

/// The rows of a layer without norm: its bias (0 if absent) is the shift.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn norm_none(y: View<'_>, dims: Dims, bias: Option<View<'_>>) -> Result<NormRows, NnError> {
    check_row(bias, dims.channels)?;
    let found = NormRows::new(y, rows(dims), false)?;
    let arguments = [
        optional(bias),
        pointer(found.mean.view()),
        pointer(found.inverse.view()),
        pointer(found.scale.view()),
        pointer(found.shift.view()),
        count(rows(dims))?,
        count(dims.channels)?,
    ];
    launch(&**y.engine, "norm_none", [blocks(rows(dims)), 1, 1], &arguments)?;
    Ok(found)
}

/// `leaky(y · scale + shift + other)`.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn norm_apply(
    y: View<'_>,
    dims: Dims,
    rows: &NormRows,
    other: Option<View<'_>>,
    slope: f32,
) -> Result<Array, NnError> {
    activations(y, dims.len())?;
    if let Some(other) = other {
        other.expect(y.kind)?;
        other.holds(dims.len())?;
    }
    let z = Array::new(y.engine, y.kind, dims.len())?;
    let values = dims.voxels() * dims.channels;
    let (kernel, width) = packed("norm_apply", y.kind, dims.channels);
    let arguments = [
        pointer(y),
        pointer(rows.scale.view()),
        pointer(rows.shift.view()),
        optional(other),
        pointer(z.view()),
        count(values)?,
        count(dims.channels)?,
        Argument::F32(slope),
    ];
    launch(&**y.engine, &kernel, [blocks(values / width), dims.batch, 1], &arguments)?;
    Ok(z)
}

/// What [`norm_backward`] is given beside the shape.
#[derive(Debug, Clone, Copy)]
pub struct NormBackward<'a> {
    /// Gradient of the output.
    pub dz: View<'a>,
    /// The output.
    pub z: View<'a>,
    /// The input.
    pub y: View<'a>,
    /// What [`norm_statistics`] or [`norm_none`] found.
    pub rows: &'a NormRows,
    /// Scale per channel, 1 if absent.
    pub gamma: Option<View<'a>>,
    /// Slope of the leaky ReLU.
    pub slope: f32,
    /// Takes the gradient of the scale.
    pub dgamma: Option<View<'a>>,
    /// Takes the gradient of the shift or bias.
    pub dbeta: Option<View<'a>>,
    /// Takes the gradient of the other summand; true: added to what is there.
    pub dother: Option<(View<'a>, bool)>,
}

/// The gradient of the input.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn norm_backward(of: &NormBackward<'_>, dims: Dims) -> Result<Array, NnError> {
    let NormBackward { dz, z, y, rows, gamma, slope, dgamma, dbeta, dother } = *of;
    for view in [dz, z, y].into_iter().chain(dother.map(|(view, _)| view)) {
        view.expect(y.kind)?;
        activations(view, dims.len())?;
    }
    [gamma, dgamma, dbeta].into_iter().try_for_each(|row| check_row(row, dims.channels))?;
    let engine = &**y.engine;
    let (voxels, channels) = (dims.voxels(), dims.channels);
    let (chunk, number) = chunks(voxels);
    let groups = channels.div_ceil(LANES);
    let partial = Array::new(y.engine, Kind::F32, dims.batch * number * channels * 2)?;
    let means = Array::new(y.engine, Kind::F32, dims.batch * channels * 2)?;
    let arguments = [
        pointer(dz),
        pointer(z),
        pointer(y),
        pointer(rows.mean.view()),
        pointer(rows.inverse.view()),
        pointer(partial.view()),
        count(voxels)?,
        count(channels)?,
        count(chunk)?,
        Argument::F32(slope),
    ];
    let kernel = format!("norm_backward_partial_{}", y.kind.suffix());
    launch(engine, &kernel, [number, groups, dims.batch], &arguments)?;
    let arguments = [
        pointer(partial.view()),
        optional(dgamma),
        optional(dbeta),
        pointer(means.view()),
        count(dims.batch)?,
        count(voxels)?,
        count(channels)?,
        count(number)?,
        Argument::U32(u32::from(rows.normed)),
    ];
    launch(engine, "norm_backward_finish", [groups, 1, 1], &arguments)?;
    let dy = Array::new(y.engine, y.kind, dims.len())?;
    let values = voxels * channels;
    let (kernel, width) = packed("norm_backward_apply", y.kind, channels);
    let arguments = [
        pointer(dz),
        pointer(z),
        pointer(y),
        optional(gamma),
        pointer(rows.mean.view()),
        pointer(rows.inverse.view()),
        pointer(means.view()),
        pointer(dy.view()),
        optional(dother.map(|(view, _)| view)),
        count(values)?,
        count(channels)?,
        Argument::F32(slope),
        Argument::U32(u32::from(dother.is_some_and(|(_, add)| add))),
    ];
    launch(engine, &kernel, [blocks(values / width), dims.batch, 1], &arguments)?;
    Ok(dy)
}
