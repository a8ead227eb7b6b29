use std::ops::Range;

use nnunet_image::{Method, ResampleOptions, SeparateZ};

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

/// How to resample from one grid to another of the same extent, axis by axis; `None` for splines of a higher
/// order and for the arithmetic of the torch variants.
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
    if options.method != Method::Spline {
        return None;
    }
    let separate = separate_axis(options, spacing, new_spacing);
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
