/// Whether sample `index` of a batch must contain foreground: the last `oversample` part of the batch, rounded half
/// to even, is forced. The same rule holds for validation batches.
pub fn is_foreground_forced(index: usize, batch_size: usize, oversample: f64) -> bool {
    index as f64 >= (batch_size as f64 * (1.0 - oversample)).round_ties_even()
}

#[cfg(test)]
mod tests {
    use super::is_foreground_forced;

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
}
