//! B-splines of order 1 to 5: the poles of their prefilter and the weights of their samples.

/// Highest order.
pub(super) const MAX_ORDER: u8 = 5;
/// Samples that have a part in a value, at most.
pub(super) const MAX_TAPS: usize = MAX_ORDER as usize + 1;

/// Poles of the recursive filter that turns samples into coefficients (Unser, Aldroubi and Eden, 1991).
pub(super) fn poles(order: u8) -> &'static [f64] {
    match order {
        2 => &[-0.171_572_875_253_809_9],
        3 => &[-0.267_949_192_431_122_7],
        4 => &[-0.361_341_225_900_220_2, -0.013_725_429_297_339_121],
        5 => &[-0.430_575_347_099_973_8, -0.043_096_288_203_264_65],
        _ => &[],
    }
}

/// The first of `order + 1` samples that have a part in the value at `c`, and their weights.
pub(super) fn taps(order: u8, c: f64) -> (isize, [f64; MAX_TAPS]) {
    // Odd orders have their knots on the samples, even orders between them.
    let base = if order % 2 == 1 { c.floor() } else { (c + 0.5).floor() };
    (base as isize - isize::from(order as i8 / 2), weights(order, c - base))
}

/// Weights at a distance `x` from the middle sample: 0 to 1 for odd orders, -1/2 to 1/2 for even ones.
fn weights(order: u8, x: f64) -> [f64; MAX_TAPS] {
    let z = 1.0 - x;
    match order {
        1 => [z, 1.0 - z, 0.0, 0.0, 0.0, 0.0],
        2 => {
            let (w0, w1) = (0.5 * (0.5 - x) * (0.5 - x), 0.75 - x * x);
            [w0, w1, 1.0 - w0 - w1, 0.0, 0.0, 0.0]
        }
        3 => {
            let near = |x: f64| (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0;
            let (w0, w1, w2) = (z * z * z / 6.0, near(x), near(z));
            [w0, w1, w2, 1.0 - w0 - w1 - w2, 0.0, 0.0]
        }
        4 => {
            let t = x * x;
            let beside = |y: f64| y * (y * (y * (5.0 - y) / 6.0 - 1.25) + 5.0 / 24.0) + 55.0 / 96.0;
            let w0 = (0.5 - x).powi(4) / 24.0;
            let (w1, w2, w3) = (beside(1.0 + x), t * (t * 0.25 - 0.625) + 115.0 / 192.0, beside(z));
            [w0, w1, w2, w3, 1.0 - w0 - w1 - w2 - w3, 0.0]
        }
        _ => {
            let near = |y: f64| {
                let t = y * y;
                t * (t * (0.25 - y / 12.0) - 0.5) + 0.55
            };
            let beside = |y: f64| {
                let y = y + 1.0;
                y * (y * (y * (y * (y / 24.0 - 0.375) + 1.25) - 1.75) + 0.625) + 0.425
            };
            let w0 = z.powi(5) / 120.0;
            let (w1, w2, w3, w4) = (beside(x), near(x), near(z), beside(z));
            [w0, w1, w2, w3, w4, 1.0 - w0 - w1 - w2 - w3 - w4]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poles_are_those_of_the_sampled_splines() {
        // The z-transform of the spline at the integers vanishes at its poles.
        for order in 2..=MAX_ORDER {
            let (_, w) = taps(order, 20.0);
            for &pole in poles(order) {
                let sum: f64 = w.iter().enumerate().map(|(i, w)| w * pole.powi(i as i32)).sum();
                approx::assert_abs_diff_eq!(sum, 0.0, epsilon = 1e-15);
            }
        }
    }

    #[test]
    fn weights_are_positive_symmetric_and_sum_to_one() {
        for order in 1..=MAX_ORDER {
            let n = usize::from(order) + 1;
            for step in 0..40 {
                let c = 20.0 + f64::from(step) / 40.0 + 1e-3;
                let (first, w) = taps(order, c);
                let (mirrored, m) = taps(order, 40.0 - c);
                assert_eq!(40 - mirrored, first + n as isize - 1, "order {order}, {c}");
                assert!(w[..n].iter().all(|w| *w > -1e-15), "order {order}, {c}: {w:?}");
                approx::assert_abs_diff_eq!(w[..n].iter().sum::<f64>(), 1.0, epsilon = 1e-15);
                for i in 0..n {
                    approx::assert_abs_diff_eq!(w[i], m[n - 1 - i], epsilon = 1e-14);
                }
                // A spline of any order reproduces straight lines.
                let mean: f64 = (0..n).map(|i| w[i] * (first + i as isize) as f64).sum();
                approx::assert_abs_diff_eq!(mean, c, epsilon = 1e-13);
            }
        }
    }
}
