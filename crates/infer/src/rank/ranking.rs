use serde::Serialize;

use super::bootstrap::{by_mean, by_mean_rank, mean_ranks, means, stability};
use super::{ScoreTable, holm, ranks, wilcoxon_greater};
use crate::InferError;

/// How methods are ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct RankOptions {
    /// Largest corrected probability at which a method counts as better than another, 0.05.
    pub alpha: f64,
    /// Number of bootstrap samples, 1000.
    pub bootstrap_samples: usize,
    /// Seed of the bootstrap samples, 0.
    pub seed: u64,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self { alpha: 0.05, bootstrap_samples: 1000, seed: 0 }
    }
}

/// How an order holds under bootstrap samples of the cases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stability {
    /// Mean Kendall's tau between the ranking of all cases and those of the samples.
    pub mean_tau: f64,
    /// `rank_counts[method][rank − 1]`: in how many samples the method had the rank.
    pub rank_counts: Vec<Vec<usize>>,
    /// The lowest and highest rank of each method in 95 % of the samples.
    pub rank_interval: Vec<[usize; 2]>,
}

/// One method in a [`Ranking`]. Rank 1 is best; equal methods share the better rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodRanking {
    /// The method.
    pub name: String,
    /// Mean score over the cases.
    pub mean_score: f64,
    /// Aggregate then rank: the rank of the mean score.
    pub aggregate_then_rank: usize,
    /// Mean of the method's ranks in the cases.
    pub mean_rank: f64,
    /// Rank then aggregate: the rank of the mean rank.
    pub rank_then_aggregate: usize,
    /// Number of methods that this one is significantly better than.
    pub wins: usize,
    /// Test then rank: the rank of the number of wins.
    pub test_then_rank: usize,
}

/// Methods ranked by three schemes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// The methods, in the order of their mean score.
    pub methods: Vec<MethodRanking>,
    /// `p[i][j]`: probability, after Holm's correction over all pairs, of scores like these if method i were not better
    /// than method j (one-sided Wilcoxon signed-rank test over the cases); 1 on the diagonal.
    pub p: Vec<Vec<f64>>,
    /// How the order of the mean scores holds.
    pub aggregate_stability: Stability,
    /// How the order of the mean ranks holds.
    pub rank_stability: Stability,
    /// Number of cases.
    pub cases: usize,
    /// Cases that could not be scored for all methods.
    pub left_out: Vec<String>,
}

/// Ranks methods by their scores.
///
/// ```
/// use nnunet_infer::{RankOptions, ScoreTable, rank_methods};
///
/// let table = ScoreTable {
///     methods: vec!["plain".into(), "residual".into()],
///     cases: (0..6).map(|k| format!("case_{k}")).collect(),
///     scores: (0..6).map(|k| vec![0.8, 0.81 + 0.01 * f64::from(k)]).collect(),
///     left_out: Vec::new(),
/// };
/// let ranking = rank_methods(&table, &RankOptions::default()).unwrap();
/// assert_eq!(ranking.methods[0].name, "residual");
/// assert_eq!(ranking.methods[0].wins, 1); // better in all six cases: p = 2 · 1/64
/// ```
///
/// # Errors
/// An `alpha` outside 0 to 1, or a table without methods or cases or with a score that is not a number.
pub fn rank_methods(table: &ScoreTable, options: &RankOptions) -> Result<Ranking, InferError> {
    check(table, options)?;
    let rows: Vec<&[f64]> = table.scores.iter().map(Vec::as_slice).collect();
    let mean_scores = means(&rows);
    let mut order: Vec<usize> = (0..table.methods.len()).collect();
    order.sort_by(|&i, &j| mean_scores[j].total_cmp(&mean_scores[i]));
    // From here on everything is in the order of the mean scores.
    let scores: Vec<Vec<f64>> =
        table.scores.iter().map(|row| order.iter().map(|&m| row[m]).collect()).collect();
    let rows: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
    let (mean_scores, mean_rank) = (means(&rows), mean_ranks(&rows));
    let p = probabilities(&scores);
    let wins: Vec<usize> = p.iter().map(|row| row.iter().filter(|p| **p <= options.alpha).count()).collect();
    let counts: Vec<f64> = wins.iter().map(|&wins| wins as f64).collect();
    let (by_score, by_rank) = (by_mean(&rows), by_mean_rank(&rows));
    let by_test = ranks(&counts, true);
    let methods = order.iter().enumerate().map(|(i, &m)| MethodRanking {
        name: table.methods[m].clone(),
        mean_score: mean_scores[i],
        aggregate_then_rank: by_score[i],
        mean_rank: mean_rank[i],
        rank_then_aggregate: by_rank[i],
        wins: wins[i],
        test_then_rank: by_test[i],
    });
    let (samples, seed) = (options.bootstrap_samples, options.seed);
    Ok(Ranking {
        methods: methods.collect(),
        p,
        aggregate_stability: stability(&scores, samples, seed, by_mean),
        rank_stability: stability(&scores, samples, seed, by_mean_rank),
        cases: table.cases.len(),
        left_out: table.left_out.clone(),
    })
}

fn check(table: &ScoreTable, options: &RankOptions) -> Result<(), InferError> {
    if !(0.0..=1.0).contains(&options.alpha) {
        let found = options.alpha.to_string();
        return Err(InferError::Option { option: "alpha", found, expected: "a number from 0 to 1" });
    }
    if table.methods.is_empty() || table.scores.is_empty() {
        return Err(InferError::Ranking("there are no scores".to_owned()));
    }
    for (case, row) in table.cases.iter().zip(&table.scores) {
        if row.len() != table.methods.len() || row.iter().any(|score| score.is_nan()) {
            let text = format!("case {case} has the scores {row:?}, expected a number for each method");
            return Err(InferError::Ranking(text));
        }
    }
    Ok(())
}

/// Corrected probabilities of all ordered pairs.
fn probabilities(scores: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let methods = scores.first().map_or(0, Vec::len);
    let column = |m: usize| scores.iter().map(|row| row[m]).collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = (0..methods).map(column).collect();
    let pairs: Vec<(usize, usize)> =
        (0..methods).flat_map(|i| (0..methods).filter(move |&j| j != i).map(move |j| (i, j))).collect();
    let raw: Vec<f64> = pairs.iter().map(|&(i, j)| wilcoxon_greater(&columns[i], &columns[j])).collect();
    let mut p = vec![vec![1.0; methods]; methods];
    for (&(i, j), corrected) in pairs.iter().zip(holm(&raw)) {
        p[i][j] = corrected;
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(scores: &[&[f64]]) -> ScoreTable {
        ScoreTable {
            methods: ["a", "b", "c"][..scores[0].len()].iter().map(|m| (*m).to_owned()).collect(),
            cases: (0..scores.len()).map(|k| k.to_string()).collect(),
            scores: scores.iter().map(|row| row.to_vec()).collect(),
            left_out: Vec::new(),
        }
    }

    /// Worked by hand. Means: a 0.55, b 0.6, c 0.2. Ranks per case: a 1 1 1 3, b 2 2 2 1, c 3 3 3 2.
    #[test]
    fn the_schemes_can_disagree() {
        let scores: [&[f64]; 4] = [&[0.7, 0.6, 0.1], &[0.7, 0.6, 0.1], &[0.8, 0.6, 0.1], &[0.0, 0.6, 0.5]];
        let ranking = rank_methods(&table(&scores), &RankOptions::default()).unwrap();
        let [b, a, c] = &ranking.methods[..] else { panic!("three methods") };
        assert_eq!((b.name.as_str(), a.name.as_str(), c.name.as_str()), ("b", "a", "c"));
        assert!((b.mean_score - 0.6).abs() < 1e-12 && (a.mean_score - 0.55).abs() < 1e-12);
        assert_eq!([a.aggregate_then_rank, b.aggregate_then_rank, c.aggregate_then_rank], [2, 1, 3]);
        assert_eq!([a.mean_rank, b.mean_rank, c.mean_rank], [1.5, 1.75, 2.75]);
        assert_eq!([a.rank_then_aggregate, b.rank_then_aggregate, c.rank_then_aggregate], [1, 2, 3]);
        // Four cases cannot reach a corrected probability of 0.05: the smallest is 6/16.
        assert_eq!([a.test_then_rank, b.test_then_rank, c.test_then_rank], [1, 1, 1]);
    }

    #[test]
    fn wins_need_corrected_significance() {
        let scores: Vec<Vec<f64>> = (0..12).map(|k| vec![0.9, 0.7 + 0.001 * f64::from(k), 0.5]).collect();
        let rows: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
        let ranking = rank_methods(&table(&rows), &RankOptions::default()).unwrap();
        assert_eq!(ranking.methods.iter().map(|m| m.wins).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(ranking.methods.iter().map(|m| m.test_then_rank).collect::<Vec<_>>(), [1, 2, 3]);
        // 12 distinct differences of one sign: 1/4096, six hypotheses.
        assert!((ranking.p[0][1] - 6.0 / 4096.0).abs() < 1e-12, "{:?}", ranking.p);
        assert_eq!(ranking.p[1][0], 1.0);
        assert_eq!(ranking.aggregate_stability.mean_tau, 1.0);
    }

    #[test]
    fn impossible_options_and_scores_are_refused() {
        let alpha = RankOptions { alpha: 1.5, ..Default::default() };
        assert!(rank_methods(&table(&[&[0.1, 0.2]]), &alpha).unwrap_err().to_string().contains("alpha"));
        let nan = table(&[&[0.1, f64::NAN]]);
        assert!(rank_methods(&nan, &RankOptions::default()).unwrap_err().to_string().contains("case 0"));
    }
}
