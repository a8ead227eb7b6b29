use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{Bump, Strong};
use crate::parameters::gate;
use crate::rng::{around_one, chance, uniform};
use crate::{Chance, PipelineConfig};

/// Everything random about the transforms of [`Strong`]. Lists have one entry per image channel; `None` leaves the
/// channel as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StrongParameters {
    /// Axes `a < b` and how many quarter turns from `a` to `b`.
    pub quarter_turns: Option<(usize, usize, usize)>,
    /// For each axis the one it takes its voxels from.
    pub axis_order: Option<[usize; 3]>,
    /// Whether the sample's chance was a median filter and not a blur.
    pub median_chosen: bool,
    /// Length of the median filter's window.
    pub median: Option<Vec<Option<usize>>>,
    /// Added brightness.
    pub shift: Option<Vec<Option<f64>>>,
    /// Factor on the distance from the mean.
    pub contrast: Option<Vec<Option<f64>>>,
    /// Whether contrast keeps the channel's range.
    pub contrast_keeps_range: bool,
    /// Exponent of the second gamma of the negated image.
    pub gamma_inverted: Option<Vec<f64>>,
    /// Boxes that are filled with their mean, one after the other.
    pub rectangles: Option<Vec<Vec<Rectangle>>>,
    /// Bump that is added, and its height.
    pub gradient: Option<Vec<Option<(Bump, f64)>>>,
    /// Bump that blends in a gamma, and its exponent.
    pub local_gamma: Option<Vec<Option<(Bump, f64)>>>,
    /// Factor on the Laplacian.
    pub sharpen: Option<Vec<Option<f64>>>,
}

/// A box of voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// First voxel along z, y, x.
    pub start: [usize; 3],
    /// Voxels along z, y, x.
    pub size: [usize; 3],
}

impl Strong {
    /// Draws the parameters of a sample.
    pub(crate) fn draw(
        &self,
        config: &PipelineConfig,
        channels: usize,
        rng: &mut ChaCha8Rng,
    ) -> StrongParameters {
        let equal = equal_axes(config);
        let quarter_turns =
            (equal.len() > 1 && chance(rng, self.p_quarter_turns)).then(|| turns(&equal, rng));
        let axis_order = (equal.len() > 1 && chance(rng, self.p_transpose)).then(|| order(&equal, rng));
        let median_chosen = chance(rng, 0.5);
        let contrast_keeps_range = chance(rng, 0.5);
        let window = |rng: &mut ChaCha8Rng| uniform(rng, self.median.range) as usize;
        let median = median_chosen && gate(&self.median, rng);
        let [mean, std] = self.shift.range;
        let normal = |rng: &mut ChaCha8Rng| mean + std * rng.sample::<f64, _>(StandardNormal);
        let per = |rng: &mut ChaCha8Rng, transform: &Chance, value: &dyn Fn(&mut ChaCha8Rng) -> f64| {
            gate(transform, rng).then(|| self.each(channels, rng, value))
        };
        StrongParameters {
            quarter_turns,
            axis_order,
            median_chosen,
            median: median.then(|| self.each(channels, rng, &window)),
            shift: per(rng, &self.shift, &normal),
            contrast: per(rng, &self.contrast, &|rng| around_one(rng, self.contrast.range)),
            contrast_keeps_range,
            gamma_inverted: gate(&self.gamma_inverted, rng)
                .then(|| (0..channels).map(|_| around_one(rng, self.gamma_inverted.range)).collect()),
            rectangles: chance(rng, self.p_rectangles).then(|| {
                let boxes = self.each(channels, rng, &|rng| rectangles(config, rng));
                boxes.into_iter().map(Option::unwrap_or_default).collect()
            }),
            gradient: gate(&self.gradient, rng).then(|| {
                self.each(channels, rng, &|rng| {
                    let bump = Bump::draw(config, rng);
                    let sign = if chance(rng, 0.5) { -1.0 } else { 1.0 };
                    (bump, sign * uniform(rng, self.gradient.range))
                })
            }),
            local_gamma: chance(rng, self.p_local_gamma).then(|| {
                self.each(channels, rng, &|rng| {
                    let bump = Bump::draw(config, rng);
                    let side = usize::from(!chance(rng, 0.5));
                    (bump, uniform(rng, self.local_gamma[side]))
                })
            }),
            sharpen: per(rng, &self.sharpen, &|rng| uniform(rng, self.sharpen.range)),
        }
    }

    /// A value for each channel that is chosen.
    fn each<T>(
        &self,
        channels: usize,
        rng: &mut ChaCha8Rng,
        value: &dyn Fn(&mut ChaCha8Rng) -> T,
    ) -> Vec<Option<T>> {
        (0..channels).map(|_| chance(rng, self.per_channel).then(|| value(rng))).collect()
    }
}

/// The axes of the length that most axes have; one axis if no two are equal.
fn equal_axes(config: &PipelineConfig) -> Vec<usize> {
    let axes: Vec<usize> = (3 - config.dims.min(3)..3).collect();
    let patch = config.patch_size;
    let count = |axis: usize| axes.iter().filter(|&&other| patch[other] == patch[axis]).count();
    let most = axes.iter().map(|&axis| count(axis)).max().unwrap_or(0);
    if most < 2 { Vec::new() } else { axes.iter().copied().filter(|&axis| count(axis) == most).collect() }
}

fn turns(equal: &[usize], rng: &mut ChaCha8Rng) -> (usize, usize, usize) {
    let count = rng.random_range(0..4);
    let first = rng.random_range(0..equal.len());
    let second = (first + rng.random_range(1..equal.len())) % equal.len();
    (equal[first.min(second)], equal[first.max(second)], count)
}

fn order(equal: &[usize], rng: &mut ChaCha8Rng) -> [usize; 3] {
    let mut shuffled = equal.to_vec();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, rng.random_range(0..=i));
    }
    let mut order = [0, 1, 2];
    equal.iter().zip(shuffled).for_each(|(&axis, from)| order[axis] = from);
    order
}

/// One to four boxes with sides from a tenth to a third of the patch.
fn rectangles(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Vec<Rectangle> {
    let patch = config.patch_size;
    let count = rng.random_range(1..5);
    let draw = |_| {
        let mut rectangle = Rectangle { start: [0; 3], size: [1; 3] };
        for axis in 3 - config.dims.min(3)..3 {
            let low = (patch[axis] / 10).max(1);
            rectangle.size[axis] = rng.random_range(low..(patch[axis] / 3).max(low + 1));
            rectangle.start[axis] = rng.random_range(0..=patch[axis] - rectangle.size[axis]);
        }
        rectangle
    };
    (0..count).map(draw).collect()
}
