//! Winograd's minimal filtering for 3×3 kernels in the plane, F(4,3) along y and x: a quarter of the products.
//!
//! A tile of 4×4 outputs comes from 6×6 inputs. Inputs, weights and outputs are transformed by small constant matrices; in
//! between, each of the 36 points is an ordinary product over input channels (and taps along z) that the direct kernel's
//! register block computes. Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2016).

mod forward;
mod outer;
mod transform;
mod weights;

pub(crate) use forward::correlate;
pub(crate) use outer::outer;
pub(crate) use weights::transform_weights;

use super::boxes::Boxes;
use super::correlate::isa_lanes;
use super::isa::Isa;
use super::shape::Correlation;

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
        Some(Self { plan: *plan, tiles, lanes, registers })
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
        (slab + tiles as f64 * vectors * 250.0, tiles * POINTS * channels)
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
