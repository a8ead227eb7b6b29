use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::Noise;

/// Adds independent Gaussian values to all voxels of all channels.
pub(crate) fn add_noise(image: &mut [f32], noise: &Noise) {
    let mut rng = ChaCha8Rng::seed_from_u64(noise.seed);
    let std = noise.standard_deviation as f32;
    for v in image {
        *v += std * rng.sample::<f32, _>(StandardNormal);
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Statistics;
    use super::*;

    #[test]
    fn the_magnitude_is_the_standard_deviation() {
        let mut image = vec![3.0; 100_000];
        add_noise(&mut image, &Noise { standard_deviation: 0.1, seed: 5 });
        let found = Statistics::of(&image);
        assert!((found.mean - 3.0).abs() < 1e-3 && (found.std - 0.1).abs() < 1e-3, "{found:?}");
        let beyond = image.iter().filter(|&v| (v - 3.0).abs() > 0.2).count() as f64 / image.len() as f64;
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond}");
    }
}
