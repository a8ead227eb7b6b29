//! Linear interpolation of images, each output as one sum over its neighbours.
//!
//! The sum is not split into one pass per axis: so it rounds exactly as in the reference, and no volume in double precision
//! is needed.

use ndarray::ArrayView3;
use rayon::prelude::*;

use super::axis::LinearTaps;

/// Resamples a volume; `finish` turns each sum into the stored value.
pub(super) fn volume(
    data: ArrayView3<'_, f32>,
    new_shape: [usize; 3],
    finish: impl Fn(f64) -> f32 + Sync,
) -> Vec<f32> {
    let shape: [usize; 3] = data.dim().into();
    let taps: [LinearTaps; 3] = std::array::from_fn(|axis| LinearTaps::new(shape[axis], new_shape[axis]));
    let data = data.as_standard_layout();
    let values = data.as_slice().unwrap_or_default();
    let mut out = vec![0.0; new_shape.iter().product()];
    out.par_chunks_mut(new_shape[2]).enumerate().for_each_init(
        || vec![0.0; 4 * shape[2]],
        |scratch, (row, out)| {
            let (z, y) = (row / new_shape[1], row % new_shape[1]);
            let rows = weigh_rows(values, shape, &taps, [z, y], scratch);
            for (x, out) in out.iter_mut().enumerate() {
                let (index, weights) = taps[2].at(x);
                let mut sum = 0.0;
                for row in scratch[..rows * shape[2]].chunks_exact(shape[2]) {
                    for tap in 0..taps[2].count {
                        sum += row[index[tap]] * weights[tap];
                    }
                }
                *out = finish(sum);
            }
        },
    );
    out
}

/// Puts the input rows around an output row into `scratch`, each multiplied by its weights; gives their number.
fn weigh_rows(
    values: &[f32],
    shape: [usize; 3],
    taps: &[LinearTaps; 3],
    [z, y]: [usize; 2],
    scratch: &mut [f64],
) -> usize {
    let ((iz, wz), (iy, wy)) = (taps[0].at(z), taps[1].at(y));
    let counts = [taps[0].count, taps[1].count];
    for a in 0..counts[0] {
        for b in 0..counts[1] {
            let source = &values[(iz[a] * shape[1] + iy[b]) * shape[2]..][..shape[2]];
            let target = &mut scratch[(a * counts[1] + b) * shape[2]..][..shape[2]];
            for (target, &value) in target.iter_mut().zip(source) {
                *target = f64::from(value) * wz[a] * wy[b];
            }
        }
    }
    counts[0] * counts[1]
}
