use crate::simd::{Kernel, widest};

/// Values that are summed side by side.
pub(super) const LANES: usize = 8;

/// Statistics of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    /// Unbiased standard deviation; 0 for a single voxel.
    pub(super) std: f64,
    pub(super) min: f32,
    pub(super) max: f32,
}

impl Statistics {
    /// Statistics of at least one value, summed in f64.
    pub(super) fn of(values: &[f32]) -> Self {
        widest(Measure(values))
    }
}

/// The loop of [`Statistics::of`].
struct Measure<'a>(&'a [f32]);

impl Kernel for Measure<'_> {
    type Output = Statistics;

    #[inline(always)]
    fn run(self) -> Statistics {
        let values = self.0;
        let first = values.first().copied().unwrap_or_default();
        let mut lanes = Lanes::new(first);
        let (chunks, rest) = values.as_chunks::<LANES>();
        chunks.iter().for_each(|chunk| lanes.add(chunk));
        let mut tail = [first; LANES];
        tail[..rest.len()].copy_from_slice(rest);
        lanes.add(&tail);
        lanes.finish(values.len())
    }
}

/// Running sums of values minus the first one, so that a large mean costs no precision.
pub(super) struct Lanes {
    shift: f32,
    sum: [f64; LANES],
    square: [f64; LANES],
    min: [f32; LANES],
    max: [f32; LANES],
}

impl Lanes {
    #[inline(always)]
    pub(super) fn new(shift: f32) -> Self {
        Self { shift, sum: [0.0; LANES], square: [0.0; LANES], min: [shift; LANES], max: [shift; LANES] }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, values: &[f32; LANES]) {
        for (lane, &v) in values.iter().enumerate() {
            let d = f64::from(v) - f64::from(self.shift);
            self.sum[lane] += d;
            self.square[lane] += d * d;
            self.min[lane] = if v < self.min[lane] { v } else { self.min[lane] };
            self.max[lane] = if v > self.max[lane] { v } else { self.max[lane] };
        }
    }

    pub(super) fn finish(self, count: usize) -> Statistics {
        let (n, sum, square) = (count as f64, self.sum.iter().sum::<f64>(), self.square.iter().sum::<f64>());
        let variance = (square - sum * sum / n) / (n - 1.0).max(1.0);
        Statistics {
            mean: f64::from(self.shift) + sum / n,
            std: variance.max(0.0).sqrt(),
            min: self.min.iter().copied().fold(self.shift, f32::min),
            max: self.max.iter().copied().fold(self.shift, f32::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_have_known_statistics() {
        let found = Statistics::of(&[0.0, 1.0, 2.0, 3.0, -1.0, 5.0]);
        assert!((found.mean - 5.0 / 3.0).abs() < 1e-12);
        assert!((found.std - (14.0f64 / 3.0).sqrt()).abs() < 1e-12, "{}", found.std);
        assert_eq!((found.min, found.max), (-1.0, 5.0));
        assert_eq!(Statistics::of(&[7.0]).std, 0.0);
    }

    #[test]
    fn a_large_mean_costs_no_precision() {
        let values: Vec<f32> = (0..1001).map(|i| 1e6 + (i % 11) as f32).collect();
        let found = Statistics::of(&values);
        assert!((found.std - (10.0f64 * 1001.0 / 1000.0).sqrt()).abs() < 1e-6, "{}", found.std);
    }
}
