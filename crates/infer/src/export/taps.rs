use std::ops::Range;

use nnunet_image::{BoundingBox, Method, ResampleOptions, SeparateZ};

/// Which two samples of an axis a new sample lies between, and how much the upper one counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taps {
    pub(crate) lower: Vec<usize>,
    pub(crate) upper: Vec<usize>,
    pub(crate) weight: Vec<f64>,
}

impl Taps {
    /// Linear interpolation from `old` to `new` samples over the same length; the outermost samples go on to
    /// the border.
    fn linear(old: usize, new: usize) -> Self {
        let mut taps = Self { lower: Vec::new(), upper: Vec::new(), weight: Vec::new() };
        for coordinate in coordinates(old, new) {
            let lower = coordinate.floor();
            taps.lower.push(lower as usize);
            taps.upper.push((lower as usize + 1).min(old - 1));
            taps.weight.push(coordinate - lower);
        }
        taps
    }

    /// The samples that the new samples of a range need.
    pub(crate) fn needed(&self, range: Range<usize>) -> Range<usize> {
        let low = self.lower[range.clone()].iter().copied().min().unwrap_or(0);
        let high = self.upper[range].iter().copied().max().map_or(low, |last| last + 1);
        low..high
    }

    /// The taps of a range of new samples, counted from old sample `first` on.
    pub(crate) fn part(&self, range: Range<usize>, first: usize) -> Self {
        Self {
            lower: self.lower[range.clone()].iter().map(|at| at - first).collect(),
            upper: self.upper[range.clone()].iter().map(|at| at - first).collect(),
            weight: self.weight[range].to_vec(),
        }
    }

    /// Linear interpolation as PyTorch does it, places and weights in single precision.
    fn single(old: usize, new: usize) -> Self {
        if old == new {
            return Self::nearest(old, new);
        }
        let scale = old as f32 / new as f32;
        let mut taps = Self { lower: Vec::new(), upper: Vec::new(), weight: Vec::new() };
        for i in 0..new {
            let coordinate = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let lower = (coordinate as usize).min(old - 1);
            taps.lower.push(lower);
            taps.upper.push((lower + 1).min(old - 1));
            taps.weight.push(f64::from(coordinate - lower as f32));
        }
        taps
    }

    /// The sample that PyTorch picks.
    fn picked(old: usize, new: usize) -> Self {
        let scale = old as f32 / new as f32;
        let lower: Vec<usize> =
            (0..new).map(|i| (((i as f32 + 0.5) * scale) as usize).min(old - 1)).collect();
        Self { upper: lower.clone(), lower, weight: vec![0.0; new] }
    }

    /// The nearest sample, the upper one of two.
    fn nearest(old: usize, new: usize) -> Self {
        let lower: Vec<usize> =
            coordinates(old, new).map(|c| ((c + 0.5).floor() as usize).min(old - 1)).collect();
        Self { upper: lower.clone(), lower, weight: vec![0.0; new] }
    }
}

fn coordinates(old: usize, new: usize) -> impl Iterator<Item = f64> {
    let scale = old as f64 / new as f64;
    (0..new).map(move |i| ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (old - 1) as f64))
}

/// How the cropped image's grid lies in the network's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    taps: [Taps; 3],
    /// Results have single precision, whatever the logits have.
    pub(crate) single: bool,
}

impl Grid {
    /// As [`axis_taps`].
    pub(crate) fn new(
        old: [usize; 3],
        new: [usize; 3],
        spacing: [f64; 3],
        new_spacing: [f64; 3],
        options: &ResampleOptions,
    ) -> Option<Self> {
        let single = matches!(options.method, Method::Torch { .. }) && old != new;
        Some(Self { taps: axis_taps(old, new, spacing, new_spacing, options)?, single })
    }

    /// Nothing is interpolated.
    pub(crate) fn identity(shape: [usize; 3]) -> Self {
        Self { taps: shape.map(|size| Taps::nearest(size, size)), single: false }
    }

    /// The box of the network's grid that a box of the cropped image needs.
    pub(crate) fn needed(&self, out: BoundingBox) -> BoundingBox {
        let needed: [_; 3] =
            std::array::from_fn(|axis| self.taps[axis].needed(out.start[axis]..out.end[axis]));
        BoundingBox {
            start: needed.each_ref().map(|range| range.start),
            end: needed.each_ref().map(|range| range.end),
        }
    }

    /// The taps of a box of the cropped image, counted from the sample `first` of the network's grid.
    pub(crate) fn part(&self, out: BoundingBox, first: [usize; 3]) -> [Taps; 3] {
        std::array::from_fn(|axis| self.taps[axis].part(out.start[axis]..out.end[axis], first[axis]))
    }
}

/// How to resample from one grid to another of the same extent, axis by axis; `None` for splines of a higher
/// order.
///
/// The spacings only decide whether the axis of the largest spacing is resampled on its own, by its own
/// order.
pub(crate) fn axis_taps(
    old: [usize; 3],
    new: [usize; 3],
    spacing: [f64; 3],
    new_spacing: [f64; 3],
    options: &ResampleOptions,
) -> Option<[Taps; 3]> {
    let separate = separate_axis(options, spacing, new_spacing);
    if old != new && matches!(options.method, Method::Torch { .. }) {
        return Some(std::array::from_fn(|axis| {
            if separate == Some(axis) {
                Taps::picked(old[axis], new[axis])
            } else {
                Taps::single(old[axis], new[axis])
            }
        }));
    }
    let mut taps = Vec::with_capacity(3);
    for axis in 0..3 {
        let order = if separate == Some(axis) { options.order_z } else { options.order };
        taps.push(match order {
            0 => Taps::nearest(old[axis], new[axis]),
            1 => Taps::linear(old[axis], new[axis]),
            _ if old == new => Taps::linear(old[axis], new[axis]),
            _ => return None,
        });
    }
    taps.try_into().ok()
}

/// The axis that is resampled on its own: the one with the largest spacing, if the spacing is anisotropic
/// (the current one, or else the new one) and no other axis has the same.
fn separate_axis(options: &ResampleOptions, spacing: [f64; 3], new_spacing: [f64; 3]) -> Option<usize> {
    let largest = |s: [f64; 3]| s.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let anisotropic =
        |s: [f64; 3]| largest(s) / s.into_iter().fold(f64::INFINITY, f64::min) > options.anisotropy_threshold;
    let deciding = match options.separate_z {
        SeparateZ::Never => return None,
        SeparateZ::Auto if !anisotropic(spacing) && !anisotropic(new_spacing) => return None,
        SeparateZ::Auto if !anisotropic(spacing) => new_spacing,
        SeparateZ::Auto | SeparateZ::Always => spacing,
    };
    let mut axes = (0..3).filter(|&axis| deciding[axis] == largest(deciding));
    let first = axes.next();
    if axes.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_neighbours_are_those_of_the_reference() {
        let cases: [(usize, usize, &[usize]); 8] = [
            (4, 2, &[1, 3]),
            (3, 4, &[0, 1, 1, 2]),
            (2, 3, &[0, 1, 1]),
            (6, 4, &[0, 2, 3, 5]),
            (4, 3, &[0, 2, 3]),
            (4, 5, &[0, 1, 2, 2, 3]),
            (4, 6, &[0, 1, 1, 2, 3, 3]),
            (4, 7, &[0, 0, 1, 2, 2, 3, 3]),
        ];
        for (old, new, expected) in cases {
            assert_eq!(Taps::nearest(old, new).lower, expected, "{old} to {new}");
        }
    }

    #[test]
    fn pytorch_s_picks_and_places_are_those_of_whole_images() {
        use nnunet_image::resample_image;
        let image = ndarray::Array4::from_shape_fn((1, 6, 5, 4), |(_, z, y, x)| {
            ((z * 37 + y * 11 + x * 7) as f32 * 0.7).sin()
        });
        let method = Method::Torch { memory_efficient: false };
        let options = ResampleOptions { method, ..ResampleOptions::probabilities() };
        for (spacing, new) in [([1.0; 3], [37, 3, 4]), ([9.0, 1.0, 1.0], [37, 9, 7]), ([1.0; 3], [6, 5, 4])] {
            let grid = Grid::new([6, 5, 4], new, spacing, [1.0; 3], &options).unwrap();
            assert_eq!(grid.single, new != [6, 5, 4]);
            let expected = resample_image(image.view(), new, spacing, [1.0; 3], &options).unwrap();
            let side = |axis: usize, i: usize| {
                let taps = &grid.taps[axis];
                [(taps.lower[i], 1.0 - taps.weight[i]), (taps.upper[i], taps.weight[i])]
            };
            for ((_, z, y, x), value) in expected.indexed_iter() {
                let mut sum = 0.0;
                for (k, wz) in side(0, z) {
                    for (j, wy) in side(1, y) {
                        for (i, wx) in side(2, x) {
                            sum += f64::from(image[[0, k, j, i]]) * wz * wy * wx;
                        }
                    }
                }
                assert!((sum - f64::from(*value)).abs() < 1e-6, "{z} {y} {x}: {sum} for {value}");
            }
        }
    }

    #[test]
    fn linear_weights_are_those_of_the_reference() {
        let samples = [0.0, 1.0, 4.0, 2.0];
        let taps = Taps::linear(4, 6);
        let value = |i: usize| {
            let w = taps.weight[i];
            samples[taps.lower[i]] * (1.0 - w) + samples[taps.upper[i]] * w
        };
        let found: Vec<f64> = (0..6).map(value).collect();
        let expected = [0.0, 0.5, 1.5, 3.5, 3.0, 2.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}");
    }

    #[test]
    fn unchanged_axes_are_the_identity() {
        for size in 1..50 {
            for taps in [Taps::linear(size, size), Taps::nearest(size, size)] {
                assert!(taps.lower.iter().copied().eq(0..size));
                assert!(taps.weight.iter().all(|&weight| weight == 0.0));
            }
        }
    }

    #[test]
    fn an_axis_is_separate_where_the_reference_says_so() {
        let auto = ResampleOptions::probabilities();
        let cases = [
            ([3.0, 1.0, 1.0], [1.0; 3], None),
            ([3.0001, 1.0, 1.0], [1.0; 3], Some(0)),
            ([1.0; 3], [4.0, 1.0, 1.0], Some(0)),
            ([0.24, 1.25, 1.25], [1.0; 3], None),
            ([2.0, 2.0, 0.5], [1.0; 3], None),
            ([1.0, 2.0, 4.0], [1.0; 3], Some(2)),
            ([999.0, 1.0, 1.0], [1.0; 3], Some(0)),
            // Two axes share the largest current spacing: the new one is not asked.
            ([4.0, 4.0, 1.0], [9.0, 1.0, 1.0], None),
        ];
        for (spacing, new, expected) in cases {
            assert_eq!(separate_axis(&auto, spacing, new), expected, "{spacing:?} to {new:?}");
        }
        let always = ResampleOptions { separate_z: SeparateZ::Always, ..auto };
        assert_eq!(separate_axis(&always, [1.0, 2.0, 1.0], [9.0, 1.0, 1.0]), Some(1));
        let never = ResampleOptions { separate_z: SeparateZ::Never, ..auto };
        assert_eq!(separate_axis(&never, [9.0, 1.0, 1.0], [9.0, 1.0, 1.0]), None);
    }
}
