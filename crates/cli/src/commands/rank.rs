//! Rankings of methods.

use anyhow::Result;
use nnunet::RankRequest;
use nnunet::fingerprint::json;
use nnunet::infer::{MissingCases, RankOptions, Ranking, ScoreKind};

use crate::args::{RankArgs, Score};

pub(crate) fn rank(args: &RankArgs) -> Result<()> {
    let request = RankRequest {
        summaries: args.summaries.clone(),
        names: args.name.clone(),
        score: match args.score {
            Score::Dice => ScoreKind::Dice,
            Score::Iou => ScoreKind::Iou,
        },
        class: args.class.clone(),
        missing: if args.missing_is_worst { MissingCases::Worst } else { MissingCases::Refuse },
        options: RankOptions { alpha: args.alpha, bootstrap_samples: args.bootstrap, seed: args.seed },
    };
    let ranking = nnunet::rank(&request)?;
    print(&ranking);
    if let Some(path) = &args.plot {
        nnunet::plot::rank_frequencies(&ranking, path)?;
        println!("{}", path.display());
    }
    if let Some(path) = &args.output {
        json::write(path, &ranking)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn print(ranking: &Ranking) {
    let width = ranking.methods.iter().map(|m| m.name.chars().count()).max().unwrap_or(0).max("method".len());
    println!(
        "{:width$}  mean score  aggregate-then-rank  mean rank  rank-then-aggregate  wins  test-then-rank",
        "method"
    );
    for (i, m) in ranking.methods.iter().enumerate() {
        let interval = |[low, high]: [usize; 2]| format!("({low}-{high})");
        println!(
            "{:width$}  {:>10.4}  {:>11} {:>7}  {:>9.3}  {:>11} {:>7}  {:>4}  {:>14}",
            m.name,
            m.mean_score,
            m.aggregate_then_rank,
            interval(ranking.aggregate_stability.rank_interval[i]),
            m.mean_rank,
            m.rank_then_aggregate,
            interval(ranking.rank_stability.rank_interval[i]),
            m.wins,
            m.test_then_rank
        );
    }
    println!(
        "{} cases{}; in brackets the ranks of 95 % of the bootstrap samples; mean Kendall's tau {:.3} (aggregate), {:.3} (rank)",
        ranking.cases,
        if ranking.left_out.is_empty() {
            String::new()
        } else {
            format!(", {} left out", ranking.left_out.len())
        },
        ranking.aggregate_stability.mean_tau,
        ranking.rank_stability.mean_tau
    );
}
