/// First voxel of the central crop: `⌊S/2⌋ − ⌊P/2⌋`; the patch must fit.
pub(crate) fn crop_start(patch: [usize; 3], loaded: [usize; 3]) -> [usize; 3] {
    [0, 1, 2].map(|k| (loaded[k] / 2).saturating_sub(patch[k] / 2))
}

/// Copies the box of shape `target_shape` at `start` of every channel.
///
/// The box must lie inside the source; rows are copied whole.
pub(crate) fn crop<T: Copy>(
    source: &[T],
    source_shape: [usize; 3],
    start: [usize; 3],
    target: &mut [T],
    target_shape: [usize; 3],
) {
    let [depth, rows, width] = source_shape;
    let [_, target_rows, target_width] = target_shape;
    let channels = source.chunks_exact(depth * rows * width);
    for (source, target) in channels.zip(target.chunks_exact_mut(target_shape.iter().product())) {
        for (index, row) in target.chunks_exact_mut(target_width).enumerate() {
            let (z, y) = (start[0] + index / target_rows, start[1] + index % target_rows);
            let first = (z * rows + y) * width + start[2];
            row.copy_from_slice(&source[first..first + target_width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_margins_start_as_in_the_reference() {
        assert_eq!(crop_start([4; 3], [7, 6, 4]), [1, 1, 0]);
        assert_eq!(crop_start([5; 3], [7, 6, 5]), [1, 1, 0]);
    }

    #[test]
    fn a_box_is_copied() {
        let source: Vec<i16> = (0..54).collect();
        let mut target = [0; 16];
        crop(&source, [3; 3], [1, 0, 1], &mut target, [2; 3]);
        assert_eq!(target, [10, 11, 13, 14, 19, 20, 22, 23, 37, 38, 40, 41, 46, 47, 49, 50]);
    }
}
