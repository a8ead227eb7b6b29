//! Mean and variance per channel, gathered by kernels while their outputs are at hand.

/// Voxels that are summed in f32 before their sums are taken over in f64.
pub(crate) const RUN: usize = 512;
/// Most channels of a block.
const LANES: usize = 64;

/// Number, mean and sum of squared deviations of the values of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    pub(crate) squares: f64,
}

impl Moments {
    /// The moments of both sets of values together (Chan, Golub and LeVeque).
    pub(crate) fn join(self, other: Self) -> Self {
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let share = other.count / count;
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.count * share,
        }
    }

    /// Mean and 1 / sqrt(biased variance + eps).
    pub(crate) fn normaliser(&self, eps: f64) -> (f64, f64) {
        (self.mean, 1.0 / (self.squares / self.count.max(1.0) + eps).sqrt())
    }
}

/// Sums of a block of channels over a run of voxels: deviations from the first of them, so that a mean far from zero costs
/// no digits.
pub(crate) struct BlockSums {
    pub(crate) pivot: [f32; LANES],
    pub(crate) sum: [f32; LANES],
    pub(crate) squares: [f32; LANES],
    pub(crate) count: usize,
}

impl BlockSums {
    pub(crate) fn new() -> Self {
        Self { pivot: [0.0; LANES], sum: [0.0; LANES], squares: [0.0; LANES], count: 0 }
    }

    /// Adds `voxels` voxels of `lanes` channels, `step` values apart.
    ///
    /// # Safety
    /// The values can be read; `lanes` is at most 64.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn add_row(&mut self, values: *const f32, step: usize, voxels: usize, lanes: usize) {
        if voxels == 0 {
            return;
        }
        // SAFETY: the caller's.
        let voxel = |v: usize| unsafe { std::slice::from_raw_parts(values.add(v * step), lanes) };
        if self.count == 0 {
            self.pivot[..lanes].copy_from_slice(voxel(0));
        }
        let (pivot, sum, squares) =
            (&self.pivot[..lanes], &mut self.sum[..lanes], &mut self.squares[..lanes]);
        for v in 0..voxels {
            let value = voxel(v);
            for i in 0..lanes {
                let d = value[i] - pivot[i];
                sum[i] += d;
                squares[i] += d * d;
            }
        }
        self.count += voxels;
    }

    /// Takes the sums over into `moments`, one per channel, and starts anew.
    pub(crate) fn flush(&mut self, moments: &mut [Moments]) {
        if self.count > 0 {
            let n = self.count as f64;
            for (i, moments) in moments.iter_mut().enumerate() {
                let shift = f64::from(self.sum[i]) / n;
                let run = Moments {
                    count: n,
                    mean: f64::from(self.pivot[i]) + shift,
                    squares: (f64::from(self.squares[i]) - shift * f64::from(self.sum[i])).max(0.0),
                };
                *moments = moments.join(run);
            }
        }
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn runs_joined_are_the_whole() {
        let values: Vec<f32> = (0..3000).map(|i| 1000.0 + ((i * 37) % 101) as f32 / 8.0).collect();
        let mut moments = [Moments::default(); 3];
        let mut sums = BlockSums::new();
        for run in values.chunks(3 * 70) {
            // SAFETY: the run has this many voxels of three values.
            unsafe { sums.add_row(run.as_ptr(), 3, run.len() / 3, 3) };
            sums.flush(&mut moments);
        }
        for (channel, moments) in moments.iter().enumerate() {
            let own = || values.iter().skip(channel).step_by(3).map(|v| f64::from(*v));
            let mean = own().sum::<f64>() / 1000.0;
            let squares = own().map(|v| (v - mean) * (v - mean)).sum::<f64>();
            assert_eq!(moments.count, 1000.0);
            assert!((moments.mean - mean).abs() < 1e-9 * mean, "{moments:?} {mean}");
            assert!((moments.squares / squares - 1.0).abs() < 1e-5, "{moments:?} {squares}");
        }
    }
}
