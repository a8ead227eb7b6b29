//! Statistics with NumPy's rounding: pairwise sums in the type of the data, linear percentiles.

use std::ops::Add;

/// Sum of 32-bit floats in NumPy's order: eight running sums within blocks of 128, blocks added pairwise.
pub fn sum_f32(values: &[f32]) -> f32 {
    pairwise(0..values.len(), &|i| values[i])
}

fn pairwise<T: Copy + Default + Add<Output = T>>(
    range: std::ops::Range<usize>,
    value: &impl Fn(usize) -> T,
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

/// Percentiles `q` (0 to 100, ascending) of 32-bit floats in any order, which they change; `None` for no values.
///
/// Much faster than sorting first. With `widened`, the values count as 64-bit floats, which matters for the last digits
/// only.
pub fn percentiles_f32<const N: usize>(values: &mut [f32], q: [f64; N], widened: bool) -> Option<[f64; N]> {
    let (n, mut done, mut found) = (values.len(), 0, [0.0; N]);
    for (q, found) in q.into_iter().zip(&mut found) {
        let (low, high, t) = neighbours(n, q)?;
        // What lies before `done` is not above what lies behind it.
        let from = done.min(low);
        let (_, a, above) = values[from..].select_nth_unstable_by(low - from, f32::total_cmp);
        let a = *a;
        let b = if high > low { above.iter().copied().min_by(f32::total_cmp).unwrap_or(a) } else { a };
        let difference = if widened { f64::from(b) - f64::from(a) } else { f64::from(b - a) };
        *found = between(f64::from(a), f64::from(b), difference, t);
        done = low;
    }
    Some(found)
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
        for n in [1, 2, 3, 10, 199, 201, 1000] {
            let mut drawn: Vec<f32> = (0..n).map(|_| rng.bounded(999) as f32 / 7.0).collect();
            let mut sorted = drawn.clone();
            sorted.sort_by(f32::total_cmp);
            let expected = q.map(|q| percentile_f32(&sorted, q).unwrap());
            assert_eq!(percentiles_f32(&mut drawn, q, false), Some(expected), "{n} values");
            let wide: Vec<f64> = sorted.iter().map(|&v| f64::from(v)).collect();
            let expected = q.map(|q| percentile_f64(&wide, q).unwrap());
            assert_eq!(percentiles_f32(&mut drawn, q, true), Some(expected), "{n} values");
        }
        assert_eq!(percentiles_f32(&mut [], q, false), None);
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_between_them() {
        assert_eq!(median_f64(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median_f64(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median_f64(&[]), None);
    }
}
