/// Index of the source voxel at the centre of target voxel `index`: `⌊(i + ½)·in/out⌋`, in f32.
pub(crate) fn nearest_exact(index: usize, source: usize, target: usize) -> usize {
    let scale = f64::from(source as f32 / target as f32);
    let position = ((index as f64 + 0.5) * scale) as f32;
    (position.floor() as usize).min(source.saturating_sub(1))
}

/// `length · factor`, rounded half to even.
pub(crate) fn scaled_length(length: usize, factor: f64) -> usize {
    (length as f64 * factor).round_ties_even().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_quarters_take_the_reference_s_voxels() {
        assert_eq!((0..4).map(|i| nearest_exact(i, 8, 4)).collect::<Vec<_>>(), [1, 3, 5, 7]);
        assert_eq!((0..2).map(|i| nearest_exact(i, 8, 2)).collect::<Vec<_>>(), [2, 6]);
    }

    #[test]
    fn lengths_round_half_to_even() {
        assert_eq!([5, 7, 9].map(|n| scaled_length(n, 0.5)), [2, 4, 4]);
    }
}
