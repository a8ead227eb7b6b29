//! Statistics with NumPy's rounding: pairwise sums in the type of the data, linear percentiles.

/// Sum of 32-bit floats in NumPy's order: eight running sums within blocks of 128, blocks added pairwise.
pub fn sum_f32(values: &[f32]) -> f32 {
    pairwise(values.len(), 0, &|i| values[i], &|a: f32, b: f32| a + b, 0.0)
}

fn sum_f64(values: &[f64]) -> f64 {
    pairwise(values.len(), 0, &|i| values[i], &|a: f64, b: f64| a + b, 0.0)
}

fn pairwise<T: Copy>(
    n: usize,
    first: usize,
    value: &impl Fn(usize) -> T,
    add: &impl Fn(T, T) -> T,
    zero: T,
) -> T {
    if n < 8 {
        return (0..n).fold(zero, |sum, i| add(sum, value(first + i)));
    }
    if n <= 128 {
        let mut r: [T; 8] = std::array::from_fn(|j| value(first + j));
        let whole = n - n % 8;
        for i in (8..whole).step_by(8) {
            for (j, sum) in r.iter_mut().enumerate() {
                *sum = add(*sum, value(first + i + j));
            }
        }
        let total = add(add(add(r[0], r[1]), add(r[2], r[3])), add(add(r[4], r[5]), add(r[6], r[7])));
        return (whole..n).fold(total, |sum, i| add(sum, value(first + i)));
    }
    let half = n / 2 - n / 2 % 8;
    add(pairwise(half, first, value, add, zero), pairwise(n - half, first + half, value, add, zero))
}

/// Mean of 32-bit floats as `numpy.mean` gives it; NaN for none.
pub fn mean_f32(values: &[f32]) -> f32 {
    sum_f32(values) / values.len() as f32
}

/// Population standard deviation of 32-bit floats as `numpy.std` gives it; NaN for none.
pub fn std_f32(values: &[f32]) -> f32 {
    let mean = mean_f32(values);
    let squares = pairwise(values.len(), 0, &|i| (values[i] - mean) * (values[i] - mean), &|a: f32, b: f32| a + b, 0.0);
    (squares / values.len() as f32).sqrt()
}

/// Mean of 64-bit floats as `numpy.mean` gives it; NaN for none.
pub fn mean_f64(values: &[f64]) -> f64 {
    sum_f64(values) / values.len() as f64
}

/// Population standard deviation of 64-bit floats as `numpy.std` gives it; NaN for none.
pub fn std_f64(values: &[f64]) -> f64 {
    let mean = mean_f64(values);
    let squares: Vec<f64> = values.iter().map(|v| (v - mean) * (v - mean)).collect();
    (sum_f64(&squares) / values.len() as f64).sqrt()
}

/// The `q`-th percentile (0 to 100) of ascending 32-bit floats: linear between neighbours, their difference rounded to
/// 32 bits and the rest in 64. `None` for no values.
pub fn percentile_f32(sorted: &[f32], q: f64) -> Option<f64> {
    let (low, high, t) = neighbours(sorted.len(), q)?;
    let difference = f64::from(sorted[high] - sorted[low]);
    Some(between(f64::from(sorted[low]), f64::from(sorted[high]), difference, t))
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

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0f32, 2.0, 4.0, 8.0];
        assert_eq!(percentile_f32(&sorted, 50.0), Some(3.0));
        assert_eq!(percentile_f32(&sorted, 0.0), Some(1.0));
        assert_eq!(percentile_f32(&sorted, 100.0), Some(8.0));
        assert_eq!(percentile_f32(&[], 50.0), None);
    }

    #[test]
    fn sums_of_many_values_keep_their_precision() {
        let values = vec![0.1f32; 1_000_000];
        assert!((sum_f32(&values) - 100_000.0).abs() < 0.1, "{}", sum_f32(&values));
        assert!(std_f32(&values) < 1e-6);
        assert_eq!(median_f64(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
    }
}
