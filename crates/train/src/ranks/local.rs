//! Ranks that are threads of one process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Cluster, Ranks};
use crate::TrainError;

/// `size` ranks that meet in memory, one for each of as many threads.
///
/// A rank that is dropped or fails has left: the others get an error that names it.
pub fn local_cluster(size: usize) -> Vec<Cluster> {
    let meeting = Arc::new(Meeting {
        state: Mutex::new(State {
            given: vec![None; size],
            left: vec![None; size],
            result: None,
            waiting: 0,
        }),
        changed: Condvar::new(),
    });
    (0..size).map(|rank| Cluster::new(Arc::new(Local { rank, size, meeting: meeting.clone() }))).collect()
}

#[derive(Clone)]
enum Values {
    Double(Vec<f64>),
    Single(Vec<f32>),
}

struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    given: Vec<Option<Values>>,
    /// Why a rank has left.
    left: Vec<Option<String>>,
    result: Option<Arc<Vec<Values>>>,
    /// How many ranks have not yet taken the result.
    waiting: usize,
}

struct Local {
    rank: usize,
    size: usize,
    meeting: Arc<Meeting>,
}

impl Local {
    /// A lock that a panic in another thread does not take away: the state is changed in single steps.
    fn state(&self) -> MutexGuard<'_, State> {
        self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives values and waits for those of all ranks.
    fn exchange(&self, mine: Values) -> Result<Arc<Vec<Values>>, TrainError> {
        let mut state = self.state();
        // Some ranks may still be taking the result of the exchange before.
        while state.result.is_some() {
            self.check(&state)?;
            state = self.wait(state);
        }
        state.given[self.rank] = Some(mine);
        if state.given.iter().all(Option::is_some) {
            let given = state.given.iter_mut().filter_map(Option::take).collect();
            state.result = Some(Arc::new(given));
            state.waiting = self.size;
            self.meeting.changed.notify_all();
        }
        let result = loop {
            match &state.result {
                Some(result) => break result.clone(),
                None => {
                    self.check(&state)?;
                    state = self.wait(state);
                }
            }
        };
        state.waiting -= 1;
        if state.waiting == 0 {
            state.result = None;
            self.meeting.changed.notify_all();
        }
        Ok(result)
    }

    /// # Errors
    /// A rank has left.
    fn check(&self, state: &State) -> Result<(), TrainError> {
        match state.left.iter().enumerate().find_map(|(rank, left)| left.as_ref().map(|why| (rank, why))) {
            None => Ok(()),
            Some((rank, why)) => Err(TrainError::Ranks(format!("rank {rank} has left: {why}"))),
        }
    }
}

impl Ranks for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
        let all = self.exchange(Values::Double(mine.to_vec()))?;
        let double = |values: &Values| match values {
            Values::Double(values) => values.clone(),
            Values::Single(_) => Vec::new(),
        };
        Ok(all.iter().map(double).collect())
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), TrainError> {
        let all = self.exchange(Values::Single(values.to_vec()))?;
        values.fill(0.0);
        for rank in all.iter() {
            let Values::Single(theirs) = rank else { continue };
            for (sum, value) in values.iter_mut().zip(theirs) {
                *sum += value;
            }
        }
        Ok(())
    }

    fn leave(&self, reason: &str) {
        let mut state = self.state();
        state.left[self.rank].get_or_insert_with(|| reason.to_owned());
        self.meeting.changed.notify_all();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.leave("it has ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_gets_what_everyone_gave() {
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = local_cluster(3)
                .into_iter()
                .map(|cluster| {
                    scope.spawn(move || {
                        let rank = cluster.rank() as f64;
                        for round in 0..50 {
                            let all = cluster.gather(&[rank, f64::from(round)]).unwrap();
                            assert_eq!(
                                all,
                                (0..3).map(|r| vec![f64::from(r), f64::from(round)]).collect::<Vec<_>>()
                            );
                            let mut values = [rank as f32, 1.0];
                            cluster.sum(&mut values).unwrap();
                            assert_eq!(values, [3.0, 3.0]);
                            assert!(cluster.any(rank == 1.0).unwrap() && !cluster.any(false).unwrap());
                        }
                        cluster
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.len(), 3);
    }

    #[test]
    fn a_rank_that_leaves_is_named_to_those_who_wait() {
        let mut clusters = local_cluster(2);
        let (second, first) = (clusters.pop().unwrap(), clusters.pop().unwrap());
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| first.gather(&[1.0]).unwrap_err().to_string());
            second.leave("no more memory");
            waiting.join().unwrap()
        });
        assert!(error.contains("rank 1 has left: no more memory"), "{error}");
        drop(second);
        assert!(first.any(true).unwrap_err().to_string().contains("no more memory"));
    }

    #[test]
    fn numbers_that_differ_are_told_apart() {
        let errors: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = local_cluster(2)
                .into_iter()
                .map(|cluster| {
                    scope.spawn(move || {
                        cluster.must_agree("weights", &[1.0]).unwrap();
                        cluster.must_agree("weights", &[cluster.rank() as f64]).unwrap_err().to_string()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(errors.iter().all(|e| e.contains("weights of rank 1")), "{errors:?}");
    }
}
