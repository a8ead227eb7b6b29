//! Transforms of kernels and of their gradients.

use rayon::prelude::*;

use super::{Grid, POINTS, SIDE};

/// Weight transform of F(4,3).
const G: [[f64; 3]; SIDE] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Weights `weight(tap, input channel, output channel)` as `[block of output channels][point][tap along z][input
/// channel][lane]`.
pub(crate) fn transform_weights(grid: &Grid, weight: impl Fn(usize, usize, usize) -> f32 + Sync) -> Vec<f32> {
    let (taps, [ci, co]) = (grid.plan.taps[0], grid.channels());
    let block = grid.block();
    let mut data = vec![0.0; co / block * POINTS * taps * ci * block];
    data.par_chunks_mut(POINTS * taps * ci * block).enumerate().for_each(|(number, chunk)| {
        for (row, lane) in (0..taps * ci).flat_map(|row| (0..block).map(move |lane| (row, lane))) {
            let (tz, c) = (row / ci, row % ci);
            let g: [f32; 9] = std::array::from_fn(|t| weight(tz * 9 + t, c, number * block + lane));
            for (point, value) in transform_kernel(&g).into_iter().enumerate() {
                chunk[(point * taps * ci + row) * block + lane] = value;
            }
        }
    });
    data
}

/// `G · g · Gᵀ`
fn transform_kernel(g: &[f32; 9]) -> [f32; POINTS] {
    let mut out = [0.0; POINTS];
    let g = g.map(f64::from);
    for (py, gy) in G.iter().enumerate() {
        let row: [f64; 3] = std::array::from_fn(|k| gy[0] * g[k] + gy[1] * g[3 + k] + gy[2] * g[6 + k]);
        for (px, gx) in G.iter().enumerate() {
            out[py * SIDE + px] = (gx[0] * row[0] + gx[1] * row[1] + gx[2] * row[2]) as f32;
        }
    }
    out
}

/// `Gᵀ · u · G`: the gradient of the kernel from that of its transform.
pub(super) fn transform_kernel_back(u: &[f32; POINTS]) -> [f32; 9] {
    let mut rows = [[0.0f64; 3]; SIDE];
    for (py, row) in rows.iter_mut().enumerate() {
        for (px, gx) in G.iter().enumerate() {
            let u = f64::from(u[py * SIDE + px]);
            row.iter_mut().zip(gx).for_each(|(value, g)| *value += u * g);
        }
    }
    std::array::from_fn(|k| rows.iter().zip(G).map(|(row, g)| g[k / 3] * row[k % 3]).sum::<f64>() as f32)
}
