//! Spline interpolation of volumes, one axis at a time and in the memory of input and result.
//!
//! Lines are interpolated in double precision; between the axes, values are kept in single precision around the mean of the
//! volume. The pass along z works in place, so that beside input and result there is only what one thread needs for a plane.

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, Axis};
use rayon::slice::ParallelSliceMut;

use super::line::{Block, LANES, Line};

/// One volume (or plane) on its way to another shape.
pub(super) struct Spline {
    shape: [usize; 3],
    new_shape: [usize; 3],
    /// None for an axis whose size stays.
    lines: [Option<Line>; 3],
}

/// Where the values of a volume or plane lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Their mean, around which they are kept.
    pub(super) centre: f32,
    /// The least value, to which results are clipped.
    pub(super) low: f32,
    /// The largest value, to which results are clipped.
    pub(super) high: f32,
}

impl Span {
    /// Moves a result back to where the values lie and clips it.
    pub(super) fn finish(&self, value: f64) -> f32 {
        let value = (value + f64::from(self.centre)) as f32;
        // Not `clamp`: NaN stays NaN, and a volume of NaN alone has no range.
        let value = if value < self.low { self.low } else { value };
        if value > self.high { self.high } else { value }
    }
}

/// Stores a row of results; the last pass moves them back and clips them.
fn store<'a>(to: impl IntoIterator<Item = &'a mut f32>, from: &[f64], last: Option<&Span>) {
    let pairs = to.into_iter().zip(from);
    match last {
        Some(span) => pairs.for_each(|(to, &from)| *to = span.finish(from)),
        None => pairs.for_each(|(to, &from)| *to = from as f32),
    }
}

/// What a thread works in.
#[derive(Default)]
pub(super) struct Scratch {
    block: Block,
    source: Vec<f32>,
    plane: Vec<f32>,
}

impl Spline {
    /// Prepares to interpolate with a spline of `order` (1 to 5).
    pub(super) fn new(shape: [usize; 3], new_shape: [usize; 3], order: u8) -> Self {
        let line = |axis: usize| {
            (shape[axis] != new_shape[axis]).then(|| Line::new(shape[axis], new_shape[axis], order))
        };
        Self { shape, new_shape, lines: std::array::from_fn(line) }
    }

    /// The interpolated volume in C order.
    pub(super) fn volume(&self, data: ArrayView3<'_, f32>, span: &Span) -> Vec<f32> {
        let ([nz, ny, nx], [mz, my, mx]) = (self.shape, self.new_shape);
        // Planes first, then along z in place; or along z first where that needs less room.
        if nz.max(mz) * my * mx <= mz * (ny * nx).max(my * mx) {
            self.planes_first(data, span)
        } else {
            self.z_first(data, span)
        }
    }

    fn planes_first(&self, data: ArrayView3<'_, f32>, span: &Span) -> Vec<f32> {
        let ([nz, ..], [mz, my, mx]) = (self.shape, self.new_shape);
        let (rows, plane) = (nz.max(mz), my * mx);
        let mut out = vec![0.0; rows * plane];
        let last = self.lines[0].is_none().then_some(span);
        out[..nz * plane].par_chunks_mut(plane).enumerate().for_each_init(
            Scratch::default,
            |scratch, (z, out)| {
                let slice = data.index_axis(Axis(0), z);
                match slice.as_slice() {
                    Some(values) => self.plane(values, span.centre, out, last, scratch),
                    None => {
                        let values = std::mem::take(&mut scratch.source);
                        let values = collect(slice, values);
                        self.plane(&values, span.centre, out, last, scratch);
                        scratch.source = values;
                    }
                }
            },
        );
        let Some(line) = &self.lines[0] else { return out };
        let Ok(mut target) = ArrayViewMut2::from_shape((rows, plane), &mut out) else { return out };
        target.axis_chunks_iter_mut(Axis(1), LANES).into_par_iter().for_each_init(
            Block::default,
            |block, columns| {
                columns_in_place(line, block, columns, span);
            },
        );
        out.truncate(mz * plane);
        out.shrink_to_fit();
        out
    }

    fn z_first(&self, data: ArrayView3<'_, f32>, span: &Span) -> Vec<f32> {
        let ([_, ny, nx], [mz, my, mx]) = (self.shape, self.new_shape);
        let (small, large) = (ny * nx, my * mx);
        let stride = small.max(large);
        let mut out = vec![0.0; mz * stride];
        let data = data.as_standard_layout();
        let values = data.as_slice().unwrap_or_default();
        let last = (self.lines[1].is_none() && self.lines[2].is_none()).then_some(span);
        if let (Some(line), Ok(mut target)) =
            (&self.lines[0], ArrayViewMut2::from_shape((mz, stride), &mut out))
        {
            let mut target = target.slice_axis_mut(Axis(1), (..small).into());
            target.axis_chunks_iter_mut(Axis(1), LANES).into_par_iter().enumerate().for_each_init(
                Block::default,
                |block, (chunk, mut columns)| {
                    let width = columns.len_of(Axis(1));
                    line.run(
                        block,
                        |i, row| {
                            let from = &values[i * small + chunk * LANES..][..width];
                            row.iter_mut()
                                .zip(from)
                                .for_each(|(to, &v)| *to = f64::from(v) - f64::from(span.centre));
                        },
                        |k, row| store(columns.row_mut(k), row, last),
                    );
                },
            );
        }
        if last.is_some() {
            return out;
        }
        out.par_chunks_mut(stride).for_each_init(Scratch::default, |scratch, plane| {
            let mut source = std::mem::take(&mut scratch.source);
            source.clear();
            source.extend_from_slice(&plane[..small]);
            self.plane(&source, 0.0, &mut plane[..large], Some(span), scratch);
            scratch.source = source;
        });
        if stride > large {
            (1..mz).for_each(|z| out.copy_within(z * stride..z * stride + large, z * large));
            out.truncate(mz * large);
            out.shrink_to_fit();
        }
        out
    }

    /// Interpolates a plane along x, then along y; `centre` is subtracted first, and if this is the last pass, results are
    /// clipped and moved back.
    pub(super) fn plane(
        &self,
        values: &[f32],
        centre: f32,
        out: &mut [f32],
        last: Option<&Span>,
        scratch: &mut Scratch,
    ) {
        let Scratch { block, plane, .. } = scratch;
        let (nx, mx) = (self.shape[2], self.new_shape[2]);
        let Some(down) = &self.lines[1] else {
            return self.rows(values, centre, out, last, block);
        };
        let (source, centre) = if self.lines[2].is_some() {
            plane.resize(self.shape[1] * mx, 0.0);
            self.rows(values, centre, plane, None, block);
            (plane.as_slice(), 0.0)
        } else {
            (&values[..self.shape[1] * nx], centre)
        };
        for first in (0..mx).step_by(LANES) {
            let width = LANES.min(mx - first);
            down.run(
                block,
                |i, row| {
                    let from = &source[i * mx + first..][..width];
                    row.iter_mut().zip(from).for_each(|(to, &v)| *to = f64::from(v) - f64::from(centre));
                },
                |k, row| store(&mut out[k * mx + first..][..width], row, last),
            );
        }
    }

    /// Interpolates the rows of a plane along x.
    fn rows(&self, values: &[f32], centre: f32, out: &mut [f32], last: Option<&Span>, block: &mut Block) {
        let (nx, mx) = (self.shape[2], self.new_shape[2]);
        let centre = f64::from(centre);
        let Some(along) = &self.lines[2] else {
            for (values, out) in values.chunks(LANES).zip(out.chunks_mut(LANES)) {
                let mut row = [0.0; LANES];
                row.iter_mut().zip(values).for_each(|(to, &v)| *to = f64::from(v) - centre);
                store(out, &row, last);
            }
            return;
        };
        for (values, out) in values.chunks(LANES * nx).zip(out.chunks_mut(LANES * mx)) {
            let lines = values.len() / nx;
            along.run(
                block,
                |i, row| {
                    row.iter_mut()
                        .take(lines)
                        .enumerate()
                        .for_each(|(l, to)| *to = f64::from(values[l * nx + i]) - centre);
                },
                |k, row| store(out[k..].iter_mut().step_by(mx).take(lines), row, last),
            );
        }
    }
}

/// Interpolates columns, with the results in the place of the samples.
fn columns_in_place(line: &Line, block: &mut Block, columns: ArrayViewMut2<'_, f32>, span: &Span) {
    let columns = std::cell::RefCell::new(columns);
    line.run(
        block,
        |i, row| row.iter_mut().zip(columns.borrow().row(i)).for_each(|(to, &from)| *to = f64::from(from)),
        |k, row| store(columns.borrow_mut().row_mut(k), row, Some(span)),
    );
}

fn collect(slice: ArrayView2<'_, f32>, mut values: Vec<f32>) -> Vec<f32> {
    values.clear();
    values.extend(slice.iter());
    values
}
