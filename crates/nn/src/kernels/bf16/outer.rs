//! Backward-weights in bf16: the same products as forward, with voxels as what is summed over.
//!
//! The input of a box is turned over, so that a channel's voxels follow each other, and gradients are laid out in the same rows
//! with zeros between them. A tap is then an offset into the input, and the products of a block of input channels with a block
//! of output channels are those of [`Kernel`], whose run is the box. Voxels that a stride passes over lie apart, a plane for
//! each remainder.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use super::super::boxes::Boxes;
use super::super::outer::{Sums, sum_in_parts};
use super::super::scratch::Scratch;
use super::super::shape::Correlation;
use super::super::source::{Region, SlabShape, Source, fill_slab};
use super::engine::Engine;
use super::prepared::{BLOCK, Block, ByTiles, Kernel, Target, VOXELS, round_all};
use super::tiles::{ROWS, Tiles};

/// Voxels that are summed over in one run, where there are as many.
const RUN: usize = 2048;
/// With fewer boxes, blocks of input channels become tasks of their own.
const FEW: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

#[derive(Default)]
struct Buffers {
    values: Vec<f32>,
    rounded: Vec<u16>,
    inputs: Vec<u16>,
    gradients: Vec<u16>,
}

/// [`super::super::outer::outer`] of values that are rounded to bf16; the engine is one that [`super::engine()`] gave.
pub(crate) fn outer(engine: Engine, plan: &Correlation, x: Source<'_>, dy: &[f32]) -> Sums {
    let (ci, co) = (plan.input.channels, plan.output.channels);
    let padded = co.next_multiple_of(BLOCK).max(1);
    let taps: usize = plan.taps.iter().product();
    let size = taps * ci * padded;
    if plan.is_empty() {
        return Sums { values: Scratch::zeros(size), width: ci.max(1), padded };
    }
    let layout = Layout::of(plan, engine);
    let [nz, ny, nx] = plan.count;
    let rows = RUN.div_ceil(layout.row).clamp(1, ny);
    let planes = (RUN / (layout.row * ny)).clamp(1, nz.min(8));
    let boxes = Boxes::new(plan.input.batch, plan.count, [1; 3], [planes, rows, nx], 1);
    let groups = if boxes.boxes() < FEW && ci.is_multiple_of(VOXELS) { ci / VOXELS } else { 1 };
    let width = ci / groups;
    let values = sum_in_parts(boxes.boxes(), groups, boxes.boxes(), size, |range, group, sums| {
        BUFFERS.with_borrow_mut(|buffers| {
            for number in range {
                let region = boxes.region(number);
                let channels = group * width..(group + 1) * width;
                Sweep { engine, plan, layout, region, channels, padded }.run(&x, dy, buffers, sums);
            }
        });
    });
    Sums { values, width, padded }
}

/// How a plane of a box is laid out; rows are as long for inputs as for gradients.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Remainders by the strides along y and x that a tap has.
    phases: [usize; 2],
    /// Voxels per row.
    row: usize,
    /// Rows that the last tap lies below the first, among those of its remainder.
    below: usize,
    /// A run has a multiple of so many pairs.
    multiple: usize,
}

impl Layout {
    fn of(plan: &Correlation, engine: Engine) -> Self {
        let beyond = |a: usize| (plan.taps[a] - 1) / plan.in_stride[a];
        Self {
            phases: [1, 2].map(|a| plan.taps[a].min(plan.in_stride[a])),
            row: plan.count[2] + beyond(2),
            below: beyond(1),
            multiple: if engine == Engine::Dot { 1 } else { ROWS },
        }
    }

    /// Pairs of voxels of a plane of `rows` rows of gradients.
    fn pairs(&self, rows: usize) -> usize {
        (rows * self.row).div_ceil(2).next_multiple_of(self.multiple)
    }

    /// Values of a channel of a plane of inputs: what the last tap reads too.
    fn length(&self, rows: usize) -> usize {
        (self.below + 1) * self.row + 2 * self.pairs(rows)
    }
}

/// A box of outputs of one sample, for some input channels.
struct Sweep<'a> {
    engine: Engine,
    plan: &'a Correlation,
    layout: Layout,
    region: Region,
    channels: Range<usize>,
    padded: usize,
}

impl Sweep<'_> {
    /// Adds the products of the box to rows `[tap][own channel]` of `padded` output channels.
    fn run(&self, x: &Source<'_>, dy: &[f32], buffers: &mut Buffers, sums: &mut [f32]) {
        let Buffers { values, rounded, inputs, gradients } = buffers;
        fill_slab(self.plan, x, &self.region, values);
        rounded.resize(values.len(), 0);
        round_all(values, rounded);
        self.turn(rounded, inputs);
        self.spread(dy, rounded, gradients);
        // SAFETY: engines are given only where the processor has them.
        unsafe {
            match self.engine {
                #[cfg(target_arch = "x86_64")]
                Engine::Amx => self.products_amx(inputs, gradients, sums),
                #[cfg(target_arch = "x86_64")]
                Engine::Dot => self.products_dot(inputs, gradients, sums),
                #[cfg(test)]
                Engine::Emulated => {
                    let mut kernel = ByTiles::new(super::tiles::Emulated::begin());
                    self.products(&mut kernel, inputs, gradients, sums);
                }
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("no engine is found on other processors"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn products_amx(&self, inputs: &[u16], gradients: &[u16], sums: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe {
            let mut kernel = ByTiles::new(super::amx::Amx::begin());
            self.products(&mut kernel, inputs, gradients, sums);
            kernel.tiles.end();
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn products_dot(&self, inputs: &[u16], gradients: &[u16], sums: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe { self.products(&mut super::dot::Dot, inputs, gradients, sums) };
    }

    /// Channels of a plane of inputs, whole tiles of them.
    fn width(&self) -> usize {
        self.channels.len().next_multiple_of(ROWS)
    }

    /// Values of a plane of inputs: `[remainder][channel][voxel]`.
    fn plane(&self) -> usize {
        let [py, px] = self.layout.phases;
        py * px * self.width() * self.layout.length(self.region.count[1])
    }

    /// Inputs as `[plane][remainder][channel][voxel]`, zero where there are none.
    fn turn(&self, slab: &[u16], inputs: &mut Vec<u16>) {
        let (plan, layout) = (self.plan, self.layout);
        let shape = SlabShape::of(plan, self.region.count);
        let (ci, [_, sy, sx]) = (plan.input.channels, plan.in_stride);
        let (length, [py, px]) = (layout.length(self.region.count[1]), layout.phases);
        inputs.clear();
        inputs.resize(shape.planes * self.plane(), 0);
        let [height, voxels] = [shape.plane / shape.row, shape.row / ci];
        for (slab, inputs) in slab.chunks_exact(shape.plane).zip(inputs.chunks_exact_mut(self.plane())) {
            for (phase, inputs) in inputs.chunks_exact_mut(self.width() * length).enumerate() {
                let (first_y, first_x) = (phase / px, phase % px);
                debug_assert!(first_y < py);
                for (row, y) in (first_y..height).step_by(sy).enumerate() {
                    let from = &slab[y * shape.row + first_x * ci..(y + 1) * shape.row];
                    let count = (voxels - first_x).div_ceil(sx).min(layout.row);
                    turn_row(
                        from,
                        sx * ci,
                        count,
                        self.channels.clone(),
                        &mut inputs[row * layout.row..],
                        length,
                    );
                }
            }
        }
    }

    /// Gradients as `[block of output channels][plane][pair of voxels][channel][2]`, zero beyond rows and channels.
    fn spread(&self, dy: &[f32], rounded: &mut Vec<u16>, gradients: &mut Vec<u16>) {
        let (plan, region) = (self.plan, self.region);
        let ([nz, ny, nx], co) = (plan.count, plan.output.channels);
        let [planes, rows, _] = region.count;
        let size = self.layout.pairs(rows) * 2 * BLOCK;
        gradients.clear();
        gradients.resize(self.padded / BLOCK * planes * size, 0);
        rounded.resize(rows * nx * co, 0);
        for z in 0..planes {
            let first = ((region.sample * nz + region.start[0] + z) * ny + region.start[1]) * nx * co;
            round_all(&dy[first..][..rows * nx * co], rounded);
            for (voxel, from) in rounded.chunks_exact(co).enumerate() {
                let at = voxel / nx * self.layout.row + voxel % nx;
                for (block, from) in from.chunks(BLOCK).enumerate() {
                    let to = &mut gradients[(block * planes + z) * size + at / 2 * 2 * BLOCK..][..2 * BLOCK];
                    for (to, from) in to.iter_mut().skip(at % 2).step_by(2).zip(from) {
                        *to = *from;
                    }
                }
            }
        }
    }

    /// Adds the products of all taps, blocks of input and blocks of output channels.
    ///
    /// # Safety
    /// As for [`Kernel`]; inputs and gradients are what [`Sweep::turn`] and [`Sweep::spread`] give, so that whole tiles of
    /// channels, and for each of them a run from every tap on, lie inside.
    #[inline(always)]
    unsafe fn products<K: Kernel>(
        &self,
        kernel: &mut K,
        inputs: &[u16],
        gradients: &[u16],
        sums: &mut [f32],
    ) {
        let (plan, layout) = (self.plan, self.layout);
        let [planes, rows, _] = self.region.count;
        let (length, pairs) = (layout.length(rows), layout.pairs(rows));
        let mut out = [0.0f32; VOXELS * BLOCK];
        for tap in 0..plan.taps.iter().product() {
            let [tz, ty, tx] =
                [tap / plan.taps[2] / plan.taps[1], tap / plan.taps[2] % plan.taps[1], tap % plan.taps[2]];
            let [_, sy, sx] = plan.in_stride;
            let phase = ty % sy * layout.phases[1] + tx % sx;
            let offset = ty / sy * layout.row + tx / sx;
            let first = tz * self.plane() + phase * self.width() * length + offset;
            for channel in (0..self.channels.len()).step_by(VOXELS) {
                let count = VOXELS.min(self.channels.len() - channel);
                for block in 0..self.padded / BLOCK {
                    let run = Block {
                        x: inputs[first + channel * length..].as_ptr(),
                        step: length,
                        row: 0,
                        plane: plan.in_stride[0] * self.plane(),
                        taps: [planes, 1],
                        pairs,
                        w: gradients[block * planes * pairs * 2 * BLOCK..].as_ptr(),
                        voxels: count,
                    };
                    let none = [0.0; BLOCK];
                    let target =
                        Target { first: out.as_mut_ptr(), step: BLOCK, lanes: BLOCK, bias: none.as_ptr() };
                    // SAFETY: the caller's; there is room for `VOXELS` rows.
                    unsafe { kernel.products(&run, &target) };
                    let row = tap * self.channels.len() + channel;
                    for (i, out) in out.chunks_exact(BLOCK).take(count).enumerate() {
                        let sums = &mut sums[(row + i) * self.padded + block * BLOCK..][..BLOCK];
                        sums.iter_mut().zip(out).for_each(|(sum, v)| *sum += v);
                    }
                }
            }
        }
    }
}

/// Writes `count` voxels, `step` values apart, channel by channel, `length` values apart.
fn turn_row(from: &[u16], step: usize, count: usize, channels: Range<usize>, to: &mut [u16], length: usize) {
    for first in (0..count).step_by(ROWS) {
        let voxels = ROWS.min(count - first);
        for channel in channels.clone().step_by(ROWS) {
            let own = ROWS.min(channels.end - channel);
            let mut tile = [[0u16; ROWS]; ROWS];
            for v in 0..voxels {
                let from = &from[(first + v) * step + channel..][..own];
                for (row, value) in tile.iter_mut().zip(from) {
                    row[v] = *value;
                }
            }
            for (i, row) in tile.iter().enumerate().take(own) {
                to[(channel - channels.start + i) * length + first..][..voxels]
                    .copy_from_slice(&row[..voxels]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::conv::forward_plan;
    use super::super::super::shape::{ConvGeometry, Dims};
    use super::super::super::source::ChannelMap;
    use super::super::super::transpose::gather_plan;
    use super::super::{engine, rounded};
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 2_654_435_761 + seed * 97) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// Sums of products of rounded values in f64, as rows `[tap][channel]` of output channels.
    fn expected(plan: &Correlation, x: &[f32], dy: &[f32]) -> Vec<f64> {
        let ([nz, ny, nx], ci, co) = (plan.input.space, plan.input.channels, plan.output.channels);
        let mut sums = vec![0.0; plan.depth() * co];
        let split = |i: usize, [_, y, x]: [usize; 3]| [i / x / y, i / x % y, i % x];
        for sample in 0..plan.input.batch {
            for output in 0..plan.output.voxels() {
                let m = split(output, plan.count);
                for tap in 0..plan.taps.iter().product::<usize>() {
                    let t = split(tap, plan.taps);
                    let i: [isize; 3] =
                        std::array::from_fn(|a| (m[a] * plan.in_stride[a] + t[a]) as isize + plan.offset[a]);
                    if (0..3).any(|a| i[a] < 0 || i[a] >= [nz, ny, nx][a] as isize) {
                        continue;
                    }
                    let voxel = ((sample * nz + i[0] as usize) * ny + i[1] as usize) * nx + i[2] as usize;
                    let from = (sample * plan.output.voxels() + output) * co;
                    for (c, o) in (0..ci).flat_map(|c| (0..co).map(move |o| (c, o))) {
                        sums[(tap * ci + c) * co + o] +=
                            f64::from(rounded(x[voxel * ci + c])) * f64::from(rounded(dy[from + o]));
                    }
                }
            }
        }
        sums
    }

    /// The bound is that of sums in f32: 1e-5 relative, in the L2 norm, of the exact sums of rounded values.
    fn check(plan: &Correlation) {
        let (x, dy) = (values(plan.input.len(), 1), values(plan.output.len(), 2));
        let expected = expected(plan, &x, &dy);
        let map = ChannelMap::identity(plan.input.channels);
        let maps = vec![map; plan.input.batch];
        let source = Source { maps: &maps, ..Source::plain(&x, plan.input.channels) };
        for engine in [Some(Engine::Emulated), engine()].into_iter().flatten() {
            let sums = outer(engine, plan, source, &dy);
            let (ci, co) = (plan.input.channels, plan.output.channels);
            let taps: usize = plan.taps.iter().product();
            let rows = (0..taps).flat_map(|tap| (0..ci).map(move |c| (tap, c)));
            let found = rows.flat_map(|(tap, c)| {
                let row = sums.row(c, taps) + tap * sums.width * sums.padded;
                sums.values[row..row + co].iter().map(|v| f64::from(*v))
            });
            let (mut apart, mut length) = (0.0, 1e-20);
            for (found, expected) in found.zip(&expected) {
                apart += (found - expected).powi(2);
                length += expected * expected;
            }
            let error: f64 = apart / length;
            assert!(error.sqrt() < 1e-5, "{engine:?} {plan:?}: {:e}", error.sqrt());
        }
    }

    #[test]
    fn gradients_of_the_networks_are_those_of_rounded_values() {
        for (ci, co, space, kernel, stride) in [
            (1, 32, [3, 4, 40], [3; 3], [1; 3]),
            (3, 17, [2, 3, 5], [3; 3], [2; 3]),
            (32, 64, [3, 3, 35], [3; 3], [1; 3]),
            (64, 33, [4, 4, 4], [3; 3], [1; 3]),
            (33, 3, [1, 6, 17], [1, 3, 3], [1, 2, 2]),
            (48, 33, [2, 50, 60], [1; 3], [1; 3]),
            (5, 4, [1; 3], [2, 3, 1], [9; 3]),
            (320, 1, [2, 2, 2], [3; 3], [1; 3]),
        ] {
            let input = Dims { batch: 2, space, channels: ci };
            check(&forward_plan(input, co, &ConvGeometry::same(kernel, stride)));
        }
        check(&gather_plan(Dims { batch: 1, space: [2, 3, 18], channels: 33 }, 20, [1, 2, 2]));
        check(&gather_plan(Dims { batch: 2, space: [3, 5, 4], channels: 64 }, 32, [2; 3]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn any_gradient_is_that_of_rounded_values(
            batch in 0usize..3,
            space in prop::array::uniform3(0usize..9),
            ci in prop::sample::select(vec![1usize, 3, 17, 32, 33]),
            co in prop::sample::select(vec![1usize, 3, 17, 33]),
            kernel in prop::array::uniform3(1usize..4),
            stride in prop::array::uniform3(prop::sample::select(vec![1usize, 2, 3, 1000])),
            padding in prop::array::uniform3(0usize..3),
        ) {
            let geometry = ConvGeometry { kernel, stride, padding };
            check(&forward_plan(Dims { batch, space, channels: ci }, co, &geometry));
        }
    }
}
