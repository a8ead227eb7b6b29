use super::statistics::Statistics;

/// Multiplies a channel.
pub(crate) fn brighten(channel: &mut [f32], factor: f64) {
    let factor = factor as f32;
    channel.iter_mut().for_each(|v| *v *= factor);
}

/// Multiplies the distance from the mean, within the channel's range if that is kept.
pub(crate) fn contrast(channel: &mut [f32], factor: f64, keeps_range: bool) {
    let Statistics { mean, min, max, .. } = Statistics::of(channel);
    let (mean, factor) = (mean as f32, factor as f32);
    let (min, max) = if keeps_range { (min, max) } else { (f32::NEG_INFINITY, f32::INFINITY) };
    for v in channel {
        let x = (*v - mean) * factor + mean;
        let x = if x < min { min } else { x };
        *v = if x > max { max } else { x };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_keeps_the_range() {
        let mut channel = [0.0, 1.0, 2.0, 3.0, -1.0, 5.0];
        contrast(&mut channel, 1.2, true);
        let expected = [-0.33333, 0.86667, 2.06667, 3.26667, -1.0, 5.0];
        assert!(channel.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{channel:?}");
    }
}
