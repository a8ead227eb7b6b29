//! How the outputs of a correlation are shared out to tasks.

use super::moments::Moments;
use super::shape::Correlation;
use super::source::{Region, SlabShape};

/// Slabs of at most about this many values: half of a second level cache.
const SLAB_VALUES: usize = 1 << 17;
/// At least this many tasks where the outputs allow it, so that threads stay busy to the end.
pub(crate) const TASKS: usize = 32;

/// Even boxes of outputs along z, y and x, times groups of blocks of output channels.
///
/// The number depends on the shapes alone, never on the number of threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boxes {
    batch: usize,
    /// Units along each axis.
    units: [usize; 3],
    /// Outputs per unit.
    unit: [usize; 3],
    /// Boxes along each axis.
    parts: [usize; 3],
    /// Blocks of output channels and the groups that they form.
    blocks: usize,
    groups: usize,
}

impl Boxes {
    /// Boxes of at most `size` units; where that makes few tasks, blocks of channels become tasks of their own.
    pub(crate) fn new(
        batch: usize,
        units: [usize; 3],
        unit: [usize; 3],
        size: [usize; 3],
        blocks: usize,
    ) -> Self {
        let parts: [usize; 3] = std::array::from_fn(|a| units[a].div_ceil(size[a].max(1)).max(1));
        let boxes = batch * parts.iter().product::<usize>();
        let groups = (TASKS / 2).div_ceil(boxes.max(1)).clamp(1, blocks.max(1));
        Self { batch, units, unit, parts, blocks, groups }
    }

    /// Boxes of whole rows for the direct kernels: those whose slabs fit a cache and repeat the least of their borders.
    pub(crate) fn rows(plan: &Correlation, blocks: usize) -> Self {
        let [nz, ny, nx] = plan.count;
        let tasks = TASKS.min(plan.input.batch * nz * ny);
        let mut best = ([1, 1, nx], f64::INFINITY);
        for z in 1..=nz.min(8) {
            for y in 1..=ny {
                let shape = SlabShape::of(plan, [z, y, nx]);
                let values = shape.planes * shape.plane;
                if values > SLAB_VALUES || plan.input.batch * nz.div_ceil(z) * ny.div_ceil(y) < tasks {
                    break;
                }
                let cost = values as f64 / (z * y) as f64;
                if cost < best.1 {
                    best = ([z, y, nx], cost);
                }
            }
        }
        Self::new(plan.input.batch, plan.count, [1; 3], best.0, blocks)
    }

    /// Number of tasks.
    pub(crate) fn tasks(&self) -> usize {
        self.batch * self.parts.iter().product::<usize>() * self.groups
    }

    /// Number of boxes.
    pub(crate) fn boxes(&self) -> usize {
        self.batch * self.parts.iter().product::<usize>()
    }

    /// Box number `number`, in outputs.
    pub(crate) fn region(&self, number: usize) -> Region {
        let [pz, py, px] = self.parts;
        let at = [number / px / py % pz, number / px % py, number % px];
        let edge = |a: usize, part: usize| part * self.units[a] / self.parts[a] * self.unit[a];
        let start = std::array::from_fn(|a| edge(a, at[a]));
        let count = std::array::from_fn(|a| edge(a, at[a] + 1) - start[a]);
        Region { sample: number / px / py / pz, start, count }
    }

    /// Box and blocks of channels of a task.
    pub(crate) fn task(&self, task: usize) -> (Region, std::ops::Range<usize>) {
        let group = task % self.groups;
        let edge = |group: usize| group * self.blocks / self.groups;
        (self.region(task / self.groups), edge(group)..edge(group + 1))
    }

    /// The moments of all tasks, each given for the channels of its blocks, joined to those of samples and channels.
    pub(crate) fn join(&self, channels: usize, block: usize, of_tasks: &[Vec<Moments>]) -> Vec<Moments> {
        let mut total = vec![Moments::default(); self.batch * channels];
        for (task, moments) in of_tasks.iter().enumerate() {
            let (region, blocks) = self.task(task);
            let first = region.sample * channels + blocks.start * block;
            for (total, own) in total[first..].iter_mut().zip(moments) {
                *total = total.join(*own);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_output_and_block_once() {
        for (units, size, blocks) in [([5, 7, 3], [2, 3, 3], 1), ([1, 1, 2], [4, 4, 4], 5)] {
            let boxes = Boxes::new(2, units, [1, 4, 4], size, blocks);
            let mut seen = vec![0; 2 * units.iter().product::<usize>() * blocks];
            for task in 0..boxes.tasks() {
                let (region, own) = boxes.task(task);
                for block in own {
                    for z in region.start[0]..region.start[0] + region.count[0] {
                        for y in (region.start[1]..region.start[1] + region.count[1]).step_by(4) {
                            for x in (region.start[2]..region.start[2] + region.count[2]).step_by(4) {
                                let unit = (z * units[1] + y / 4) * units[2] + x / 4;
                                let whole = units.iter().product::<usize>();
                                seen[(region.sample * whole + unit) * blocks + block] += 1;
                            }
                        }
                    }
                }
                assert!((0..3).all(|a| region.count[a] <= size[a] * [1, 4, 4][a]));
            }
            assert!(seen.iter().all(|n| *n == 1), "{seen:?}");
        }
    }
}
