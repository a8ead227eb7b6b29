//! Which label wins between eight neighbours.

/// Scores are this many times the interpolated indicator of a label.
const SCORE: f32 = 1000.0;

/// Label of a voxel between the corners of a cell.
///
/// Every label of the corners scores 1000 times its interpolated indicator, rounded to half precision. The largest
/// score wins; where scores are equal, the label of the nearest corner if it is among the best, otherwise the smallest
/// label (nnU-Net v2.8.1 behaviour). Labels that are not at a corner score zero, so they need no look.
pub(super) fn vote(labels: &[i16; 8], weights: &[f32; 8], nearest: usize) -> i16 {
    let first = labels[0];
    let other = labels.iter().fold(first, |other, &label| if label == first { other } else { label });
    if labels.iter().all(|&label| (label == first) | (label == other)) {
        return vote_of_two([first, other], labels, weights, nearest);
    }
    let (mut best, mut winner, mut of_nearest) = (f32::NEG_INFINITY, 0, f32::NEG_INFINITY);
    for (i, &label) in labels.iter().enumerate() {
        if labels[..i].contains(&label) {
            continue;
        }
        let score = score(label, labels, weights);
        if label == labels[nearest] {
            of_nearest = score;
        }
        if score > best || (score == best && label < winner) {
            (best, winner) = (score, label);
        }
    }
    if of_nearest == best { labels[nearest] } else { winner }
}

/// [`vote`] where each corner has one of two labels; the nearest corner then settles every tie.
fn vote_of_two([a, b]: [i16; 2], labels: &[i16; 8], weights: &[f32; 8], nearest: usize) -> i16 {
    let (of_a, of_b) = (score(a, labels, weights), score(b, labels, weights));
    if of_a == of_b {
        labels[nearest]
    } else if of_a > of_b {
        a
    } else {
        b
    }
}

/// 1000 times the interpolated indicator of a label, in half precision.
fn score(label: i16, labels: &[i16; 8], weights: &[f32; 8]) -> f32 {
    let parts = labels.iter().zip(weights).map(|(&l, &w)| if l == label { SCORE * w } else { 0.0 });
    to_half(parts.sum())
}

/// Rounds to the nearest number with eleven significant bits, ties to even: binary16 for scores, of which only
/// those from 125 to 1000 can decide anything.
fn to_half(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x0fff + ((bits >> 13) & 1)) & !0x1fff)
}

/// Trilinear weights of the corners, the last axis fastest.
pub(super) fn corner_weights([fz, fy, fx]: [f32; 3]) -> [f32; 8] {
    let (gz, gy, gx) = (1.0 - fz, 1.0 - fy, 1.0 - fx);
    [
        gx * gy * gz,
        fx * gy * gz,
        gx * fy * gz,
        fx * fy * gz,
        gx * gy * fz,
        fx * gy * fz,
        gx * fy * fz,
        fx * fy * fz,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_rounds_to_even() {
        assert_eq!(to_half(500.125), 500.0);
        assert_eq!(to_half(500.126), 500.25);
        assert_eq!(to_half(500.375), 500.5);
        assert_eq!(to_half(600.25), 600.0);
        assert_eq!(to_half(600.75), 601.0);
        assert_eq!(to_half(1000.0), 1000.0);
        assert_eq!(to_half(0.0), 0.0);
    }

    #[test]
    fn a_near_tie_goes_to_the_nearest_corner() {
        let labels = [3, 1, 3, 1, 3, 1, 3, 1];
        let weights = |fx| corner_weights([0.0, 0.0, fx]);
        assert_eq!(vote(&labels, &weights(0.5001), 0), 3);
        assert_eq!(vote(&labels, &weights(0.5001), 1), 1);
        assert_eq!(vote(&labels, &weights(0.5002), 0), 1);
    }

    #[test]
    fn without_the_nearest_the_smallest_of_the_best_wins() {
        let weights = [0.4, 0.0, 0.4, 0.0, 0.2, 0.0, 0.0, 0.0];
        assert_eq!(vote(&[5, 0, 2, 0, 1, 0, 0, 0], &weights, 4), 2);
        assert_eq!(vote(&[5, 0, 2, 0, 1, 0, 0, 0], &weights, 0), 5);
    }
}
