//! Transforms of kernels and of their gradients, several at a time.

use rayon::prelude::*;

use super::{Grid, POINTS, SIDE};

/// The same number of several kernels.
type Lanes<const L: usize> = [f32; L];

/// Weights `weight(tap, input channel, output channel)` as `[block of output channels][point][tap along z][input
/// channel][lane]`.
pub(crate) fn transform_weights(grid: &Grid, weight: impl Fn(usize, usize, usize) -> f32 + Sync) -> Vec<f32> {
    let (taps, [ci, co]) = (grid.plan.taps[0], grid.channels());
    let block = grid.block();
    let mut data = vec![0.0; co / block * POINTS * taps * ci * block];
    data.par_chunks_mut(POINTS * taps * ci * block).enumerate().for_each(|(number, chunk)| {
        let transform = |c: usize, tz: usize, chunk: &mut [f32]| {
            let weight = |tap: usize, lane: usize| weight(tz * 9 + tap, c, number * block + lane);
            let (row, rows) = (tz * ci + c, taps * ci);
            if block.is_multiple_of(8) {
                transform_block::<8>(weight, block, row, rows, chunk);
            } else {
                transform_block::<4>(weight, block, row, rows, chunk);
            }
        };
        // Taps of a channel lie together in the weights of a convolution, so they are read together.
        for (c, tz) in (0..ci).flat_map(|c| (0..taps).map(move |tz| (c, tz))) {
            transform(c, tz, chunk);
        }
    });
    data
}

/// The kernels of one row of a block: one input channel and tap along z, all lanes.
fn transform_block<const L: usize>(
    weight: impl Fn(usize, usize) -> f32,
    block: usize,
    row: usize,
    rows: usize,
    chunk: &mut [f32],
) {
    for lane in (0..block).step_by(L) {
        let mut g = [[0.0; L]; 9];
        for l in 0..L {
            for (tap, g) in g.iter_mut().enumerate() {
                g[l] = weight(tap, lane + l);
            }
        }
        let [a, b, c] = [0, 3, 6].map(|y| forth([g[y], g[y + 1], g[y + 2]]));
        for px in 0..SIDE {
            for (py, value) in forth([a[px], b[px], c[px]]).into_iter().enumerate() {
                let at = ((py * SIDE + px) * rows + row) * block + lane;
                chunk[at..at + L].copy_from_slice(&value);
            }
        }
    }
}

/// `G · g` of F(4,3).
#[inline(always)]
fn forth<const L: usize>(g: [Lanes<L>; 3]) -> [Lanes<L>; SIDE] {
    let mut out = [[0.0; L]; SIDE];
    for l in 0..L {
        let [first, middle, last] = [g[0][l], g[1][l], g[2][l]];
        let (ends, wide) = ((first + last) * (-1.0 / 6.0), first * (1.0 / 24.0) + last * (1.0 / 6.0));
        out[0][l] = first * 0.25;
        out[1][l] = ends - middle * (1.0 / 6.0);
        out[2][l] = ends + middle * (1.0 / 6.0);
        out[3][l] = wide + middle * (1.0 / 12.0);
        out[4][l] = wide - middle * (1.0 / 12.0);
        out[5][l] = last;
    }
    out
}

/// `Gᵀ · u` of F(4,3).
#[inline(always)]
fn back<const L: usize>(u: [Lanes<L>; SIDE]) -> [Lanes<L>; 3] {
    let mut out = [[0.0; L]; 3];
    for l in 0..L {
        let (sum12, sum34) = (u[1][l] + u[2][l], u[3][l] + u[4][l]);
        out[0][l] = u[0][l] * 0.25 - sum12 * (1.0 / 6.0) + sum34 * (1.0 / 24.0);
        out[1][l] = (u[2][l] - u[1][l]) * (1.0 / 6.0) + (u[3][l] - u[4][l]) * (1.0 / 12.0);
        out[2][l] = (sum34 - sum12) * (1.0 / 6.0) + u[5][l];
    }
    out
}

/// `Gᵀ · u · G` of `L` kernels: the gradients of kernels from those of their transforms, tap by tap.
pub(super) fn transform_back<const L: usize>(u: &[Lanes<L>; POINTS]) -> [Lanes<L>; 9] {
    let columns: [[Lanes<L>; 3]; SIDE] =
        std::array::from_fn(|px| back(std::array::from_fn(|py| u[py * SIDE + px])));
    let mut out = [[0.0; L]; 9];
    for y in 0..3 {
        let row = back(std::array::from_fn(|px| columns[px][y]));
        out[3 * y..3 * y + 3].copy_from_slice(&row);
    }
    out
}
