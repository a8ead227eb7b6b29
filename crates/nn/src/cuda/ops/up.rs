//! Transposed convolution with kernel = stride: a product, whose values are put in place.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Gemm, Kind, Operand};
use super::conv::sum_channels;
use super::layout::{pack_weights, unpack_weights};
use super::{activations, blocks, floats, launch, optional, pointer};
use crate::NnError;
use crate::kernels::Dims;

fn words(input: Dims, channels: usize, stride: [usize; 3], pitch: usize) -> Argument {
    let words = [input.space, stride].into_iter().flatten().chain([channels, pitch]);
    Argument::Words(words.map(|n| n as u32).collect())
}

fn check(
    input: Dims,
    channels: usize,
    stride: [usize; 3],
    pitch: usize,
    weight: View<'_>,
    y: View<'_>,
) -> Result<usize, NnError> {
    let boxes = stride.iter().product::<usize>();
    floats(weight, input.channels * channels * boxes)?;
    activations(y, input.batch * input.voxels() * boxes * pitch)?;
    if channels > pitch {
        return Err(NnError::Unsupported(format!("{channels} channels in rows of {pitch} values")));
    }
    Ok(boxes)
}

/// The transposed convolution of `x` with a weight (in, out, sz, sy, sx), into the first `channels` of each `pitch` values of
/// `y`.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
#[allow(clippy::too_many_arguments)]
pub fn up_forward(
    x: View<'_>,
    input: Dims,
    weight: View<'_>,
    bias: Option<View<'_>>,
    channels: usize,
    stride: [usize; 3],
    y: View<'_>,
    pitch: usize,
) -> Result<(), NnError> {
    activations(x, input.len())?;
    y.expect(x.kind)?;
    let boxes = check(input, channels, stride, pitch, weight, y)?;
    bias.map_or(Ok(()), |bias| floats(bias, channels))?;
    let packed = pack_weights(weight, x.kind, [input.channels, channels, boxes], false)?;
    let (rows, columns) = (input.batch * input.voxels(), boxes * channels);
    let product = Array::new(x.engine, x.kind, rows * columns)?;
    let operand =
        |view: View<'_>, pitch| Operand { pointer: view.pointer, kind: view.kind, pitch, transposed: false };
    x.engine.gemm(&Gemm {
        m: rows,
        n: columns,
        k: input.channels,
        a: operand(x, input.channels),
        b: operand(packed.view(), columns),
        c: operand(product.view(), columns),
        beta: 0.0,
    })?;
    let arguments = [
        pointer(product.view()),
        optional(bias),
        pointer(y),
        words(input, channels, stride, pitch),
        Argument::U64((rows * columns) as u64),
    ];
    let kernel = format!("boxes_scatter_{}", x.kind.suffix());
    launch(&**x.engine, &kernel, [blocks(rows * columns), 1, 1], &arguments)
}

/// Where the gradients of a transposed convolution go.
#[derive(Debug, Clone, Copy)]
pub struct UpGradients<'a> {
    /// Of the input; true: added to what is there.
    pub dx: (View<'a>, bool),
    /// Of the weight (in, out, sz, sy, sx).
    pub dw: View<'a>,
    /// Of the bias.
    pub dbias: Option<View<'a>>,
}

/// The gradients of [`up_forward`] from `dy`, the first `channels` of each `pitch` values.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
#[allow(clippy::too_many_arguments)]
pub fn up_backward(
    x: View<'_>,
    input: Dims,
    weight: View<'_>,
    dy: View<'_>,
    channels: usize,
    stride: [usize; 3],
    pitch: usize,
    to: UpGradients<'_>,
) -> Result<(), NnError> {
    activations(x, input.len())?;
    activations(to.dx.0, input.len())?;
    dy.expect(x.kind)?;
    to.dx.0.expect(x.kind)?;
    let boxes = check(input, channels, stride, pitch, weight, dy)?;
    if let Some(dbias) = to.dbias {
        sum_channels(dy, pitch, channels, dbias)?;
    }
    let shape = [input.channels, channels, boxes];
    let (rows, columns) = (input.batch * input.voxels(), boxes * channels);
    let gathered = Array::new(x.engine, x.kind, rows * columns)?;
    let arguments = [
        pointer(dy),
        pointer(gathered.view()),
        words(input, channels, stride, pitch),
        Argument::U64((rows * columns) as u64),
    ];
    let kernel = format!("boxes_gather_{}", x.kind.suffix());
    launch(&**x.engine, &kernel, [blocks(rows * columns), 1, 1], &arguments)?;
    let packed = pack_weights(weight, x.kind, shape, false)?;
    let operand = |view: View<'_>, pitch, transposed| Operand {
        pointer: view.pointer,
        kind: view.kind,
        pitch,
        transposed,
    };
    x.engine.gemm(&Gemm {
        m: rows,
        n: input.channels,
        k: columns,
        a: operand(gathered.view(), columns, false),
        b: operand(packed.view(), columns, true),
        c: operand(to.dx.0, input.channels, false),
        beta: f32::from(u8::from(to.dx.1)),
    })?;
    let gradient = Array::new(x.engine, Kind::F32, input.channels * columns)?;
    x.engine.gemm(&Gemm {
        m: input.channels,
        n: columns,
        k: rows,
        a: operand(x, input.channels, true),
        b: operand(gathered.view(), columns, false),
        c: operand(gradient.view(), columns, false),
        beta: 0.0,
    })?;
    unpack_weights(gradient.view(), to.dw, shape)
}
