/// Training or validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Augmented patches, the weights are changed.
    Train,
    /// Plain patches, the weights are only looked at.
    Validate,
}

/// Which batch: the key of its random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    /// Counted from 0.
    pub epoch: usize,
    /// Training or validation.
    pub phase: Phase,
    /// Counted from 0 within the epoch and phase.
    pub iteration: usize,
}

/// The batches of a training in their order: of each epoch the training and then the validation iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Number of epochs.
    pub epochs: usize,
    /// Training iterations of an epoch.
    pub train: usize,
    /// Validation iterations of an epoch.
    pub validate: usize,
    /// First epoch.
    pub first_epoch: usize,
    /// First training iteration of the first epoch.
    pub first_iteration: usize,
}

impl Schedule {
    /// Number of batches.
    pub fn len(&self) -> usize {
        let per_epoch = self.train + self.validate;
        (self.epochs.saturating_sub(self.first_epoch) * per_epoch).saturating_sub(self.skipped())
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Batch number `index` in the order of delivery.
    pub fn job(&self, index: usize) -> Job {
        let (index, per_epoch) = (index + self.skipped(), (self.train + self.validate).max(1));
        let (epoch, within) = (self.first_epoch + index / per_epoch, index % per_epoch);
        if within < self.train {
            Job { epoch, phase: Phase::Train, iteration: within }
        } else {
            Job { epoch, phase: Phase::Validate, iteration: within - self.train }
        }
    }

    fn skipped(&self) -> usize {
        self.first_iteration.min(self.train)
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Schedule};

    #[test]
    fn a_resumed_schedule_is_the_tail_of_the_whole_one() {
        let whole = Schedule { epochs: 3, train: 4, validate: 2, first_epoch: 0, first_iteration: 0 };
        assert_eq!(whole.len(), 18);
        let tail = Schedule { first_epoch: 1, first_iteration: 3, ..whole };
        assert_eq!(tail.len(), 9);
        for i in 0..tail.len() {
            assert_eq!(tail.job(i), whole.job(9 + i));
        }
        assert_eq!(whole.job(10).phase, Phase::Validate);
    }

    #[test]
    fn a_finished_schedule_is_empty() {
        let done = Schedule { epochs: 3, train: 4, validate: 2, first_epoch: 3, first_iteration: 0 };
        assert!(done.is_empty());
    }
}
