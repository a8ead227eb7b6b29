/// Ranks of the values, 1 for the best; equal values share the better rank (1, 2, 2, 4).
///
/// `higher_is_better` tells which end is best. Values must be numbers.
///
/// ```
/// assert_eq!(nnunet_infer::ranks(&[0.8, 0.9, 0.8, 0.1], true), [2, 1, 2, 4]);
/// ```
pub fn ranks(values: &[f64], higher_is_better: bool) -> Vec<usize> {
    let better = |a: f64, b: f64| if higher_is_better { a > b } else { a < b };
    values.iter().map(|&v| 1 + values.iter().filter(|&&other| better(other, v)).count()).collect()
}

/// Kendall's tau-b of two rankings of the same methods: 1 for the same order, −1 for the reverse.
///
/// Ties lower what can be reached. A ranking in which all are equal has no order; two such rankings agree (1), one such
/// ranking agrees with no other (0).
pub fn kendall_tau(a: &[usize], b: &[usize]) -> f64 {
    let (mut concordant, mut discordant, mut tied_a, mut tied_b) = (0i64, 0i64, 0i64, 0i64);
    for i in 0..a.len().min(b.len()) {
        for j in 0..i {
            match (a[i].cmp(&a[j]) as i64, b[i].cmp(&b[j]) as i64) {
                (0, 0) => {}
                (0, _) => tied_a += 1,
                (_, 0) => tied_b += 1,
                (x, y) if x == y => concordant += 1,
                _ => discordant += 1,
            }
        }
    }
    let untied = concordant + discordant;
    match ((untied + tied_a) as f64, (untied + tied_b) as f64) {
        (0.0, 0.0) => 1.0,
        (x, y) if x * y == 0.0 => 0.0,
        (x, y) => (concordant - discordant) as f64 / (x * y).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values of scipy.stats.kendalltau.
    #[test]
    fn tau_counts_pairs_and_ties() {
        assert_eq!(kendall_tau(&[1, 2, 3], &[1, 2, 3]), 1.0);
        assert_eq!(kendall_tau(&[1, 2, 3], &[3, 2, 1]), -1.0);
        assert!((kendall_tau(&[1, 2, 3, 4], &[2, 1, 4, 3]) - 0.3333333333333334).abs() < 1e-12);
        assert!((kendall_tau(&[1, 2, 2, 4], &[1, 3, 2, 4]) - 0.912870929175277).abs() < 1e-12);
    }

    #[test]
    fn rankings_without_an_order() {
        assert_eq!(kendall_tau(&[1, 1], &[1, 1]), 1.0);
        assert_eq!(kendall_tau(&[1, 1], &[1, 2]), 0.0);
        assert_eq!(kendall_tau(&[1], &[1]), 1.0);
    }

    #[test]
    fn lower_can_be_better() {
        assert_eq!(ranks(&[3.0, 1.0, 2.0], false), [3, 1, 2]);
        assert!(ranks(&[], true).is_empty());
    }
}
