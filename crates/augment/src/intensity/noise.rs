use super::power::log2;
use crate::Noise;
use crate::simd::{Kernel, widest};

/// Values that are made side by side: pairs, eight at a time.
const PAIRS: usize = 8;

/// Adds independent Gaussian values to all voxels of all channels.
///
/// Each pair of values comes from its number and the seed alone (Box and Muller's transform of a hash), so that the loop
/// is vectorised.
pub(crate) fn add_noise(image: &mut [f32], noise: &Noise) {
    widest(Add { image, seed: noise.seed, std: noise.standard_deviation as f32 });
}

struct Add<'a> {
    image: &'a mut [f32],
    seed: u64,
    std: f32,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { image, seed, std } = self;
        let (chunks, rest) = image.as_chunks_mut::<{ 2 * PAIRS }>();
        let mut number = 0;
        for chunk in chunks {
            for (v, normal) in chunk.iter_mut().zip(normals(seed, number)) {
                *v += std * normal;
            }
            number += PAIRS as u64;
        }
        for (v, normal) in rest.iter_mut().zip(normals(seed, number)) {
            *v += std * normal;
        }
    }
}

/// Standard normal values of the pairs from `first` on.
#[inline(always)]
fn normals(seed: u64, first: u64) -> [f32; 2 * PAIRS] {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let mut values = [0.0; 2 * PAIRS];
    let (cosines, sines) = values.split_at_mut(PAIRS);
    for lane in 0..PAIRS {
        let bits = hash(seed, first + lane as u64);
        let radius = ((bits >> 40) as i32 + 1) as f32 * UNIT;
        let radius = (log2(radius) * (-2.0 * std::f32::consts::LN_2)).max(0.0).sqrt();
        // A quarter of the circle and an angle from the middle of it.
        let turn = (bits & 0xff_ffff) as i32;
        let quarter = turn >> 22;
        let angle = ((turn & 0x3f_ffff) as f32 * (4.0 * UNIT) - 0.5) * std::f32::consts::FRAC_PI_2;
        let a = angle * angle;
        let sine = angle * (1.0 - a * (1.0 / 6.0 - a * (1.0 / 120.0 - a * (1.0 / 5040.0))));
        let cosine = 1.0 - a * (0.5 - a * (1.0 / 24.0 - a * (1.0 / 720.0 - a * (1.0 / 40320.0))));
        let (x, y) = if quarter & 1 == 0 { (cosine, sine) } else { (-sine, cosine) };
        let sign = if quarter & 2 == 0 { radius } else { -radius };
        cosines[lane] = x * sign;
        sines[lane] = y * sign;
    }
    values
}

/// Sixty-four well-mixed bits of a number (the finaliser of SplitMix64).
#[inline(always)]
fn hash(seed: u64, number: u64) -> u64 {
    let z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Statistics;
    use super::*;

    #[test]
    fn the_magnitude_is_the_standard_deviation() {
        let mut image = vec![3.0; 100_003];
        add_noise(&mut image, &Noise { standard_deviation: 0.1, seed: 5 });
        let found = Statistics::of(&image);
        assert!((found.mean - 3.0).abs() < 1e-3 && (found.std - 0.1).abs() < 1e-3, "{found:?}");
        let beyond = image.iter().filter(|&v| (v - 3.0).abs() > 0.2).count() as f64 / image.len() as f64;
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond}");
    }

    #[test]
    fn values_are_normal_and_do_not_know_each_other() {
        let mut x = vec![0.0; 1_000_000];
        add_noise(&mut x, &Noise { standard_deviation: 1.0, seed: 11 });
        let n = x.len() as f64;
        let moment = |k: i32| x.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n;
        assert!(moment(3).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.05, "{} {}", moment(3), moment(4));
        assert!((moment(6) - 15.0).abs() < 0.6, "{}", moment(6));
        for lag in [1, 7, 8, 15, 16, 128] {
            let product =
                |shift: usize| x[shift..].iter().zip(&x).map(|(a, b)| f64::from(a * b)).sum::<f64>() / n;
            assert!(product(lag).abs() < 0.006, "lag {lag}: {}", product(lag));
        }
        // The share below each of some quantiles.
        for (quantile, share) in [(-2.326_348, 0.01), (-1.0, 0.158_655), (0.3, 0.617_911), (1.644_854, 0.95)]
        {
            let found = x.iter().filter(|&&v| v < quantile).count() as f64 / n;
            assert!((found - share).abs() < 0.002, "{quantile}: {found} instead of {share}");
        }
        let mut other = vec![0.0; 1000];
        add_noise(&mut other, &Noise { standard_deviation: 1.0, seed: 12 });
        assert!(other.iter().zip(&x).all(|(a, b)| a != b));
    }
}
