/// Reverses the flagged axes z, y, x of every channel of an array of `shape`, in place.
pub(crate) fn mirror<T>(data: &mut [T], shape: [usize; 3], axes: [bool; 3]) {
    let [depth, height, width] = shape;
    let area = height * width;
    if axes[2] {
        data.chunks_exact_mut(width).for_each(<[T]>::reverse);
    }
    if axes[1] {
        data.chunks_exact_mut(area).for_each(|plane| reverse_blocks(plane, width));
    }
    if axes[0] {
        data.chunks_exact_mut(depth * area).for_each(|channel| reverse_blocks(channel, area));
    }
}

/// Reverses the order of blocks of `length`, each of which stays as it is.
fn reverse_blocks<T>(data: &mut [T], length: usize) {
    let count = data.len() / length;
    let (front, back) = data.split_at_mut(count.div_ceil(2) * length);
    let back = back.chunks_exact_mut(length).rev();
    front.chunks_exact_mut(length).zip(back).for_each(|(a, b)| a.swap_with_slice(b));
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flips_are_those_of_reversed_views(
            c in 1usize..3, z in 1usize..6, y in 1usize..6, x in 1usize..6, axes: [bool; 3]
        ) {
            let original = Array4::from_shape_fn((c, z, y, x), |(c, z, y, x)| c * 1000 + z * 100 + y * 10 + x);
            let mut found = original.clone();
            mirror(found.as_slice_mut().unwrap(), [z, y, x], axes);
            let mut expected = original.view();
            for (axis, _) in axes.iter().enumerate().filter(|(_, flip)| **flip) {
                expected.invert_axis(ndarray::Axis(axis + 1));
            }
            prop_assert_eq!(found.slice(s![.., .., .., ..]), expected);
        }
    }
}
