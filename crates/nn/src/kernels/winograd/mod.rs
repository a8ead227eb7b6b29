//! Winograd's minimal filtering for 3×3 kernels in the plane, F(4,3) along y and x: a quarter of the products.
//!
//! A tile of 4×4 outputs comes from 6×6 inputs. Inputs, weights and outputs are transformed by small constant matrices; in
//! between, each of the 36 points is an ordinary product over input channels (and taps along z) that the direct kernel's
//! register block computes. Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2016).

mod forward;
mod outer;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod transform;
mod weights;

pub(crate) use forward::correlate;
#[cfg(target_arch = "x86_64")]
pub(crate) use forward::correlate_half;
pub(crate) use outer::outer;
#[cfg(target_arch = "x86_64")]
pub(crate) use outer::outer_half;
pub(crate) use weights::{transform_weights, transform_weights_half};

use super::bf16::BLOCK;
use super::boxes::Boxes;
use super::correlate::isa_lanes;
use super::isa::Isa;
use super::shape::Correlation;

/// Outputs from which on more than the weights' transform is saved in bf16.
const OUTPUTS: usize = 700;
/// Outputs of a tile along an axis.
const TILE: usize = 4;
/// Points of a tile along an axis.
const SIDE: usize = 6;
/// Points of a tile.
const POINTS: usize = SIDE * SIDE;
/// Transformed values that stay in a second level cache beside the products.
const CACHED: usize = 1 << 17;

/// A correlation laid out in tiles.
pub(crate) struct Grid {
    plan: Correlation,
    /// Tiles along y and x.
    tiles: [usize; 2],
    lanes: usize,
    /// Registers per block of output channels.
    registers: usize,
    /// Whether products are those of AVX512-BF16.
    half: bool,
}

impl Grid {
    /// The tiles of a correlation, where the method applies and saves work.
    pub(crate) fn of(plan: &Correlation, isa: Isa) -> Option<Self> {
        let lanes = isa_lanes(isa);
        let dense = plan.in_stride == [1; 3] && plan.out_step == [1; 3] && plan.out_start == [0; 3];
        let channels = !plan.is_empty()
            && plan.input.channels.is_multiple_of(lanes)
            && plan.output.channels.is_multiple_of(lanes);
        if isa == Isa::Portable
            || !dense
            || !channels
            || plan.taps[1..] != [3, 3]
            || plan.count != plan.output.space
        {
            return None;
        }
        let tiles = [plan.count[1].div_ceil(TILE), plan.count[2].div_ceil(TILE)];
        let products = POINTS * tiles[0] * tiles[1];
        if 10 * products > 7 * 9 * plan.count[1] * plan.count[2] || plan.count[0] * tiles[0] * tiles[1] < 12 {
            return None;
        }
        let registers = match plan.output.channels / lanes {
            n if isa == Isa::Neon && n.is_multiple_of(4) => 4,
            n if n.is_multiple_of(2) => 2,
            _ => 1,
        };
        Some(Self { plan: *plan, tiles, lanes, registers, half: false })
    }

    /// The tiles of a correlation with transforms in f32 and products by AVX512-BF16, where that takes less time than the direct
    /// method in bf16.
    pub(crate) fn of_half(plan: &Correlation) -> Option<Self> {
        let grid = Self::of(plan, Isa::Avx512)?;
        // Weights are four times as many, and are read once per box.
        let outputs = plan.input.batch * plan.count.iter().product::<usize>();
        let wide = plan.output.channels.is_multiple_of(BLOCK);
        (wide && outputs >= OUTPUTS).then_some(Self { half: true, ..grid })
    }

    /// Output channels per block.
    pub(crate) fn block(&self) -> usize {
        self.registers * self.lanes
    }

    fn channels(&self) -> [usize; 2] {
        [self.plan.input.channels, self.plan.output.channels]
    }

    /// Boxes of tiles whose estimated time per tile is least.
    fn boxes(&self, blocks: usize, cost: impl Fn([usize; 3]) -> f64) -> Boxes {
        let [nz, ny, nx] = [self.plan.count[0], self.tiles[0], self.tiles[1]];
        let mut best = ([1, 1, 1], f64::INFINITY);
        let steps = |n: usize| (1..=n.min(8)).chain([12, 16, 24, 32, n]).filter(move |s| *s <= n);
        for z in (1..=nz).take(8) {
            for y in steps(ny) {
                for x in steps(nx) {
                    let cost = cost([z, y, x]) / (z * y * x) as f64;
                    if cost < best.1 {
                        best = ([z, y, x], cost);
                    }
                }
            }
        }
        Boxes::new(self.plan.input.batch, [nz, ny, nx], [1, TILE, TILE], best.0, blocks)
    }

    /// Cycles, roughly, for reading and transforming the input of a box, and the values that this makes, for `channels`
    /// input channels.
    fn input_cost(&self, [z, y, x]: [usize; 3], channels: usize) -> (f64, usize) {
        let planes = z + self.plan.taps[0] - 1;
        let vectors = (channels / self.lanes) as f64;
        let slab = (planes * (TILE * y + 2) * (TILE * x + 2)) as f64 * vectors * 4.0;
        let tiles = planes * y * x;
        let values = tiles * POINTS * channels;
        (slab + tiles as f64 * vectors * 250.0, if self.half { values / 2 } else { values })
    }
}

/// How much slower products run whose operands do not stay in a cache.
fn slowdown(values: usize) -> f64 {
    match values {
        n if n <= CACHED => 1.0,
        n if n <= 4 * CACHED => 1.15,
        _ => 1.5,
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use proptest::prelude::*;

    use super::super::bf16::{Engine, engine};
    use super::super::conv::forward_plan;
    use super::super::pack::Strided;
    use super::super::shape::{ConvGeometry, Dims};
    use super::super::source::{ChannelMap, Source};
    use super::super::{isa, portable};
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        // SplitMix64: sums of regular numbers may cancel, which leaves little to be relative to.
        let value = |i: usize| {
            let mut z = ((i + (seed << 40)) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ z >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(value).collect()
    }

    /// The error of one set of values in another, relative in the L2 norm.
    fn error(found: &[f32], expected: &[f32]) -> f64 {
        let (mut apart, mut length) = (0.0, 1e-20);
        for (found, expected) in found.iter().zip(expected) {
            apart += f64::from(found - expected).powi(2);
            length += f64::from(*expected).powi(2);
        }
        (apart / length).sqrt()
    }

    /// Both values of a product are rounded to 8 bits, and the transform of outputs makes four times the error of direct products.
    const BOUND: f64 = 1.5e-2;

    fn check(batch: usize, space: [usize; 3], ci: usize, co: usize, kernel: usize) {
        let input = Dims { batch, space, channels: ci };
        let plan = forward_plan(input, co, &ConvGeometry::same([kernel, 3, 3], [1; 3]));
        let Some(grid) = Grid::of_half(&plan) else { return };
        let (x, w, dy) =
            (values(input.len(), 1), values(9 * kernel * ci * co, 2), values(plan.output.len(), 3));
        let weight = Strided::convolution(&w, ci, 9 * kernel);
        let bias: Vec<f32> = (0..co).map(|o| o as f32).collect();
        let direct = super::super::pack::pack_weights(&plan, 16, &weight, 0);
        let mut expected = vec![0.0; plan.output.len()];
        portable::correlate(&plan, &x, &direct, Some(&bias), &mut expected);
        let mut found = vec![0.0; plan.output.len()];
        let weights = transform_weights_half(&grid, &weight);
        let moments = correlate_half(&grid, Source::plain(&x, ci), &weights, &bias, &mut found, true);
        let without = |values: &mut [f32]| {
            for voxel in values.chunks_exact_mut(co) {
                voxel.iter_mut().zip(&bias).for_each(|(v, b)| *v -= b);
            }
        };
        let mean = found.iter().step_by(co).map(|v| f64::from(*v)).sum::<f64>();
        let summed: f64 = moments.iter().step_by(co).map(|m| m.mean * m.count).sum();
        assert!((summed - mean).abs() < 1e-3 * (found.len() / co) as f64, "{summed} {mean}");
        without(&mut found);
        without(&mut expected);
        let apart = error(&found, &expected);
        assert!(apart < BOUND && apart > 1e-4, "outputs of {plan:?}: {apart}");

        let maps = vec![ChannelMap::identity(ci); batch];
        let found = outer_half(&grid, Source { maps: &maps, ..Source::plain(&x, ci) }, &dy);
        let mut expected = vec![0.0; 9 * kernel * ci * co];
        portable::outer(&plan, &x, &dy, 0..batch * space[0], co, &mut expected);
        let apart = error(&found.values, &expected);
        assert!(apart < BOUND && apart > 1e-4, "gradients of {plan:?}: {apart}");
    }

    fn possible() -> bool {
        let possible = engine() == Some(Engine::Dot) && isa() == Isa::Avx512;
        if !possible {
            eprintln!("skipped: no AVX512-BF16, or tiles that are used instead");
        }
        possible
    }

    #[test]
    fn tiles_in_bf16_are_near_the_direct_sums() {
        if possible() {
            check(1, [6, 14, 10], 32, 32, 3);
            check(2, [3, 16, 17], 48, 64, 3);
            check(1, [1, 40, 33], 16, 96, 1);
            check(2, [9, 9, 9], 320, 32, 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn tiles_in_bf16_of_any_shape_are_near_the_direct_sums(
            batch in 1usize..3,
            space in (1usize..6, 8usize..24, 8usize..24),
            ci in prop::sample::select(vec![16usize, 32, 80]),
            co in prop::sample::select(vec![32usize, 64]),
            kernel in prop::sample::select(vec![1usize, 3]),
        ) {
            if possible() {
                check(batch, [space.0, space.1, space.2], ci, co, kernel);
            }
        }
    }
}
