/// Up to this many differences without ties, the distribution of the rank sum is counted out.
const EXACT: usize = 25;

/// One-sided Wilcoxon signed-rank test of paired scores: the probability of differences like these if `a` were not
/// greater than `b`.
///
/// Pairs without a difference are left out. Without ties and with up to 25 pairs the distribution is exact; otherwise it
/// is approximated by a normal one with corrections for ties and continuity, as `wilcox.test` in R and
/// `scipy.stats.wilcoxon` do. Without any difference the probability is 1.
pub fn wilcoxon_greater(a: &[f64], b: &[f64]) -> f64 {
    let mut differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).filter(|d| *d != 0.0).collect();
    differences.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
    let n = differences.len();
    if n == 0 {
        return 1.0;
    }
    let (mut positive, mut ties, mut start) = (0.0, 0.0, 0);
    while start < n {
        let same = differences[start..].iter().take_while(|d| d.abs() == differences[start].abs()).count();
        let rank = start as f64 + (same as f64 + 1.0) / 2.0;
        positive += rank * differences[start..start + same].iter().filter(|d| **d > 0.0).count() as f64;
        ties += (same as f64).powi(3) - same as f64;
        start += same;
    }
    if ties == 0.0 && n <= EXACT {
        return exact_tail(n, positive as usize);
    }
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (positive - mean - 0.5) / variance.sqrt();
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// Probability that the sum of the ranks of positive differences is at least `sum`, each sign being equally likely.
fn exact_tail(n: usize, sum: usize) -> f64 {
    let most = n * (n + 1) / 2;
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for s in (rank..=most).rev() {
            ways[s] += ways[s - rank];
        }
    }
    ways[sum.min(most)..].iter().sum::<f64>() / 2f64.powi(n as i32)
}

/// Holm's correction for testing several hypotheses: adjusted probabilities in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let (mut adjusted, mut largest) = (vec![0.0; p.len()], 0.0f64);
    for (k, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - k) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values of scipy.stats.wilcoxon (alternative "greater", correction on).
    #[test]
    fn exact_without_ties() {
        let a = [900.0, 851.0, 703.0, 955.0, 607.0, 881.0, 913.0, 500.0];
        let b = [880.0, 862.0, 650.0, 941.0, 551.0, 800.0, 901.0, 521.0];
        assert!((wilcoxon_greater(&a, &b) - 0.0546875).abs() < 1e-12);
        assert!((wilcoxon_greater(&b, &a) - 0.9609375).abs() < 1e-12);
    }

    #[test]
    fn normal_with_ties_and_zeros() {
        let a = [90.0, 80.0, 80.0, 70.0, 90.0, 40.0, 30.0, 50.0, 50.0, 90.0];
        let b = [80.0, 70.0, 90.0, 70.0, 80.0, 30.0, 50.0, 40.0, 50.0, 70.0];
        assert!((wilcoxon_greater(&a, &b) - 0.1702427907656694).abs() < 1e-12);
        assert!((wilcoxon_greater(&b, &a) - 0.86430199121347).abs() < 1e-12);
    }

    #[test]
    fn the_same_scores_do_not_differ() {
        assert_eq!(wilcoxon_greater(&[0.5, 0.7], &[0.5, 0.7]), 1.0);
        assert_eq!(wilcoxon_greater(&[], &[]), 1.0);
        assert_eq!(wilcoxon_greater(&[1.0], &[0.0]), 0.5);
    }

    #[test]
    fn holm_steps_down() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (a, e) in adjusted.iter().zip(expected) {
            assert!((a - e).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
    }
}
