//! Cross-validation splits.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DatasetError;
use crate::rng::Mt19937;

/// Number of folds that are made where none are given.
const FOLDS: usize = 5;
/// Seed of the reference's splits.
const SEED: u32 = 12345;

/// The cases of one fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Cases to train on.
    pub train: Vec<String>,
    /// Cases to validate on.
    pub val: Vec<String>,
}

/// Which fold to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fold {
    /// One of the splits; beyond their number, a random 80:20 split seeded with the number.
    Index(usize),
    /// Train and validate on everything.
    All,
}

impl Fold {
    /// `fold_0`, `fold_all`.
    pub fn folder_name(self) -> String {
        format!("fold_{self}")
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Fold {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self, DatasetError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let index = text.parse();
        index
            .map(Self::Index)
            .map_err(|_| DatasetError::Split(format!("fold {text:?}: expected a number or all")))
    }
}

/// Five folds of shuffled cases, as the reference makes them; each list is ascending.
///
/// # Errors
/// Fewer than five cases.
pub fn create_splits(ids: &[String]) -> Result<Vec<Split>, DatasetError> {
    let n = ids.len();
    if n < FOLDS {
        return Err(DatasetError::Split(format!("{n} cases, at least {FOLDS} are needed for {FOLDS} folds")));
    }
    let mut ids = ids.to_vec();
    ids.sort();
    let order = Mt19937::new(SEED).permutation(n);
    let mut next = 0;
    let folds = (0..FOLDS).map(|fold| {
        let size = n / FOLDS + usize::from(fold < n % FOLDS);
        let val: HashSet<usize> = order[next..next + size].iter().copied().collect();
        next += size;
        let pick =
            |wanted: bool| (0..n).filter(|i| val.contains(i) == wanted).map(|i| ids[i].clone()).collect();
        Split { train: pick(false), val: pick(true) }
    });
    Ok(folds.collect())
}

/// The cases of a fold: from the splits, or all cases, or a seeded random split where the number is beyond the splits.
///
/// # Errors
/// There is no case at all.
pub fn split_for_fold(splits: &[Split], ids: &[String], fold: Fold) -> Result<Split, DatasetError> {
    if ids.is_empty() {
        return Err(DatasetError::Split("there are no cases".to_owned()));
    }
    let mut ids = ids.to_vec();
    ids.sort();
    let index = match fold {
        Fold::All => return Ok(Split { train: ids.clone(), val: ids }),
        Fold::Index(index) => index,
    };
    if let Some(split) = splits.get(index) {
        return Ok(split.clone());
    }
    let seed = u32::try_from(index).ok().and_then(|index| SEED.checked_add(index));
    let seed = seed.ok_or_else(|| DatasetError::Split(format!("fold {index} is too large")))?;
    let n = ids.len();
    let train = Mt19937::new(seed).choice(n, (n as f64 * 0.8) as usize);
    let val = (0..n).filter(|i| !train.contains(i)).map(|i| ids[i].clone()).collect();
    Ok(Split { train: train.iter().map(|&i| ids[i].clone()).collect(), val })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("{i:02}")).collect()
    }

    fn numbers(list: &[String]) -> Vec<usize> {
        list.iter().map(|id| id.parse().unwrap()).collect()
    }

    // Values of the reference.
    #[test]
    fn folds_are_the_references() {
        let val = |n: usize| -> Vec<Vec<usize>> {
            create_splits(&ids(n)).unwrap().iter().map(|split| numbers(&split.val)).collect()
        };
        assert_eq!(val(12), [vec![0, 3, 8], vec![7, 10, 11], vec![6, 9], vec![1, 4], vec![2, 5]]);
        assert_eq!(val(7), [vec![3, 6], vec![0, 4], vec![1], vec![5], vec![2]]);
        assert_eq!(
            val(20),
            [
                vec![3, 8, 13, 16],
                vec![0, 10, 12, 15],
                vec![6, 7, 11, 17],
                vec![9, 14, 18, 19],
                vec![1, 2, 4, 5]
            ]
        );
        assert!(create_splits(&ids(4)).unwrap_err().to_string().contains("4 cases"));
    }

    #[test]
    fn folds_beyond_the_splits_are_random_but_fixed() {
        let train = |n, fold| numbers(&split_for_fold(&[], &ids(n), Fold::Index(fold)).unwrap().train);
        assert_eq!(train(12, 5), [4, 7, 0, 10, 5, 9, 8, 3, 11]);
        assert_eq!(train(10, 5), [0, 8, 4, 5, 3, 9, 7, 6]);
        assert_eq!(train(10, 6), [0, 8, 1, 2, 6, 4, 5, 3]);
    }

    #[test]
    fn fold_all_trains_and_validates_on_everything() {
        let split = split_for_fold(&[], &ids(3), "all".parse().unwrap()).unwrap();
        assert_eq!(split.train, split.val);
        assert_eq!(Fold::Index(3).folder_name(), "fold_3");
        assert!("x".parse::<Fold>().is_err());
    }
}
