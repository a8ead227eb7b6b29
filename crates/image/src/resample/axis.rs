//! One axis: which input samples an output lies between, and their weights.

/// Edge samples that are added on both sides before a spline is fitted.
pub(super) const PAD: usize = 12;

/// Coordinate of output `k` in input samples; the centres of the outer samples lie half a sample inside the border.
pub(super) fn coordinate(k: usize, n_in: usize, n_out: usize) -> f64 {
    (k as f64 + 0.5) * (n_in as f64 / n_out as f64) - 0.5
}

/// Index of the input sample nearest to output `k`; halves go up.
pub(super) fn nearest(k: usize, n_in: usize, n_out: usize) -> usize {
    let c = coordinate(k, n_in, n_out).clamp(0.0, (n_in - 1) as f64);
    ((c + 0.5).floor() as usize).min(n_in - 1)
}

/// The two input samples around output `k` and their weights for linear interpolation.
///
/// Beyond the outer samples both are the outer one, and the weights still are those of the coordinate: their products with
/// the weights of other axes then round as in the reference, on which exact ties between labels depend.
pub(super) fn linear(k: usize, n_in: usize, n_out: usize) -> ([usize; 2], [f64; 2]) {
    let c = coordinate(k, n_in, n_out);
    let floor = c.floor();
    let clamp = |index: f64| index.clamp(0.0, (n_in - 1) as f64) as usize;
    let low = 1.0 - (c - floor);
    ([clamp(floor), clamp(floor + 1.0)], [low, 1.0 - low])
}

/// Which linear taps an axis has: one sample with weight 1 where its size does not change.
#[derive(Debug)]
pub(super) struct LinearTaps {
    taps: Vec<([usize; 2], [f64; 2])>,
    /// Taps per output: 1 or 2.
    pub(super) count: usize,
}

impl LinearTaps {
    pub(super) fn new(n_in: usize, n_out: usize) -> Self {
        if n_in == n_out {
            return Self { taps: (0..n_in).map(|k| ([k, k], [1.0, 0.0])).collect(), count: 1 };
        }
        Self { taps: (0..n_out).map(|k| linear(k, n_in, n_out)).collect(), count: 2 }
    }

    /// Samples and weights of output `k`; only the first [`Self::count`] of each matter.
    pub(super) fn at(&self, k: usize) -> ([usize; 2], [f64; 2]) {
        self.taps[k]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(n_in: usize, n_out: usize) -> Vec<usize> {
        (0..n_out).map(|k| nearest(k, n_in, n_out)).collect()
    }

    #[test]
    fn nearest_neighbours_of_four_samples() {
        assert_eq!(indices(4, 2), [1, 3]);
        assert_eq!(indices(4, 3), [0, 2, 3]);
        assert_eq!(indices(4, 5), [0, 1, 2, 2, 3]);
        assert_eq!(indices(4, 6), [0, 1, 1, 2, 3, 3]);
        assert_eq!(indices(4, 7), [0, 0, 1, 2, 2, 3, 3]);
        assert_eq!(indices(4, 8), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn weights_sum_to_one() {
        for (n_in, n_out) in [(1, 5), (3, 7), (9, 4), (13, 13)] {
            for k in 0..n_out {
                let ([a, b], weights) = linear(k, n_in, n_out);
                assert!(a <= b && b < n_in);
                assert_eq!(weights.iter().sum::<f64>(), 1.0);
            }
        }
    }
}
