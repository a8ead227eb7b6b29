/// Reverses the flagged axes z, y, x of every channel of an array of `shape`, in place and in one pass.
pub(crate) fn mirror<T>(data: &mut [T], shape: [usize; 3], [flip_z, flip_y, flip_x]: [bool; 3]) {
    let [depth, height, width] = shape;
    if !(flip_z || flip_y) {
        if flip_x {
            data.chunks_exact_mut(width).for_each(<[T]>::reverse);
        }
        return;
    }
    for channel in data.chunks_exact_mut(depth * height * width) {
        for row in 0..depth * height {
            let (z, y) = (row / height, row % height);
            let other_z = if flip_z { depth - 1 - z } else { z };
            let other_y = if flip_y { height - 1 - y } else { y };
            let other = other_z * height + other_y;
            if other < row {
                continue;
            }
            if other == row {
                if flip_x {
                    channel[row * width..(row + 1) * width].reverse();
                }
                continue;
            }
            let (front, back) = channel.split_at_mut(other * width);
            let (a, b) = (&mut front[row * width..(row + 1) * width], &mut back[..width]);
            if flip_x {
                a.iter_mut().zip(b.iter_mut().rev()).for_each(|(a, b)| std::mem::swap(a, b));
            } else {
                a.swap_with_slice(b);
            }
        }
    }
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
