//! Arguments of rankings.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The number that methods are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Score {
    /// Dice
    Dice,
    /// Intersection over union
    Iou,
}

#[derive(Debug, Args)]
pub(crate) struct RankArgs {
    /// One summary.json per method
    #[arg(required = true, num_args = 2.., value_name = "SUMMARY.json")]
    pub(crate) summaries: Vec<PathBuf>,
    /// Name of a method, once per summary [default: from the paths]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// What is ranked
    #[arg(long, value_enum, default_value_t = Score::Dice)]
    pub(crate) score: Score,
    /// Rank one class by its key in the summaries [default: the mean of the foreground classes]
    #[arg(long, value_name = "KEY")]
    pub(crate) class: Option<String>,
    /// Cases that a method lacks count as 0 instead of being refused
    #[arg(long)]
    pub(crate) missing_is_worst: bool,
    /// Significance level of the pairwise tests, after Holm's correction
    #[arg(long, default_value_t = 0.05, value_name = "P")]
    pub(crate) alpha: f64,
    /// Number of bootstrap samples
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) bootstrap: usize,
    /// Seed of the bootstrap samples
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Write the ranking as JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Draw how often each method has each rank, as PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}
