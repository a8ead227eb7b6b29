use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::cascade::CascadeParameters;
use crate::config::{Chance, PipelineConfig};
use crate::rng::{around_one, chance, uniform};
use crate::spatial::Elastic;
use crate::strong::StrongParameters;

/// Everything random about one augmented sample, drawn before anything is applied.
///
/// The values are plain, so they can be logged, compared and replayed: applying the same parameters to the same
/// sample gives the same result, noise included. `Default` leaves a sample as it is, apart from the central crop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// Angles about the array axes z, y, x in radians; in-plane augmentation uses the first only.
    pub rotation: Option<[f64; 3]>,
    /// Factors between patch and image coordinates along axes z, y, x; above 1 objects shrink. In-plane augmentation
    /// ignores the first.
    pub scaling: Option<[f64; 3]>,
    /// Elastic deformation.
    pub elastic: Option<Elastic>,
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
    /// Transforms beyond the default ones.
    pub strong: Option<Box<StrongParameters>>,
    /// What happens to the segmentation of a previous stage.
    pub cascade: Option<CascadeParameters>,
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
        let (rotation, scaling, elastic) = draw_spatial(config, rng);
        let strong = config.strong.as_ref().map(|strong| Box::new(strong.draw(config, channels, rng)));
        // Of median filter and blur, one is chosen before either is drawn.
        let blurs = strong.as_ref().is_none_or(|strong| !strong.median_chosen);
        Self {
            rotation,
            scaling,
            elastic,
            noise: draw_noise(config, rng),
            blur: (blurs && gate(&config.blur, rng)).then(|| draw_blur(config, channels, rng)),
            brightness: per_channel(&config.brightness, channels, rng),
            contrast: per_channel(&config.contrast, channels, rng),
            low_resolution: gate(&config.low_resolution, rng)
                .then(|| draw_low_resolution(config, channels, rng)),
            gamma_inverted: per_channel(&config.gamma_inverted, channels, rng),
            gamma: per_channel(&config.gamma, channels, rng),
            mirror: draw_mirror(config, rng),
            strong,
            cascade: config.cascade.as_ref().map(|cascade| cascade.draw(rng)),
        }
    }
}

pub(crate) fn gate(transform: &Chance, rng: &mut ChaCha8Rng) -> bool {
    chance(rng, transform.probability)
}

type Spatial = (Option<[f64; 3]>, Option<[f64; 3]>, Option<Elastic>);

fn draw_spatial(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Spatial {
    let (rotate, scale) = (chance(rng, config.p_rotation), chance(rng, config.p_scaling));
    let deform = config.elastic.probability > 0.0 && chance(rng, config.elastic.probability);
    let rotation = rotate.then(|| {
        let axes = if config.in_plane() { 1 } else { 3 };
        let mut angles = [0.0; 3];
        angles[..axes].fill_with(|| uniform(rng, config.rotation_range));
        for angle in &mut angles[..axes] {
            if config.p_rotation_per_axis < 1.0 && !chance(rng, config.p_rotation_per_axis) {
                *angle = 0.0;
            }
        }
        angles
    });
    let scaling = scale.then(|| match config.uniform_scaling {
        true => [uniform(rng, config.scaling_range); 3],
        false => [(); 3].map(|()| uniform(rng, config.scaling_range)),
    });
    (rotation, scaling, deform.then(|| Elastic::draw(config, rng)))
}

fn draw_noise(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Option<Noise> {
    gate(&config.noise, rng)
        .then(|| Noise { standard_deviation: uniform(rng, config.noise.range), seed: rng.random() })
}

fn draw_blur(config: &PipelineConfig, channels: usize, rng: &mut ChaCha8Rng) -> Vec<Option<[f64; 3]>> {
    let shared = config.strong.is_some();
    let draw = |_| {
        chance(rng, config.blur_per_channel).then(|| match shared {
            true => [uniform(rng, config.blur.range); 3],
            false => [(); 3].map(|()| uniform(rng, config.blur.range)),
        })
    };
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
