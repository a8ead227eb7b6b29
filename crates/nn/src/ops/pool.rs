//! Max pooling.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::slice::{dims, shape, slice, tensor, with_values};
use crate::kernels::Dims;

/// Largest value of each box of a channels-last tensor; voxels beyond the last whole box are left out. The gradient goes to
/// the first of the largest values.
///
/// # Errors
/// A size of 0, or a tensor that is not f32 on the CPU.
pub fn max_pool(x: &Tensor, size: [usize; 3]) -> Result<Tensor> {
    if size.contains(&0) {
        bail!("max pooling: boxes of {size:?} voxels, expected sizes above 0");
    }
    x.contiguous()?.apply_op1(MaxPool { size, chosen: OnceLock::new() })
}

struct MaxPool {
    size: [usize; 3],
    /// Index of the input value that each output value is.
    chosen: OnceLock<Vec<usize>>,
}

impl MaxPool {
    fn run(&self, x: &[f32], input: Dims) -> (Vec<f32>, Vec<usize>, Dims) {
        let space: [usize; 3] = std::array::from_fn(|a| input.space[a] / self.size[a]);
        let output = Dims { space, ..input };
        let c = input.channels;
        let mut values = vec![f32::NEG_INFINITY; output.len()];
        let mut chosen = vec![0; output.len()];
        let mut to = 0;
        for b in 0..input.batch {
            for [z, y, x0] in boxes(space) {
                for [i, j, k] in boxes(self.size) {
                    let [z, y, x0] = [z * self.size[0] + i, y * self.size[1] + j, x0 * self.size[2] + k];
                    let from = (((b * input.space[0] + z) * input.space[1] + y) * input.space[2] + x0) * c;
                    for channel in 0..c {
                        let value = x[from + channel];
                        // A value that is not a number is passed on, not hidden.
                        if value > values[to + channel] || value.is_nan() || [i, j, k] == [0; 3] {
                            values[to + channel] = value;
                            chosen[to + channel] = from + channel;
                        }
                    }
                }
                to += c;
            }
        }
        (values, chosen, output)
    }
}

/// All positions of a grid, the last axis fastest.
fn boxes(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [nz, ny, nx] = size;
    (0..nz).flat_map(move |z| (0..ny).flat_map(move |y| (0..nx).map(move |x| [z, y, x])))
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = dims(self.name(), layout)?;
        let (values, chosen, output) = self.run(slice(self.name(), x, layout)?, input);
        let _ = self.chosen.set(chosen);
        Ok((CpuStorage::F32(values), shape(output)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(chosen) = self.chosen.get() else { bail!("{}: no forward pass", self.name()) };
        let input = dims(self.name(), x.layout())?;
        let mut dx = vec![0.0; input.len()];
        with_values(gradient, |gradient| {
            chosen.iter().zip(gradient).for_each(|(&at, value)| dx[at] += value);
        })?;
        Ok(Some(tensor(dx, input)?))
    }
}
