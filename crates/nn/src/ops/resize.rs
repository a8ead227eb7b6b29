//! Linear interpolation to another size.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::slice::{dims, shape, slice, tensor, with_values};
use crate::kernels::Dims;

/// A channels-last tensor at `size` voxels (z, y, x), interpolated linearly between the centres of voxels; beyond the first
/// and last centre values stay the same (PyTorch's `align_corners=False`).
///
/// # Errors
/// A size of 0, or a tensor that is not f32 on the CPU.
pub fn resize_linear(x: &Tensor, size: [usize; 3]) -> Result<Tensor> {
    let input = dims("resize", x.layout())?;
    if size.contains(&0) || input.space.contains(&0) {
        bail!("resize: from {:?} to {size:?} voxels, expected sizes above 0", input.space);
    }
    if input.space == size { Ok(x.clone()) } else { x.contiguous()?.apply_op1(Resize { size }) }
}

struct Resize {
    size: [usize; 3],
}

/// Where a voxel of the result lies: two voxels of the input and the weight of the second.
type Tap = (usize, usize, f32);

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        (first, (first + 1).min(from - 1), (at - first as f64) as f32)
    };
    (0..to).map(tap).collect()
}

impl Resize {
    fn forward(&self, x: &[f32], input: Dims) -> Vec<f32> {
        let (mut values, mut at) = (x.to_vec(), input);
        for axis in 0..3 {
            if at.space[axis] == self.size[axis] {
                continue;
            }
            let (from, inner) = (at.space[axis], inner(at, axis).max(1));
            let taps = taps(from, self.size[axis]);
            at.space[axis] = self.size[axis];
            let mut resized = vec![0.0; at.len()];
            let rows = resized.par_chunks_mut((taps.len() * inner).max(1));
            rows.zip(values.par_chunks((from * inner).max(1))).for_each(|(to, row)| {
                for (to, &(a, b, t)) in to.chunks_exact_mut(inner).zip(&taps) {
                    let (a, b) = (&row[a * inner..][..inner], &row[b * inner..][..inner]);
                    to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = a + (b - a) * t);
                }
            });
            values = resized;
        }
        values
    }

    /// The transpose: what each value of the input gave, summed up.
    fn backward(&self, gradient: &[f32], input: Dims) -> Vec<f32> {
        let (mut values, mut at) = (gradient.to_vec(), Dims { space: self.size, ..input });
        for axis in (0..3).rev() {
            let (from, to) = (input.space[axis], self.size[axis]);
            if from == to {
                continue;
            }
            let (taps, inner) = (taps(from, to), inner(at, axis).max(1));
            at.space[axis] = from;
            let mut summed = vec![0.0; at.len()];
            let rows = summed.par_chunks_mut((from * inner).max(1));
            rows.zip(values.par_chunks((to * inner).max(1))).for_each(|(sum, row)| {
                for (given, &(a, b, t)) in row.chunks_exact(inner).zip(&taps) {
                    for (i, value) in given.iter().enumerate() {
                        sum[a * inner + i] += value * (1.0 - t);
                        sum[b * inner + i] += value * t;
                    }
                }
            });
            values = summed;
        }
        values
    }
}

/// Values from one voxel of an axis to the next.
fn inner(dims: Dims, axis: usize) -> usize {
    dims.space[axis + 1..].iter().product::<usize>() * dims.channels
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = dims(self.name(), layout)?;
        let values = self.forward(slice(self.name(), x, layout)?, input);
        Ok((CpuStorage::F32(values), shape(Dims { space: self.size, ..input })))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let input = dims(self.name(), x.layout())?;
        let dx = with_values(gradient, |gradient| self.backward(gradient, input))?;
        Ok(Some(tensor(dx, input)?))
    }
}
