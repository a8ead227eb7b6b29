//! Several processes that train one network together.

mod launch;
mod local;
#[cfg(feature = "mpi")]
mod mpi;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::TrainError;

pub use launch::Launch;
pub use local::local_cluster;

/// What the ranks of a training tell each other. Every rank calls the same functions in the same order.
pub trait Ranks: Send + Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// What every rank gives, in the order of the ranks.
    ///
    /// # Errors
    /// A rank has left.
    fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError>;

    /// Replaces `values` by their sums over the ranks, the same to the last bit on every rank. All give as many.
    ///
    /// # Errors
    /// A rank has left.
    fn sum(&self, values: &mut [f32]) -> Result<(), TrainError>;

    /// Tells the other ranks that this one cannot go on, so that none of them waits for it.
    fn leave(&self, reason: &str);
}

/// The ranks that train one network: data-parallel training, in which every rank computes a share of each batch.
///
/// The default is a training on its own. A batch is shared sample by sample, and the sums that the loss is made of are
/// exchanged before its gradient is computed; so the gradients of the ranks add up to that of one process with the whole
/// batch, batch Dice and ignored voxels included. Only top-k, focal and smoothed cross-entropies are computed by each rank and
/// averaged, as nnU-Net v2.8.1 does. Every rank draws its own samples by their number in the batch, so the samples of an
/// iteration, and which of them must contain foreground, do not depend on the number of ranks either. Files are written by
/// the first rank alone.
#[derive(Clone)]
pub struct Cluster(Arc<dyn Ranks>);

impl Default for Cluster {
    fn default() -> Self {
        Self(Arc::new(Alone))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} of {})", self.0.rank(), self.0.size())
    }
}

impl Cluster {
    /// A cluster over a way of exchanging values of your own.
    pub fn new(ranks: Arc<dyn Ranks>) -> Self {
        Self(ranks)
    }

    /// The processes that `mpirun` or a scheduler started together with this one; on its own where there is no other.
    ///
    /// # Errors
    /// There are others, but this build lacks the feature `mpi`; or MPI cannot be initialised.
    pub fn from_environment() -> Result<Self, TrainError> {
        match Launch::of_environment().next().map(|launch| launch.size) {
            None | Some(0 | 1) => Ok(Self::default()),
            #[cfg(feature = "mpi")]
            Some(_) => Ok(Self(Arc::new(mpi::MpiRanks::start()?))),
            #[cfg(not(feature = "mpi"))]
            Some(size) => Err(TrainError::Ranks(format!(
                "this is one of {size} processes that were started together, but this program was built without the \
                 feature `mpi`: each would train by itself into the same folder"
            ))),
        }
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Whether this is the rank that writes files and reports progress.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Which samples of a batch this rank computes: the first ranks have one more where they cannot be even.
    pub fn share(&self, batch_size: usize) -> Range<usize> {
        let (rank, size) = (self.rank(), self.size());
        let start = |rank: usize| rank * (batch_size / size) + rank.min(batch_size % size);
        start(rank)..start(rank + 1)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.size() == 1
    }

    pub(crate) fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
        self.0.gather(mine)
    }

    pub(crate) fn sum(&self, values: &mut [f32]) -> Result<(), TrainError> {
        self.0.sum(values)
    }

    /// Tells the other ranks that this one cannot go on, so that none of them waits for it. Over MPI this ends all processes, this
    /// one included, after a line on standard error with the rank and the reason.
    pub fn leave(&self, reason: &str) {
        self.0.leave(reason);
    }

    /// Whether it is so on any rank.
    pub(crate) fn any(&self, mine: bool) -> Result<bool, TrainError> {
        if self.is_alone() {
            return Ok(mine);
        }
        Ok(self.gather(&[f64::from(u8::from(mine))])?.iter().flatten().any(|&value| value != 0.0))
    }

    /// Sums of counts over the ranks; exact below 2⁵³.
    pub(crate) fn sum_counts(&self, counts: &mut [[u64; 3]]) -> Result<(), TrainError> {
        if self.is_alone() {
            return Ok(());
        }
        let mine: Vec<f64> = counts.iter().flatten().map(|&count| count as f64).collect();
        let all = self.gather(&mine)?;
        for (i, count) in counts.iter_mut().flatten().enumerate() {
            *count = all.iter().filter_map(|rank| rank.get(i)).sum::<f64>() as u64;
        }
        Ok(())
    }

    /// Refuses to go on where ranks should have the same numbers and have not.
    pub(crate) fn must_agree(&self, what: &str, mine: &[f64]) -> Result<(), TrainError> {
        if self.is_alone() {
            return Ok(());
        }
        let all = self.gather(mine)?;
        let differs = |values: &Vec<f64>| {
            values.len() != all[0].len()
                || values.iter().zip(&all[0]).any(|(a, b)| a.to_bits() != b.to_bits())
        };
        match all.iter().position(differs) {
            None => Ok(()),
            Some(rank) => Err(TrainError::Ranks(format!(
                "{what} of rank {rank} ({:?}) differ from those of rank 0 ({:?})",
                all[rank], all[0]
            ))),
        }
    }
}

/// A training on its own.
struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
        Ok(vec![mine.to_vec()])
    }

    fn sum(&self, _: &mut [f32]) -> Result<(), TrainError> {
        Ok(())
    }

    fn leave(&self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(usize, usize);

    impl Ranks for Of {
        fn rank(&self) -> usize {
            self.0
        }

        fn size(&self) -> usize {
            self.1
        }

        fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
            Ok(vec![mine.to_vec(); self.1])
        }

        fn sum(&self, _: &mut [f32]) -> Result<(), TrainError> {
            Ok(())
        }

        fn leave(&self, _: &str) {}
    }

    #[test]
    fn shares_cover_the_batch_without_overlap() {
        for (batch, size) in [(7, 2), (2, 2), (9, 4), (4, 1)] {
            let shares: Vec<_> =
                (0..size).map(|rank| Cluster::new(Arc::new(Of(rank, size))).share(batch)).collect();
            let all: Vec<usize> = shares.iter().cloned().flatten().collect();
            assert_eq!(all, (0..batch).collect::<Vec<_>>());
            let lengths: Vec<usize> = shares.iter().map(ExactSizeIterator::len).collect();
            assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1, "{lengths:?}");
        }
    }
}
