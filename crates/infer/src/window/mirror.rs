/// Which of the axes z, y, x are turned around.
pub(crate) type Flip = [bool; 3];

/// The identity, then all non-empty subsets of the axes: single axes first, then pairs, then all three, each
/// in the order of the axes.
///
/// `axes` are array axes (z = 0, y = 1, x = 2) without repetition.
pub(crate) fn flips(axes: &[usize]) -> Vec<Flip> {
    let mut subsets: Vec<Vec<usize>> = (0..1_usize << axes.len())
        .map(|bits| (0..axes.len()).filter(|i| bits >> i & 1 == 1).collect())
        .collect();
    subsets.sort_by_key(|subset| (subset.len(), subset.clone()));
    subsets.iter().map(|subset| std::array::from_fn(|axis| subset.iter().any(|&i| axes[i] == axis))).collect()
}

/// Copies `source` with the flipped axes turned around. Both are arrays (planes, z, y, x) of `shape` (z, y,
/// x); `channels` values lie together per voxel.
pub(crate) fn copy_flipped(
    source: &[f32],
    target: &mut [f32],
    shape: [usize; 3],
    channels: usize,
    flip: Flip,
) {
    for_rows(source, target, shape, channels, flip, |from, to, turned| {
        if !turned {
            to.copy_from_slice(from);
            return;
        }
        for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels).rev()) {
            to.copy_from_slice(from);
        }
    });
}

/// Adds `source`, turned around, to `target`; see [`copy_flipped`].
pub(crate) fn add_flipped(
    source: &[f32],
    target: &mut [f32],
    shape: [usize; 3],
    channels: usize,
    flip: Flip,
) {
    for_rows(source, target, shape, channels, flip, |from, to, turned| {
        if !turned {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            return;
        }
        for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels).rev()) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    });
}

fn for_rows(
    source: &[f32],
    target: &mut [f32],
    [z, y, x]: [usize; 3],
    channels: usize,
    flip: Flip,
    apply: impl Fn(&[f32], &mut [f32], bool),
) {
    let row = x * channels;
    let turn = |index: usize, size: usize, turned: bool| if turned { size - 1 - index } else { index };
    for (number, to) in target.chunks_exact_mut(row).enumerate() {
        let (plane, k, j) = (number / (z * y), number / y % z, number % y);
        let from = ((plane * z + turn(k, z, flip[0])) * y + turn(j, y, flip[1])) * row;
        apply(&source[from..from + row], to, flip[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_come_by_size_and_then_by_axis() {
        let (n, f) = (true, false);
        let expected =
            [[f, f, f], [n, f, f], [f, n, f], [f, f, n], [n, n, f], [n, f, n], [f, n, n], [n, n, n]];
        assert_eq!(flips(&[0, 1, 2]), expected);
        assert_eq!(flips(&[1, 2]), [[f, f, f], [f, n, f], [f, f, n], [f, n, n]]);
        assert_eq!(flips(&[]), [[f, f, f]]);
    }

    #[test]
    fn flipping_agrees_with_ndarray_and_twice_is_the_identity() {
        let shape = [2, 3, 4];
        let source: Vec<f32> = (0..2 * 24).map(|v| v as f32).collect();
        for flip in flips(&[0, 1, 2]) {
            let mut view = ndarray::ArrayView4::from_shape((2, 2, 3, 4), &source).unwrap();
            (0..3).filter(|&axis| flip[axis]).for_each(|axis| view.invert_axis(ndarray::Axis(axis + 1)));
            let mut turned = vec![0.0; source.len()];
            copy_flipped(&source, &mut turned, shape, 1, flip);
            assert!(view.iter().eq(&turned), "{flip:?}");
            let mut back = vec![1.0; source.len()];
            add_flipped(&turned, &mut back, shape, 1, flip);
            assert!(back.iter().zip(&source).all(|(b, s)| *b == s + 1.0), "{flip:?}");
        }
    }

    #[test]
    fn values_of_one_voxel_stay_together() {
        let source = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut turned = [0.0; 6];
        copy_flipped(&source, &mut turned, [1, 1, 3], 2, [false, false, true]);
        assert_eq!(turned, [5.0, 6.0, 3.0, 4.0, 1.0, 2.0]);
    }
}
