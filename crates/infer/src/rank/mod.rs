//! Rankings of methods from their scores, as segmentation challenges make them.
//!
//! Three schemes are computed side by side, since they can disagree: *aggregate then rank* (by the mean score),
//! *rank then aggregate* (the methods are ranked in each case, then by their mean rank), and *test then rank* (by the
//! number of methods that are significantly worse). Bootstrap samples of the cases show how stable the order is. After
//! Maier-Hein et al., *Why rankings of biomedical image analysis competitions should be interpreted with care*, Nature
//! Communications 9 (2018), and Wiesenfarth et al., *Methods and open-source toolkit for analyzing and visualizing
//! challenge results*, Scientific Reports 11 (2021).

mod bootstrap;
mod order;
mod ranking;
mod scores;
mod significance;

pub use order::{kendall_tau, ranks};
pub use ranking::{MethodRanking, RankOptions, Ranking, Stability, rank_methods};
pub use scores::{MissingCases, ScoreKind, ScoreTable};
pub use significance::{holm, wilcoxon_greater};
