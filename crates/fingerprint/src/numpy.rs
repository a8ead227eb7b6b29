//! Statistics with NumPy's rounding: pairwise sums in the type of the data, linear percentiles.

use std::ops::Add;

use rayon::prelude::*;

/// Sum of 32-bit floats in NumPy's order: eight running sums within blocks of 128, blocks added pairwise.
pub fn sum_f32(values: &[f32]) -> f32 {
    pairwise(0..values.len(), &|i| values[i])
}

/// Parts of a sum from which on they are added on several threads; the order of the additions stays the same.
const PARALLEL: usize = 1 << 17;

fn pairwise<T: Copy + Default + Send + Add<Output = T>>(
    range: std::ops::Range<usize>,
    value: &(impl Fn(usize) -> T + Sync),
) -> T {
    let (first, n) = (range.start, range.len());
    if n < 8 {
        return range.fold(T::default(), |sum, i| sum + value(i));
    }
    if n <= 128 {
        let mut r: [T; 8] = std::array::from_fn(|j| value(first + j));
        let whole = n - n % 8;
        for i in (8..whole).step_by(8) {
            for (j, sum) in r.iter_mut().enumerate() {
                *sum = *sum + value(first + i + j);
            }
        }
        let total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        return (first + whole..range.end).fold(total, |sum, i| sum + value(i));
    }
    let middle = first + n / 2 - n / 2 % 8;
    if n > PARALLEL {
        let (a, b) = rayon::join(|| pairwise(first..middle, value), || pairwise(middle..range.end, value));
        return a + b;
    }
    pairwise(first..middle, value) + pairwise(middle..range.end, value)
}

/// Mean of 32-bit floats as `numpy.mean` gives it: summed in 32 bits, divided in 64. NaN for none.
pub fn mean_f32(values: &[f32]) -> f32 {
    divide(sum_f32(values), values.len())
}

/// Population standard deviation of 32-bit floats as `numpy.std` gives it; NaN for none.
pub fn std_f32(values: &[f32]) -> f32 {
    let mean = mean_f32(values);
    let square = |i: usize| (values[i] - mean) * (values[i] - mean);
    divide(pairwise(0..values.len(), &square), values.len()).sqrt()
}

/// From 2²⁴ on, not every number of values is a 32-bit float.
fn divide(sum: f32, n: usize) -> f32 {
    (f64::from(sum) / n as f64) as f32
}

/// Mean of 32-bit floats that NumPy has widened to 64 bits before; NaN for none.
pub fn mean_widened(values: &[f32]) -> f64 {
    pairwise(0..values.len(), &|i| f64::from(values[i])) / values.len() as f64
}

/// Population standard deviation of 32-bit floats that NumPy has widened to 64 bits before; NaN for none.
pub fn std_widened(values: &[f32]) -> f64 {
    let mean = mean_widened(values);
    let square = |i: usize| (f64::from(values[i]) - mean) * (f64::from(values[i]) - mean);
    (pairwise(0..values.len(), &square) / values.len() as f64).sqrt()
}

/// The `q`-th percentile (0 to 100) of ascending 32-bit floats: linear between neighbours, their difference rounded to
/// 32 bits and the rest in 64. `None` for no values.
pub fn percentile_f32(sorted: &[f32], q: f64) -> Option<f64> {
    let (low, high, t) = neighbours(sorted.len(), q)?;
    let difference = f64::from(sorted[high] - sorted[low]);
    Some(between(f64::from(sorted[low]), f64::from(sorted[high]), difference, t))
}

/// Percentiles `q` (0 to 100) of 32-bit floats in any order; `None` for no values.
///
/// Many values are counted instead of sorted. With `widened`, the values count as 64-bit floats, which matters for the last
/// digits only.
pub fn percentiles_f32<const N: usize>(values: &[f32], q: [f64; N], widened: bool) -> Option<[f64; N]> {
    let mut places = [(0, 0, 0.0); N];
    for (place, q) in places.iter_mut().zip(q) {
        *place = neighbours(values.len(), q)?;
    }
    let ranks: Vec<usize> = places.iter().flat_map(|&(low, high, _)| [low, high]).collect();
    let found = order_statistics(values, &ranks);
    Some(std::array::from_fn(|i| {
        let (a, b, t) = (found[2 * i], found[2 * i + 1], places[i].2);
        let difference = if widened { f64::from(b) - f64::from(a) } else { f64::from(b - a) };
        between(f64::from(a), f64::from(b), difference, t)
    }))
}

/// The values that would stand at these places if all were sorted, by counting their upper and then their lower 16 bits.
fn order_statistics(values: &[f32], ranks: &[usize]) -> Vec<f32> {
    if values.len() < 1 << 16 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        return ranks.iter().map(|&rank| sorted[rank]).collect();
    }
    let upper = histograms(values, 1, &|_| Some(0), 16);
    let bins: Vec<(usize, u64)> = ranks.iter().map(|&rank| locate(&upper[0], rank as u64)).collect();
    let mut wanted: Vec<usize> = bins.iter().map(|(bin, _)| *bin).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut slots = vec![u8::MAX; 1 << 16];
    wanted.iter().enumerate().for_each(|(slot, &bin)| slots[bin] = slot as u8);
    let slot = |key: u32| Some(usize::from(slots[(key >> 16) as usize])).filter(|slot| *slot < wanted.len());
    let lower = histograms(values, wanted.len(), &slot, 0);
    bins.iter()
        .map(|&(bin, rest)| {
            let slot = usize::from(slots[bin]);
            from_key((bin as u32) << 16 | locate(&lower[slot], rest).0 as u32)
        })
        .collect()
}

/// Counts 16 bits of the keys from bit `shift` on, in the histogram that `slot` gives for a key, if it gives one.
fn histograms(
    values: &[f32],
    count: usize,
    slot: &(impl Fn(u32) -> Option<usize> + Sync),
    shift: u32,
) -> Vec<Vec<u64>> {
    let none = || vec![vec![0u64; 1 << 16]; count];
    let part = values.len().div_ceil(4 * rayon::current_num_threads());
    let counted = values.par_chunks(part.max(1)).map(|values| {
        let mut counts = none();
        for &value in values {
            let key = key(value);
            if let Some(slot) = slot(key) {
                counts[slot][(key >> shift & 0xffff) as usize] += 1;
            }
        }
        counts
    });
    counted.reduce(none, |mut a, b| {
        a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
        a
    })
}

/// The bin that holds the value at place `rank`, and its place within the bin.
fn locate(counts: &[u64], mut rank: u64) -> (usize, u64) {
    for (bin, &count) in counts.iter().enumerate() {
        if rank < count {
            return (bin, rank);
        }
        rank -= count;
    }
    (0, 0)
}

/// Bits that are in order where the numbers are, as `f32::total_cmp` has it.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// The `q`-th percentile (0 to 100) of 64-bit floats in any order; `None` for no values.
pub fn percentile_f64(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high, t) = neighbours(sorted.len(), q)?;
    Some(between(sorted[low], sorted[high], sorted[high] - sorted[low], t))
}

fn neighbours(n: usize, q: f64) -> Option<(usize, usize, f64)> {
    let last = n.checked_sub(1)?;
    let position = q / 100.0 * last as f64;
    let low = (position.floor() as usize).min(last);
    Some((low, (low + 1).min(last), position - low as f64))
}

fn between(low: f64, high: f64, difference: f64, t: f64) -> f64 {
    if t >= 0.5 { high - difference * (1.0 - t) } else { low + difference * t }
}

/// The median of 64-bit floats: the middle one, or the mean of the two in the middle; `None` for no values.
pub fn median_f64(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Mt19937;

    /// Values whose 32-bit sums depend on the order: `(k · 2654435761 mod 2³²) / 1000 - 1e6`, k from 0.
    fn values(n: u32) -> Vec<f32> {
        (0..n).map(|k| (f64::from(k.wrapping_mul(2_654_435_761)) / 1000.0 - 1e6) as f32).collect()
    }

    // The same values in NumPy 2.4; the last number of values is not a 32-bit float.
    #[test]
    fn mean_and_std_are_numpys_to_the_last_bit() {
        for (n, mean, std) in NUMPY {
            let values = values(n);
            assert_eq!((mean_f32(&values), std_f32(&values)), (mean, std), "{n} values");
        }
    }

    const NUMPY: [(u32, f32, f32); 5] = [
        (7, 827639.6875, 1290785.25),
        (129, 1113809.625, 1245755.625),
        (1000, 1147382.25, 1239977.0),
        (100003, 1147471.125, 1239857.125),
        (16777219, 1147484.0, 1239850.375),
    ];

    #[test]
    fn widened_statistics_are_those_of_64_bits() {
        let values = values(1000);
        assert_eq!(mean_widened(&values), 1147382.2538131713);
        assert_eq!(std_widened(&values), 1239976.9944211433);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0f32, 2.0, 4.0, 8.0];
        assert_eq!(percentile_f32(&sorted, 50.0), Some(3.0));
        assert_eq!(percentile_f32(&sorted, 0.0), Some(1.0));
        assert_eq!(percentile_f32(&sorted, 100.0), Some(8.0));
        assert_eq!(percentile_f32(&[], 50.0), None);
    }

    #[test]
    fn selected_percentiles_are_those_of_sorted_values() {
        let q = [0.0, 0.5, 10.0, 50.0, 99.5, 100.0];
        let mut rng = Mt19937::new(7);
        for n in [1, 2, 3, 10, 199, 201, 1000, 65_536, 200_001] {
            let drawn: Vec<f32> = (0..n).map(|_| (rng.bounded(99_999) as f32 - 30_000.0) / 7.0).collect();
            let mut sorted = drawn.clone();
            sorted.sort_by(f32::total_cmp);
            let expected = q.map(|q| percentile_f32(&sorted, q).unwrap());
            assert_eq!(percentiles_f32(&drawn, q, false), Some(expected), "{n} values");
            let wide: Vec<f64> = sorted.iter().map(|&v| f64::from(v)).collect();
            let expected = q.map(|q| percentile_f64(&wide, q).unwrap());
            assert_eq!(percentiles_f32(&drawn, q, true), Some(expected), "{n} values");
        }
        assert_eq!(percentiles_f32(&[], q, false), None);
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_between_them() {
        assert_eq!(median_f64(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median_f64(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median_f64(&[]), None);
    }
}
