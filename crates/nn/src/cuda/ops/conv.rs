//! Convolution: by the library where there is one, otherwise as products of matrices, some rows at a time.

use super::super::array::{Array, View};
use super::super::engine::{Argument, Convolution, Gemm, Kind, Operand, Pass};
use super::layout::{pack_weights, unpack_weights};
use super::{LANES, activations, blocks, chunks, count, floats, launch, packed, pointer};
use crate::NnError;
use crate::kernels::{ConvGeometry, Dims};

/// Bytes of the rows that are built at a time.
const COLUMNS: usize = 64 << 20;

fn output(input: Dims, channels: usize, g: &ConvGeometry) -> Dims {
    Dims { space: g.output(input.space), channels, ..input }
}

/// Whether every output reads the one input at its place.
fn is_pointwise(g: &ConvGeometry) -> bool {
    g.kernel == [1; 3] && g.stride == [1; 3] && g.padding == [0; 3]
}

fn operand(view: View<'_>, pitch: usize, transposed: bool) -> Operand {
    Operand { pointer: view.pointer, kind: view.kind, pitch, transposed }
}

/// The grid of rows and the values that they are built of.
struct Columns<'a> {
    source: View<'a>,
    /// Voxels of a sample that have a row each.
    rows: [usize; 3],
    /// Shape of what is read.
    from: Dims,
    geometry: &'a ConvGeometry,
    turned: bool,
}

impl Columns<'_> {
    /// Values of a row.
    fn width(&self) -> usize {
        self.geometry.taps() * self.from.channels
    }

    /// Builds all rows, some at a time, and calls `use_rows(first, count, columns)`.
    fn each(
        &self,
        use_rows: &mut dyn FnMut(usize, usize, View<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let total = self.from.batch * self.rows.iter().product::<usize>();
        let width = self.width();
        let step = (COLUMNS / (width * self.source.kind.bytes()).max(1)).clamp(1, total.max(1));
        let buffer = Array::new(self.source.engine, self.source.kind, step * width)?;
        let (kernel, pack) = packed("columns", self.source.kind, self.from.channels);
        let g = self.geometry;
        let axes = [self.rows, self.from.space, g.kernel, g.stride, g.padding];
        let words = axes.into_iter().flatten().chain([self.from.channels, usize::from(self.turned)]);
        let words: Vec<u32> = words.map(|n| n as u32).collect();
        for first in (0..total).step_by(step) {
            let number = step.min(total - first);
            let columns = buffer.view().range(0..number * width)?;
            let arguments = [
                pointer(self.source),
                pointer(columns),
                Argument::Words(words.clone()),
                Argument::U64(first as u64),
                count(number)?,
            ];
            launch(&**self.source.engine, &kernel, [blocks(number * width / pack), 1, 1], &arguments)?;
            use_rows(first, number, columns)?;
        }
        Ok(())
    }
}

/// The convolution of `x` with a weight (out, in, kz, ky, kx), as activations of kind `to`.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn conv_forward(
    x: View<'_>,
    input: Dims,
    weight: View<'_>,
    channels: usize,
    g: &ConvGeometry,
    to: Kind,
) -> Result<Array, NnError> {
    activations(x, input.len())?;
    let (output, taps) = (output(input, channels, g), g.taps());
    let packed = pack_weights(weight, x.kind, [channels, input.channels, taps], false)?;
    let y = Array::new(x.engine, to, output.len())?;
    let depth = taps * input.channels;
    let product = |first: usize, rows: usize, columns: View<'_>| {
        let to = y.view().range(first * channels..(first + rows) * channels)?;
        x.engine.gemm(&Gemm {
            m: rows,
            n: channels,
            k: depth,
            a: operand(columns, depth, false),
            b: operand(packed.view(), depth, true),
            c: operand(to, channels, false),
            beta: 0.0,
        })
    };
    if is_pointwise(g) {
        product(0, input.batch * input.voxels(), x)?;
    } else if to != x.kind
        || !library(Pass::Forward, input, channels, g, [x, packed.view(), y.view()], false)?
    {
        let columns = Columns { source: x, rows: output.space, from: input, geometry: g, turned: false };
        columns.each(&mut { product })?;
    }
    Ok(y)
}

/// The gradient of the input from that of the output, into `dx` or added to it.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn conv_backward_data(
    dy: View<'_>,
    input: Dims,
    weight: View<'_>,
    channels: usize,
    g: &ConvGeometry,
    dx: View<'_>,
    add: bool,
) -> Result<(), NnError> {
    let (output, taps) = (output(input, channels, g), g.taps());
    activations(dy, output.len())?;
    activations(dx, input.len())?;
    dx.expect(dy.kind)?;
    let shape = [channels, input.channels, taps];
    if !is_pointwise(g) {
        let packed = pack_weights(weight, dy.kind, shape, false)?;
        if library(Pass::BackwardData, input, channels, g, [dx, packed.view(), dy], add)? {
            return Ok(());
        }
    }
    // One row of weights for every input channel.
    let packed = pack_weights(weight, dy.kind, shape, true)?;
    let depth = taps * channels;
    let mut product = |first: usize, rows: usize, columns: View<'_>| {
        let to = dx.range(first * input.channels..(first + rows) * input.channels)?;
        dy.engine.gemm(&Gemm {
            m: rows,
            n: input.channels,
            k: depth,
            a: operand(columns, depth, false),
            b: operand(packed.view(), depth, true),
            c: operand(to, input.channels, false),
            beta: f32::from(u8::from(add)),
        })
    };
    if is_pointwise(g) {
        return product(0, input.batch * input.voxels(), dy);
    }
    Columns { source: dy, rows: input.space, from: output, geometry: g, turned: true }.each(&mut product)
}

/// The gradient of the weight (out, in, kz, ky, kx), into `dw`.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn conv_backward_weights(
    x: View<'_>,
    input: Dims,
    dy: View<'_>,
    channels: usize,
    g: &ConvGeometry,
    dw: View<'_>,
) -> Result<(), NnError> {
    let (output, taps) = (output(input, channels, g), g.taps());
    activations(x, input.len())?;
    activations(dy, output.len())?;
    dy.expect(x.kind)?;
    let shape = [channels, input.channels, taps];
    if !is_pointwise(g) {
        let packed = Array::new(x.engine, x.kind, dw.len)?;
        if library(Pass::BackwardWeights, input, channels, g, [x, packed.view(), dy], false)? {
            return unpack_weights(packed.view(), dw, shape);
        }
    }
    let packed = Array::new(x.engine, Kind::F32, dw.len)?;
    let depth = taps * input.channels;
    let mut product = |first: usize, rows: usize, columns: View<'_>| {
        let gradients = dy.range(first * channels..(first + rows) * channels)?;
        x.engine.gemm(&Gemm {
            m: channels,
            n: depth,
            k: rows,
            a: operand(gradients, channels, true),
            b: operand(columns, depth, false),
            c: operand(packed.view(), depth, false),
            beta: f32::from(u8::from(first > 0)),
        })
    };
    if is_pointwise(g) {
        product(0, input.batch * input.voxels(), x)?;
    } else {
        let columns = Columns { source: x, rows: output.space, from: input, geometry: g, turned: false };
        columns.each(&mut product)?;
    }
    unpack_weights(packed.view(), dw, shape)
}

/// Asks the library for a pass over `[x, weights (out, tap, in), y]`; false if it has none.
fn library(
    pass: Pass,
    input: Dims,
    channels: usize,
    geometry: &ConvGeometry,
    [x, weight, y]: [View<'_>; 3],
    add: bool,
) -> Result<bool, NnError> {
    x.engine.convolve(&Convolution {
        pass,
        input,
        channels,
        geometry: *geometry,
        kind: x.kind,
        x: x.pointer,
        weight: weight.pointer,
        y: y.pointer,
        add,
    })
}

/// Sum over rows of `pitch` values of the first `channels` of each, into `out`.
///
/// # Errors
/// Shapes that do not fit, or the device failed.
pub fn sum_channels(x: View<'_>, pitch: usize, channels: usize, out: View<'_>) -> Result<(), NnError> {
    let rows = x.len / pitch.max(1);
    activations(x, rows * pitch)?;
    floats(out, channels)?;
    if channels > pitch {
        return Err(NnError::Unsupported(format!("{channels} channels of rows of {pitch} values")));
    }
    let (chunk, number) = chunks(rows);
    let groups = channels.div_ceil(LANES);
    let partial = Array::new(x.engine, Kind::F32, number * channels)?;
    let arguments =
        [pointer(x), pointer(partial.view()), count(rows)?, count(pitch)?, count(channels)?, count(chunk)?];
    let kernel = format!("channel_partial_{}", x.kind.suffix());
    launch(&**x.engine, &kernel, [number, groups, 1], &arguments)?;
    let arguments = [pointer(partial.view()), pointer(out), count(channels)?, count(number)?];
    launch(&**x.engine, "channel_finish", [groups, 1, 1], &arguments)
}
