//! Whether a batch is trained on, and what random numbers are drawn for it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Names the random numbers of one iteration, so that they depend on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrawKey {
    /// Seed of the training.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// The iteration of the epoch.
    pub iteration: u64,
    /// Number of the batch's first sample, where several ranks share a batch.
    pub first_sample: u64,
}

/// One way of a batch through a network.
#[derive(Debug, Clone)]
pub struct Pass {
    key: Option<DrawKey>,
    drawn: u32,
}

impl Pass {
    /// Evaluation: nothing is random, and batch norms use what they have seen in training.
    pub fn evaluation() -> Self {
        Self { key: None, drawn: 0 }
    }

    /// Training with the random numbers of `key`.
    pub fn training(key: DrawKey) -> Self {
        Self { key: Some(key), drawn: 0 }
    }

    /// Whether the batch is trained on.
    pub fn is_training(&self) -> bool {
        self.key.is_some()
    }

    /// `count` numbers from 0 to below 1 for each of `samples` samples; none in evaluation.
    ///
    /// Each layer that draws has numbers of its own, and so has each sample.
    pub fn uniform(&mut self, samples: usize, count: usize) -> Option<Vec<f32>> {
        let key = self.key?;
        let mut seed = [0; 32];
        let layer = u64::from(self.drawn);
        let parts = [key.seed, key.epoch, key.iteration, layer];
        for (bytes, part) in seed.chunks_exact_mut(8).zip(parts) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        self.drawn += 1;
        let mut all = Vec::with_capacity(samples * count);
        for sample in 0..samples as u64 {
            let mut rng = ChaCha8Rng::from_seed(seed);
            rng.set_stream(key.first_sample + sample);
            all.extend((0..count).map(|_| rng.random::<f32>()));
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_key_the_layer_and_the_sample_alone() {
        let key = DrawKey { seed: 3, epoch: 1, iteration: 4, first_sample: 0 };
        let mut pass = Pass::training(key);
        let (first, second) = (pass.uniform(2, 3).unwrap(), pass.uniform(2, 3).unwrap());
        assert_ne!(first, second);
        assert_eq!(Pass::training(key).uniform(2, 3).unwrap(), first);
        // The second half of a shared batch.
        let mut rank = Pass::training(DrawKey { first_sample: 1, ..key });
        assert_eq!(rank.uniform(1, 3).unwrap(), first[3..]);
        assert_ne!(Pass::training(DrawKey { epoch: 2, ..key }).uniform(2, 3).unwrap(), first);
        assert!(Pass::evaluation().uniform(2, 3).is_none());
    }
}
