use super::power::power;
use super::statistics::{LANES, Lanes, Statistics};
use crate::simd::{Kernel, widest};

/// Smallest divisor of ranges and standard deviations.
const EPSILON: f64 = 1e-7;

/// Raises a channel, scaled to `[0, 1]`, to a power, scales it back and restores mean and standard deviation.
///
/// `inverted` does so on the negated channel.
pub(crate) fn gamma(channel: &mut [f32], exponent: f64, inverted: bool) {
    let before = Statistics::of(channel);
    let sign = if inverted { -1.0 } else { 1.0 };
    let low = if inverted { -before.max } else { before.min };
    let range = before.max - before.min;
    let divisor = range.max(EPSILON as f32);
    let exponent = exponent as f32;
    let after = widest(Raise { channel: &mut *channel, sign, low, range, divisor, exponent });
    let scale = (before.std / after.std.max(EPSILON)) as f32;
    let (mean, centre) = (sign * before.mean as f32, after.mean as f32);
    widest(Restore { channel, sign, scale, mean, centre });
}

/// The power, and the statistics of what comes out, in one pass.
struct Raise<'a> {
    channel: &'a mut [f32],
    sign: f32,
    low: f32,
    range: f32,
    divisor: f32,
    exponent: f32,
}

impl Kernel for Raise<'_> {
    type Output = Statistics;

    #[inline(always)]
    fn run(self) -> Statistics {
        let Self { channel, sign, low, range, divisor, exponent } = self;
        let count = channel.len();
        let raised = |v: f32| power((sign * v - low) / divisor, exponent) * range + low;
        let first = channel.first().map_or(0.0, |&v| raised(v));
        let mut lanes = Lanes::new(first);
        let (chunks, rest) = channel.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for v in chunk.iter_mut() {
                *v = raised(*v);
            }
            lanes.add(chunk);
        }
        let mut tail = [first; LANES];
        for (v, t) in rest.iter_mut().zip(&mut tail) {
            *v = raised(*v);
            *t = *v;
        }
        lanes.add(&tail);
        lanes.finish(count)
    }
}

/// Brings mean and standard deviation back.
struct Restore<'a> {
    channel: &'a mut [f32],
    sign: f32,
    scale: f32,
    mean: f32,
    centre: f32,
}

impl Kernel for Restore<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { channel, sign, scale, mean, centre } = self;
        for v in channel {
            *v = sign * ((*v - centre) * scale + mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: [f32; 6] = [0.0, 1.0, 2.0, 3.0, -1.0, 5.0];

    fn check(inverted: bool, expected: [f32; 6]) {
        let mut channel = CHANNEL;
        gamma(&mut channel, 0.8, inverted);
        assert!(channel.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{channel:?}");
    }

    #[test]
    fn values_are_the_reference_s() {
        check(true, [0.0472121, 0.9006091, 1.7982901, 2.759227, -0.7724787, 5.267141]);
        check(false, [0.1253389, 1.2006414, 2.1686058, 3.0728517, -1.3256131, 4.7581754]);
    }

    #[test]
    fn a_constant_channel_stays() {
        let mut channel = [2.5; 9];
        gamma(&mut channel, 1.3, true);
        assert_eq!(channel, [2.5; 9]);
    }
}
