//! Transforms of kernels and of their gradients, several at a time.

use rayon::prelude::*;

use super::super::bf16::round_pairs;
use super::super::pack::{Weights, gather};
use super::super::scratch::Scratch;
use super::transform::{A, POWERS};
use super::{Grid, POINTS, SIDE};

/// The same number of several kernels.
type Lanes<const L: usize> = [f32; L];

/// Weights as `[block of output channels][point][tap along z][input
/// channel][lane]`.
pub(crate) fn transform_weights(grid: &Grid, weights: &(impl Weights + ?Sized)) -> Scratch<f32> {
    let (taps, [ci, co]) = (grid.plan.taps[0], grid.channels());
    let block = grid.block();
    let mut data = Scratch::any(co / block * POINTS * taps * ci * block);
    data.par_chunks_mut(POINTS * taps * ci * block).enumerate().for_each(|(number, chunk)| {
        let lanes = number * block..(number + 1) * block;
        gather(weights, 0, 9 * taps, ci, lanes, block, |channels, values| {
            for (c, values) in channels.zip(values.chunks_exact(9 * taps * block)) {
                for (tz, values) in values.chunks_exact(9 * block).enumerate() {
                    transform_block(values, block, &mut chunk[(tz * ci + c) * block..], taps * ci * block);
                }
            }
        });
    });
    data
}

/// [`transform_weights`] rounded to bf16: `[block of output channels][point][tap along z][pair of input channels][lane][2]`.
pub(crate) fn transform_weights_half(grid: &Grid, weights: &(impl Weights + ?Sized)) -> Scratch<u16> {
    let (taps, [ci, co]) = (grid.plan.taps[0], grid.channels());
    let block = grid.block();
    let mut data = Scratch::any(co / block * POINTS * taps * ci * block);
    data.par_chunks_mut(POINTS * taps * ci * block).enumerate().for_each(|(number, chunk)| {
        let lanes = number * block..(number + 1) * block;
        let mut both = vec![0.0; 2 * POINTS * block];
        gather(weights, 0, 9 * taps, ci, lanes, block, |channels, values| {
            for (c, values) in channels.step_by(2).zip(values.chunks_exact(2 * 9 * taps * block)) {
                for tz in 0..taps {
                    for (odd, to) in both.chunks_exact_mut(POINTS * block).enumerate() {
                        let values = &values[(odd * taps + tz) * 9 * block..][..9 * block];
                        transform_block(values, block, to, block);
                    }
                    let (even, odd) = both.split_at(POINTS * block);
                    for (point, (even, odd)) in
                        even.chunks_exact(block).zip(odd.chunks_exact(block)).enumerate()
                    {
                        let at = (point * taps * ci + tz * ci + c) * block;
                        round_pairs(even, odd, &mut chunk[at..at + 2 * block]);
                    }
                }
            }
        });
    });
    data
}

/// The kernels of one input channel and tap along z, `[tap in the plane][lane]`, to points that lie `step` values apart.
fn transform_block(values: &[f32], block: usize, to: &mut [f32], step: usize) {
    if block.is_multiple_of(16) {
        lanes::<16>(values, block, to, step);
    } else if block.is_multiple_of(8) {
        lanes::<8>(values, block, to, step);
    } else {
        lanes::<4>(values, block, to, step);
    }
}

fn lanes<const L: usize>(values: &[f32], block: usize, to: &mut [f32], step: usize) {
    for lane in (0..block).step_by(L) {
        let mut g = [[0.0; L]; 9];
        for (g, values) in g.iter_mut().zip(values.chunks_exact(block)) {
            g.copy_from_slice(&values[lane..lane + L]);
        }
        let [a, b, c] = [0, 3, 6].map(|y| forth([g[y], g[y + 1], g[y + 2]]));
        for px in 0..SIDE {
            for (py, value) in forth([a[px], b[px], c[px]]).into_iter().enumerate() {
                to[(py * SIDE + px) * step + lane..][..L].copy_from_slice(&value);
            }
        }
    }
}

/// `1 / (24 A⁴)`, which the rows of `G` for the points other than infinity share.
const SHARE: f32 = 1.0 / (24.0 * A * A * A * A);

/// `G · g` of F(4,3).
#[inline(always)]
fn forth<const L: usize>(g: [Lanes<L>; 3]) -> [Lanes<L>; SIDE] {
    let mut out = [[0.0; L]; SIDE];
    for l in 0..L {
        let [first, middle, last] = [g[0][l] * SHARE, g[1][l] * SHARE * A, g[2][l] * SHARE * (A * A)];
        let (ends, wide) = ((first + last) * -4.0, first + last * 4.0);
        out[0][l] = first * 6.0;
        out[1][l] = ends - middle * 4.0;
        out[2][l] = ends + middle * 4.0;
        out[3][l] = wide + middle * 2.0;
        out[4][l] = wide - middle * 2.0;
        out[5][l] = g[2][l] / POWERS[3];
    }
    out
}

/// `Gᵀ · u` of F(4,3).
#[inline(always)]
fn back<const L: usize>(u: [Lanes<L>; SIDE]) -> [Lanes<L>; 3] {
    let mut out = [[0.0; L]; 3];
    for l in 0..L {
        let (sum12, sum34) = (u[1][l] + u[2][l], u[3][l] + u[4][l]);
        out[0][l] = (u[0][l] * 6.0 - sum12 * 4.0 + sum34) * SHARE;
        out[1][l] = ((u[2][l] - u[1][l]) * 4.0 + (u[3][l] - u[4][l]) * 2.0) * (SHARE * A);
        out[2][l] = (sum34 - sum12) * (4.0 * SHARE * A * A) + u[5][l] / POWERS[3];
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
