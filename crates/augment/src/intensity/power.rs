use std::f32::consts::{FRAC_1_SQRT_2, LN_2};

/// `x^exponent` for `x` in `[0, 1]` and a positive exponent, to within 5e-7.
///
/// Plain arithmetic without branches or calls, so that a loop over it is vectorised.
#[inline(always)]
pub(crate) fn power(x: f32, exponent: f32) -> f32 {
    let y = exp2(exponent * log2(x));
    if x < f32::MIN_POSITIVE { 0.0 } else { y }
}

/// Base-2 logarithm of a positive normal number: its exponent and the artanh series of a mantissa around 1.
#[inline(always)]
pub(super) fn log2(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    let exponent = bits.wrapping_sub(FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32);
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let s = t * t;
    let series = 1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * (1.0 / 9.0))));
    exponent as f32 + t * series * (2.0 / LN_2)
}

/// 2^y for `y <= 0`; below 2⁻¹²⁶ the smallest normal number.
#[inline(always)]
fn exp2(y: f32) -> f32 {
    /// Adding it rounds to an integer that then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let y = if y < -126.0 { -126.0 } else { y };
    let rounded = y + ROUND;
    let power_of_two = (rounded.to_bits().wrapping_sub(ROUND.to_bits()) << 23).wrapping_add(1.0f32.to_bits());
    let r = (y - (rounded - ROUND)) * LN_2;
    let higher = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let series = 1.0 + r * (1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * higher)));
    f32::from_bits(power_of_two) * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_agree_with_double_precision() {
        for exponent in [0.05f32, 0.7, 0.8, 1.0, 1.3, 1.5, 4.0] {
            for i in 0..=100_000 {
                let x = i as f32 / 100_000.0;
                let expected = f64::from(x).powf(f64::from(exponent));
                let found = f64::from(power(x, exponent));
                assert!((found - expected).abs() < 5e-7, "{x}^{exponent}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn tiny_values_do_not_overflow() {
        assert_eq!(power(0.0, 0.7), 0.0);
        assert_eq!(power(1.0, 1.5), 1.0);
        assert!(power(1e-37, 1.5) < 1e-37);
        assert!(power(1e-42, 0.7) < 1e-20);
    }
}
