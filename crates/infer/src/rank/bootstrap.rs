use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::ranking::Stability;
use super::{kendall_tau, ranks};

/// Ranks the methods on `samples` bootstrap samples of the cases and compares with the ranking of all cases.
///
/// Sample k depends on (seed, k) alone, not on threads.
pub(super) fn stability(
    scores: &[Vec<f64>],
    samples: usize,
    seed: u64,
    aggregate: fn(&[&[f64]]) -> Vec<usize>,
) -> Stability {
    let all: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
    let whole = aggregate(&all);
    let drawn: Vec<Vec<usize>> = (0..samples)
        .into_par_iter()
        .map(|k| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(k as u64);
            let rows: Vec<&[f64]> = (0..all.len()).map(|_| all[rng.random_range(0..all.len())]).collect();
            aggregate(&rows)
        })
        .collect();
    let methods = whole.len();
    let mut counts = vec![vec![0; methods]; methods];
    for ranking in &drawn {
        for (method, &rank) in ranking.iter().enumerate() {
            counts[method][rank - 1] += 1;
        }
    }
    let taus: f64 = drawn.iter().map(|ranking| kendall_tau(&whole, ranking)).sum();
    Stability {
        mean_tau: if samples == 0 { f64::NAN } else { taus / samples as f64 },
        rank_interval: counts.iter().map(|counts| interval(counts, samples)).collect(),
        rank_counts: counts,
    }
}

/// The ranks between which a method falls in 95 % of the samples.
fn interval(counts: &[usize], samples: usize) -> [usize; 2] {
    let at = |share: f64| {
        let mut below = 0;
        let place = counts.iter().position(|count| {
            below += count;
            below as f64 >= share * samples as f64 && below > 0
        });
        place.map_or(counts.len(), |place| place + 1)
    };
    [at(0.025), at(0.975)]
}

/// Ranks by the mean score of each method.
pub(super) fn by_mean(rows: &[&[f64]]) -> Vec<usize> {
    ranks(&means(rows), true)
}

/// Ranks by the mean of the ranks in the cases.
pub(super) fn by_mean_rank(rows: &[&[f64]]) -> Vec<usize> {
    ranks(&mean_ranks(rows), false)
}

pub(super) fn means(rows: &[&[f64]]) -> Vec<f64> {
    let methods = rows.first().map_or(0, |row| row.len());
    (0..methods).map(|m| rows.iter().map(|row| row[m]).sum::<f64>() / rows.len() as f64).collect()
}

pub(super) fn mean_ranks(rows: &[&[f64]]) -> Vec<f64> {
    let of_cases: Vec<Vec<f64>> =
        rows.iter().map(|row| ranks(row, true).into_iter().map(|rank| rank as f64).collect()).collect();
    let rows: Vec<&[f64]> = of_cases.iter().map(Vec::as_slice).collect();
    means(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_holds_in_every_case_is_stable() {
        let scores: Vec<Vec<f64>> = (0..9).map(|k| vec![0.9 - 0.01 * f64::from(k), 0.5, 0.2]).collect();
        let stable = stability(&scores, 200, 1, by_mean);
        assert_eq!(stable.mean_tau, 1.0);
        assert_eq!(stable.rank_counts, [[200, 0, 0], [0, 200, 0], [0, 0, 200]]);
        assert_eq!(stable.rank_interval, [[1, 1], [2, 2], [3, 3]]);
    }

    #[test]
    fn a_coin_toss_is_not() {
        let scores: Vec<Vec<f64>> = (0..10).map(|k| vec![f64::from(k % 2), f64::from((k + 1) % 2)]).collect();
        let loose = stability(&scores, 500, 1, by_mean);
        assert!(loose.rank_counts[0].iter().all(|&count| count > 100), "{loose:?}");
        assert_eq!(loose.rank_interval[0], [1, 2]);
        assert_eq!(loose, stability(&scores, 500, 1, by_mean));
        assert_ne!(loose, stability(&scores, 500, 2, by_mean));
    }
}
