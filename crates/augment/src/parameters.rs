use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::config::{Chance, PipelineConfig};
use crate::rng::{around_one, chance, uniform};

/// Everything random about one augmented sample, drawn before anything is applied.
///
/// The values are plain, so they can be logged, compared and replayed: applying the same parameters to the same
/// sample gives the same result, noise included. `Default` leaves a sample as it is, apart from the central crop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// Angles about the array axes z, y, x in radians; in-plane augmentation uses the first only.
    pub rotation: Option<[f64; 3]>,
    /// Factor between patch and image coordinates; above 1 objects shrink.
    pub scaling: Option<f64>,
    /// Additive Gaussian noise, the same standard deviation for all channels.
    pub noise: Option<Noise>,
    /// Sigma in voxels for axes z, y, x of each channel (`None`: the channel stays); 2-D ignores z.
    pub blur: Option<Vec<Option<[f64; 3]>>>,
    /// Factor for each channel.
    pub brightness: Option<Vec<f64>>,
    /// Factor on the distance from the mean, for each channel.
    pub contrast: Option<Vec<f64>>,
    /// Factor on the number of voxels per axis, for each channel (`None`: the channel stays).
    pub low_resolution: Option<Vec<Option<f64>>>,
    /// Exponent for each channel, applied to the negated image.
    pub gamma_inverted: Option<Vec<f64>>,
    /// Exponent for each channel.
    pub gamma: Option<Vec<f64>>,
    /// Whether the array axes z, y, x are reversed.
    pub mirror: [bool; 3],
}

/// Additive Gaussian noise: its strength and the seed that its values come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Standard deviation, in intensity units.
    pub standard_deviation: f64,
    /// Seed of the stream of values.
    pub seed: u64,
}

impl Parameters {
    /// Draws the parameters of one sample with `channels` image channels, in the order of the fields.
    pub(crate) fn draw(config: &PipelineConfig, channels: usize, rng: &mut ChaCha8Rng) -> Self {
        let (rotation, scaling) = draw_spatial(config, rng);
        Self {
            rotation,
            scaling,
            noise: draw_noise(config, rng),
            blur: gate(&config.blur, rng).then(|| draw_blur(config, channels, rng)),
            brightness: per_channel(&config.brightness, channels, rng),
            contrast: per_channel(&config.contrast, channels, rng),
            low_resolution: gate(&config.low_resolution, rng)
                .then(|| draw_low_resolution(config, channels, rng)),
            gamma_inverted: per_channel(&config.gamma_inverted, channels, rng),
            gamma: per_channel(&config.gamma, channels, rng),
            mirror: draw_mirror(config, rng),
        }
    }
}

fn gate(transform: &Chance, rng: &mut ChaCha8Rng) -> bool {
    chance(rng, transform.probability)
}

fn draw_spatial(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> (Option<[f64; 3]>, Option<f64>) {
    let (rotate, scale) = (chance(rng, config.p_rotation), chance(rng, config.p_scaling));
    let mut angle = || uniform(rng, config.rotation_range);
    let rotation =
        rotate.then(|| if config.in_plane() { [angle(), 0.0, 0.0] } else { [angle(), angle(), angle()] });
    let scaling = scale.then(|| uniform(rng, config.scaling_range));
    (rotation, scaling)
}

fn draw_noise(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Option<Noise> {
    gate(&config.noise, rng)
        .then(|| Noise { standard_deviation: uniform(rng, config.noise.range), seed: rng.random() })
}

fn draw_blur(config: &PipelineConfig, channels: usize, rng: &mut ChaCha8Rng) -> Vec<Option<[f64; 3]>> {
    let draw =
        |_| chance(rng, config.blur_per_channel).then(|| [(); 3].map(|()| uniform(rng, config.blur.range)));
    (0..channels).map(draw).collect()
}

fn draw_low_resolution(config: &PipelineConfig, channels: usize, rng: &mut ChaCha8Rng) -> Vec<Option<f64>> {
    let (p, range) = (config.low_resolution_per_channel, config.low_resolution.range);
    (0..channels).map(|_| chance(rng, p).then(|| uniform(rng, range))).collect()
}

fn per_channel(transform: &Chance, channels: usize, rng: &mut ChaCha8Rng) -> Option<Vec<f64>> {
    gate(transform, rng).then(|| (0..channels).map(|_| around_one(rng, transform.range)).collect())
}

fn draw_mirror(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> [bool; 3] {
    [0, 1, 2].map(|axis| config.mirror_axes.contains(&axis) && chance(rng, 0.5))
}
