//! Distances between the surfaces of two masks.

use ndarray::{Array3, ArrayView3, Axis};
use nnunet_image::bounding_box;
use rayon::prelude::*;

/// For each surface voxel of one mask the distance to the nearest surface voxel of the other, both ways, in millimetres.
pub(super) struct SurfaceDistances {
    pub(super) to_reference: Vec<f64>,
    pub(super) to_prediction: Vec<f64>,
}

impl SurfaceDistances {
    /// Masks of equal shape; a surface voxel is one with a face that does not lead to another voxel of the mask.
    pub(super) fn new(
        reference: ArrayView3<'_, bool>,
        prediction: ArrayView3<'_, bool>,
        spacing: [f64; 3],
    ) -> Self {
        let union = &reference | &prediction;
        let bbox = bounding_box(union.view());
        let inside =
            ndarray::s![bbox.start[0]..bbox.end[0], bbox.start[1]..bbox.end[1], bbox.start[2]..bbox.end[2]];
        let (reference, prediction) = (surface(reference.slice(inside)), surface(prediction.slice(inside)));
        Self {
            to_reference: distances(&prediction, &reference, spacing),
            to_prediction: distances(&reference, &prediction, spacing),
        }
    }
}

fn surface(mask: ArrayView3<'_, bool>) -> Array3<bool> {
    let [nz, ny, nx]: [usize; 3] = mask.dim().into();
    Array3::from_shape_fn(mask.dim(), |(z, y, x)| {
        let interior = z > 0
            && y > 0
            && x > 0
            && z + 1 < nz
            && y + 1 < ny
            && x + 1 < nx
            && mask[[z - 1, y, x]]
            && mask[[z + 1, y, x]]
            && mask[[z, y - 1, x]]
            && mask[[z, y + 1, x]]
            && mask[[z, y, x - 1]]
            && mask[[z, y, x + 1]];
        mask[[z, y, x]] && !interior
    })
}

/// From the true voxels of one mask to those of another; infinite if that has none.
fn distances(from: &Array3<bool>, to: &Array3<bool>, spacing: [f64; 3]) -> Vec<f64> {
    let squared = squared_distances(to, spacing);
    from.iter().zip(&squared).filter(|(from, _)| **from).map(|(_, squared)| squared.sqrt()).collect()
}

/// Squared distance of each voxel to the nearest true one: axis by axis the lower envelope of parabolas (Felzenszwalb and
/// Huttenlocher, *Distance transforms of sampled functions*, 2012).
fn squared_distances(mask: &Array3<bool>, spacing: [f64; 3]) -> Array3<f64> {
    let mut values = mask.mapv(|inside| if inside { 0.0 } else { f64::INFINITY });
    for axis in 0..3 {
        let lines: Vec<_> = values.lanes_mut(Axis(axis)).into_iter().collect();
        lines.into_par_iter().for_each(|mut line| {
            let heights = line.to_vec();
            let lowest = envelope(&heights, spacing[axis]);
            line.iter_mut().zip(lowest).for_each(|(to, value)| *to = value);
        });
    }
    values
}

/// The smallest `heights[j] + (spacing · (i − j))²` for each `i`.
fn envelope(heights: &[f64], spacing: f64) -> Vec<f64> {
    let finite: Vec<usize> = (0..heights.len()).filter(|&i| heights[i].is_finite()).collect();
    let at = |i: usize| i as f64 * spacing;
    // Parabolas of the envelope, and from where on each is the lowest.
    let mut hull: Vec<(usize, f64)> = Vec::with_capacity(finite.len());
    for j in finite {
        let begin = |i: usize| {
            let (a, b) = (at(i), at(j));
            ((heights[j] + b * b) - (heights[i] + a * a)) / (2.0 * (b - a))
        };
        while let Some(&(i, from)) = hull.last() {
            if begin(i) > from {
                break;
            }
            hull.pop();
        }
        let from = hull.last().map_or(f64::NEG_INFINITY, |&(i, _)| begin(i));
        hull.push((j, from));
    }
    let mut current = 0;
    (0..heights.len())
        .map(|i| {
            while current + 1 < hull.len() && hull[current + 1].1 < at(i) {
                current += 1;
            }
            hull.get(current).map_or(f64::INFINITY, |&(j, _)| {
                let distance = at(i) - at(j);
                heights[j] + distance * distance
            })
        })
        .collect()
}

/// The value below which so large a part of the values lies, between two of them linearly interpolated; NaN if there is none.
pub(super) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let position = part * (values.len() - 1) as f64;
    let (low, high) = (values[position.floor() as usize], values[position.ceil() as usize]);
    if low == high { low } else { low + (high - low) * position.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_a_search() {
        let spacing = [2.5, 0.7, 1.1];
        let mut state = 1_u64;
        for density in [2, 5, 40] {
            let mask = Array3::from_shape_fn((5, 7, 6), |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33).is_multiple_of(density)
            });
            let found = squared_distances(&mask, spacing);
            for ((z, y, x), &found) in found.indexed_iter() {
                let to = |(other, _): ((usize, usize, usize), &bool)| {
                    let d = [(z, other.0), (y, other.1), (x, other.2)];
                    let squared = |(axis, (a, b)): (usize, (usize, usize))| {
                        let distance = (a as f64 - b as f64) * spacing[axis];
                        distance * distance
                    };
                    d.into_iter().enumerate().map(squared).sum::<f64>()
                };
                let expected =
                    mask.indexed_iter().filter(|(_, inside)| **inside).map(to).fold(f64::INFINITY, f64::min);
                assert!((found - expected).abs() < 1e-9 || found == expected, "{found} {expected}");
            }
        }
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(vec![4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert!((quantile((0..21).map(f64::from).collect(), 0.95) - 19.0).abs() < 1e-12);
        assert!(quantile(Vec::new(), 0.95).is_nan());
    }
}
