use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::Affine;
use super::affine::LONGEST_AXIS;
use crate::PipelineConfig;
use crate::rng::uniform;

/// An elastic deformation: smoothed noise, scaled to a largest displacement, moves every voxel before it is turned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elastic {
    /// Standard deviation of the smoothing in voxels for the displacement along z, y, x; the same along all axes.
    pub sigma: [f64; 3],
    /// Largest displacement along z, y, x in voxels.
    pub magnitude: [f64; 3],
    /// Seed of the noise.
    pub seed: u64,
}

impl Elastic {
    pub(crate) fn draw(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Self {
        let mut elastic = Self { sigma: [0.0; 3], magnitude: [0.0; 3], seed: 0 };
        let axes = usize::from(config.in_plane())..3;
        for axis in axes.clone() {
            elastic.sigma[axis] = uniform(rng, config.elastic.scale) * config.patch_size[axis] as f64;
        }
        for axis in axes {
            elastic.magnitude[axis] = uniform(rng, config.elastic.magnitude);
        }
        elastic.seed = rng.random();
        elastic
    }

    /// Whether coordinates stay in their range.
    pub(crate) fn is_usable(&self) -> bool {
        self.sigma.iter().all(|sigma| sigma.is_finite() && *sigma >= 0.0)
            && self.magnitude.iter().all(|m| (0.0..=LONGEST_AXIS as f64).contains(m))
    }

    /// The displacements of a patch; in the plane they are the same for every slice.
    pub(crate) fn field(&self, patch: [usize; 3], in_plane: bool) -> Field {
        let shape = if in_plane { [1, patch[1], patch[2]] } else { patch };
        let count = shape.iter().product();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let moved = [0, 1, 2].map(|axis| {
            if in_plane && axis == 0 {
                return Vec::new();
            }
            let noise: Vec<f32> = (0..count).map(|_| rng.sample(StandardNormal)).collect();
            displacement(noise, shape, self.sigma[axis], self.magnitude[axis])
        });
        Field { moved, slice: in_plane.then_some(shape[1] * shape[2]) }
    }
}

/// Displacements of the voxels of a patch.
pub(crate) struct Field {
    /// Voxels along z, y, x; an axis that nothing moves along is empty.
    pub(crate) moved: [Vec<f32>; 3],
    /// Voxels of a slice where all slices are moved alike.
    pub(crate) slice: Option<usize>,
}

impl Field {
    /// The displacement of voxel number `index` of the patch.
    pub(crate) fn at(&self, index: usize) -> [f64; 3] {
        let index = self.slice.map_or(index, |slice| index % slice);
        [0, 1, 2].map(|axis| self.moved[axis].get(index).map_or(0.0, |&v| f64::from(v)))
    }

    /// What keeps the mean of the deformed and turned patch at its centre.
    pub(crate) fn recentre(&self, affine: &Affine) -> [f64; 3] {
        let mean =
            |axis: &Vec<f32>| axis.iter().map(|&v| f64::from(v)).sum::<f64>() / axis.len().max(1) as f64;
        affine.turn([0, 1, 2].map(|axis| mean(&self.moved[axis]))).map(|v| -v)
    }
}

/// Smooths noise around the borders and scales it so that its largest value is `magnitude`.
pub(super) fn displacement(mut noise: Vec<f32>, shape: [usize; 3], sigma: f64, magnitude: f64) -> Vec<f32> {
    for axis in 0..3 {
        smooth(&mut noise, shape, axis, sigma);
    }
    let largest = noise.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
    let scale = magnitude.max(1e-8) as f32 / largest.max(f32::MIN_POSITIVE);
    noise.iter_mut().for_each(|v| *v *= scale);
    noise
}

/// Convolves circularly with a Gaussian along an axis.
fn smooth(data: &mut [f32], shape: [usize; 3], axis: usize, sigma: f64) {
    let length = shape[axis];
    if length < 2 || sigma == 0.0 {
        return;
    }
    let kernel = periodic_gaussian(length, sigma);
    let twice: Vec<f32> = kernel.iter().chain(&kernel).copied().collect();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut block = vec![0.0f32; length * inner];
    for target in data.chunks_exact_mut(length * inner) {
        block.fill(0.0);
        for (j, source) in target.chunks_exact(inner).enumerate() {
            if inner == 1 {
                // One value reaches the whole line.
                let weights = &twice[length - j..2 * length - j];
                block.iter_mut().zip(weights).for_each(|(b, w)| *b += source[0] * w);
                continue;
            }
            for (i, line) in block.chunks_exact_mut(inner).enumerate() {
                let weight = twice[length + i - j];
                line.iter_mut().zip(source).for_each(|(b, s)| *b += weight * s);
            }
        }
        target.copy_from_slice(&block);
    }
}

/// The kernel whose discrete Fourier transform is a Gaussian, exp(−2π²σ²k²/n²).
fn periodic_gaussian(length: usize, sigma: f64) -> Vec<f32> {
    let n = length as f64;
    let factor = |k: f64| (-2.0 * (sigma * std::f64::consts::PI / n * k).powi(2)).exp();
    let wave = |k: usize| if k < length.div_ceil(2) { k as f64 } else { k as f64 - n };
    let sum = |j: usize| {
        let term = |k: usize| factor(wave(k)) * (std::f64::consts::TAU * (k * j % length) as f64 / n).cos();
        (0..length).map(term).sum::<f64>() / n
    };
    (0..length).map(|j| sum(j) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_the_sum_and_the_largest_value_is_the_magnitude() {
        let kernel = periodic_gaussian(12, 1.7);
        assert!((kernel.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let elastic = Elastic { sigma: [1.0, 2.0, 0.5], magnitude: [0.5, 3.0, 0.0], seed: 3 };
        let field = elastic.field([4, 6, 5], false);
        for (moved, magnitude) in field.moved.iter().zip([0.5, 3.0, 1e-8]) {
            let largest = moved.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            assert!((f64::from(largest) / magnitude - 1.0).abs() < 1e-5, "{largest}");
        }
    }

    /// Within 2e-6 of a double precision transform.
    #[test]
    fn displacements_are_the_reference_s() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/strong.json")).unwrap();
        let golden = &golden["displacement"];
        let shape = [5, 6, 8];
        let noise: Vec<f32> = (0..240).map(|i| ((0.37 * f64::from(i)).sin() * 2.0) as f32).collect();
        for case in golden.as_array().unwrap() {
            let (sigma, magnitude) = (case["sigma"].as_f64().unwrap(), case["magnitude"].as_f64().unwrap());
            let found = displacement(noise.clone(), shape, sigma, magnitude);
            for (a, b) in found.iter().zip(case["values"].as_array().unwrap()) {
                let b = b.as_f64().unwrap();
                assert!((f64::from(*a) - b).abs() < 2e-6 * magnitude.max(1.0), "{a} instead of {b}");
            }
        }
    }
}
