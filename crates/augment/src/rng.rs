use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random stream of one training sample.
///
/// Every key has a stream of its own, so what a sample looks like depends neither on the number of loader threads
/// nor on the order in which they run.
///
/// ```
/// use rand::RngExt;
/// let first: u64 = nnunet_augment::sample_rng(1, 0, 7).random();
/// assert_eq!(first, nnunet_augment::sample_rng(1, 0, 7).random::<u64>());
/// assert_ne!(first, nnunet_augment::sample_rng(1, 1, 7).random::<u64>());
/// ```
pub fn sample_rng(seed: u64, epoch: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, epoch, sample, u64::from_le_bytes(*b"nnU-Net ")]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// True with probability `p`.
pub(crate) fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    rng.random::<f64>() < p
}

/// Uniform on `[low, high)`; equal bounds give the bound and leave the stream where it is.
pub(crate) fn uniform(rng: &mut ChaCha8Rng, [low, high]: [f64; 2]) -> f64 {
    if low == high { low } else { low + (high - low) * rng.random::<f64>() }
}

/// Below 1 or above 1 with equal probability, then uniform on that side of the range (nnU-Net v2.8.1 behaviour).
pub(crate) fn around_one(rng: &mut ChaCha8Rng, [low, high]: [f64; 2]) -> f64 {
    let below = chance(rng, 0.5) && low < 1.0;
    if below { uniform(rng, [low, 1.0]) } else { uniform(rng, [low.max(1.0), high]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_collide_when_their_parts_are_exchanged() {
        let first = |seed, epoch, sample| sample_rng(seed, epoch, sample).random::<u64>();
        let values = [first(1, 2, 3), first(2, 1, 3), first(3, 2, 1), first(1, 3, 2), first(0, 0, 6)];
        for (i, a) in values.iter().enumerate() {
            assert!(values[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn equal_bounds_consume_nothing() {
        let mut rng = sample_rng(1, 2, 3);
        assert_eq!(uniform(&mut rng, [0.5, 0.5]), 0.5);
        assert_eq!(rng, sample_rng(1, 2, 3));
    }

    #[test]
    fn a_range_above_one_never_gives_less() {
        let mut rng = sample_rng(1, 2, 3);
        assert!((0..1000).all(|_| (1.2..2.0).contains(&around_one(&mut rng, [1.2, 2.0]))));
    }
}
