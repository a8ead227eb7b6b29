use rand::{Rng, RngExt};
use serde::Serialize;

/// How the samples that must contain foreground are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Oversampling {
    /// The last part of each batch; see [`is_foreground_forced`].
    #[default]
    LastOfBatch,
    /// Each sample by itself, with the given probability.
    PerSample,
    /// Each sample by itself, with the share that [`Oversampling::LastOfBatch`] would force of a batch.
    PerSampleLikeBatch,
}

impl Oversampling {
    /// Whether sample `index` of a batch must contain foreground. Only choices per sample take a random number.
    pub fn is_forced(self, index: usize, batch_size: usize, part: f64, rng: &mut impl Rng) -> bool {
        match self {
            Self::LastOfBatch => is_foreground_forced(index, batch_size, part),
            Self::PerSample => rng.random::<f64>() < part,
            Self::PerSampleLikeBatch => {
                let forced = (0..batch_size).filter(|&i| is_foreground_forced(i, batch_size, part)).count();
                rng.random::<f64>() < forced as f64 / batch_size.max(1) as f64
            }
        }
    }
}

/// Whether sample `index` of a batch must contain foreground: the last `oversample` part of the batch, rounded half
/// to even, is forced. The same rule holds for validation batches.
pub fn is_foreground_forced(index: usize, batch_size: usize, oversample: f64) -> bool {
    index as f64 >= (batch_size as f64 * (1.0 - oversample)).round_ties_even()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::{Oversampling, is_foreground_forced};

    #[test]
    fn forced_counts_of_batches_of_one_to_thirteen() {
        let counts: Vec<usize> =
            (1..=13).map(|size| (0..size).filter(|&i| is_foreground_forced(i, size, 0.33)).count()).collect();
        assert_eq!(counts, [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    }

    #[test]
    fn nothing_and_everything_can_be_forced() {
        assert!((0..5).all(|i| !is_foreground_forced(i, 5, 0.0)));
        assert!((0..5).all(|i| is_foreground_forced(i, 5, 1.0)));
    }
    #[test]
    fn samples_that_are_chosen_by_themselves_have_the_share_they_should() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // Of a batch of two, one sample is forced: one half.
        for (how, share) in [(Oversampling::PerSample, 0.33), (Oversampling::PerSampleLikeBatch, 0.5)] {
            let forced = (0..20_000).filter(|i| how.is_forced(i % 2, 2, 0.33, &mut rng)).count();
            let found = forced as f64 / 20_000.0;
            assert!((found - share).abs() < 0.015, "{how:?}: {found} instead of {share}");
        }
    }
}
