//! The exact median of a label's values without a copy of them: two counts over halves of their bits.

use ndarray::{ArrayView3, Slice, Zip};

use super::VoxelBox;

const BINS: usize = 1 << 16;

/// Median of the finite values of `image` where `labels` are among `class`, of which there are `count`, all inside `inside`.
pub(super) fn median(
    labels: ArrayView3<'_, i16>,
    image: ArrayView3<'_, f32>,
    class: &[i16],
    inside: VoxelBox,
    count: u64,
) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let range = |axis: usize| Slice::from(inside.first[axis]..=inside.last[axis]);
    let labels = labels.slice_each_axis(|axis| range(axis.axis.index()));
    let image = image.slice_each_axis(|axis| range(axis.axis.index()));
    let visit = |take: &mut dyn FnMut(u32)| {
        Zip::from(labels).and(image).for_each(|label, value| {
            if class.contains(label) && value.is_finite() {
                take(key(*value));
            }
        });
    };
    let mut upper = vec![0u64; BINS];
    visit(&mut |key| upper[(key >> 16) as usize] += 1);
    let select = |rank: u64| {
        let (high, rank) = bin(&upper, rank)?;
        let mut lower = vec![0u64; BINS];
        visit(&mut |key| {
            if (key >> 16) as usize == high {
                lower[(key & 0xffff) as usize] += 1;
            }
        });
        let (low, _) = bin(&lower, rank)?;
        Some(f64::from(value((high << 16 | low) as u32)))
    };
    let middle = select(count / 2)?;
    if count % 2 == 1 { Some(middle) } else { Some((select(count / 2 - 1)? + middle) / 2.0) }
}

/// The bin that holds the value of this rank, and its rank within.
fn bin(counts: &[u64], mut rank: u64) -> Option<(usize, u64)> {
    for (bin, &count) in counts.iter().enumerate() {
        if rank < count {
            return Some((bin, rank));
        }
        rank -= count;
    }
    None
}

/// A number whose order is that of the values.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn keys_keep_the_order_and_come_back() {
        let values = [f32::MIN, -2.5, -1e-30, 0.0, 1e-30, 1.0, 1.0000001, 3e4, f32::MAX];
        assert!(values.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(values.iter().all(|&v| value(key(v)).to_bits() == v.to_bits()));
    }

    #[test]
    fn medians_of_odd_and_even_numbers_agree_with_sorting() {
        let image = Array3::from_shape_fn((3, 4, 5), |(z, y, x)| {
            ((z * 31 + y * 17 + x * 7) % 23) as f32 * 1.37 - 11.0 + 1e-4 * x as f32
        });
        for keep in 1..image.len() {
            let labels =
                Array3::from_shape_vec(image.dim(), (0..image.len()).map(|i| (i < keep).into()).collect());
            let labels: Array3<i16> = labels.unwrap();
            let mut sorted: Vec<f32> = image.iter().copied().take(keep).collect();
            sorted.sort_by(f32::total_cmp);
            let at = |i: usize| f64::from(sorted[i]);
            let expected = if keep % 2 == 1 { at(keep / 2) } else { (at(keep / 2 - 1) + at(keep / 2)) / 2.0 };
            let inside = VoxelBox { first: [0; 3], last: [2, 3, 4] };
            let found = median(labels.view(), image.view(), &[1], inside, keep as u64);
            assert_eq!(found, Some(expected), "{keep} values");
        }
    }
}
