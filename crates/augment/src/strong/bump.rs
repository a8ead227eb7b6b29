use rand_chacha::ChaCha8Rng;

use crate::PipelineConfig;
use crate::rng::uniform;

/// A Gaussian bump over the patch, scaled to the range from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bump {
    /// Centre along z, y, x in voxels from the patch's corner; may lie outside. 2-D ignores z.
    pub centre: [f64; 3],
    /// Standard deviation along z, y, x in voxels.
    pub sigma: [f64; 3],
}

impl Bump {
    /// Widths from a sixth of the patch to all of it, centres up to half a patch outside.
    pub(super) fn draw(config: &PipelineConfig, rng: &mut ChaCha8Rng) -> Self {
        let mut bump = Self { centre: [0.0; 3], sigma: [1.0; 3] };
        for axis in 3 - config.dims.min(3)..3 {
            let length = config.patch_size[axis];
            bump.centre[axis] = uniform(rng, [-0.5, 1.5]) * length as f64;
            let narrowest = (length / 6).max(1) as f64;
            bump.sigma[axis] = uniform(rng, [narrowest.ln(), (length as f64).ln()]).exp();
        }
        bump
    }

    /// The values for a patch of `shape`; `planar` leaves z alone.
    pub(super) fn values(&self, shape: [usize; 3], planar: bool) -> Vec<f32> {
        let axis = |axis: usize| -> Vec<f32> {
            if axis == 0 && planar { vec![1.0; shape[0]] } else { self.weights(axis, shape[axis]) }
        };
        let (z, y, x) = (axis(0), axis(1), axis(2));
        let mut values = Vec::with_capacity(shape.iter().product());
        for wz in &z {
            for wy in &y {
                values.extend(x.iter().map(|wx| wz * wy * wx));
            }
        }
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low;
        let scale = if high > 0.0 { high } else { 1.0 };
        values.iter_mut().for_each(|v| *v = (*v - low) / scale);
        values
    }

    /// The part of the bell that falls on each voxel.
    fn weights(&self, axis: usize, length: usize) -> Vec<f32> {
        let below = |edge: usize| {
            let distance = (edge as f64 - 0.5 - self.centre[axis]) / self.sigma[axis];
            0.5 * libm::erfc(-distance / std::f64::consts::SQRT_2)
        };
        (0..length).map(|i| (below(i + 1) - below(i)) as f32).collect()
    }
}
