use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::TrainError;

/// Threads that make items `0..count` and hand them out in order, at most `capacity` ahead of the consumer.
///
/// Which thread makes an item does not matter to its content, so neither does the number of threads. Dropping the
/// loader ends the threads after the items they are at.
pub struct Loader<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something was made.
    made: Condvar,
    /// Something was taken, or it is time to end.
    taken: Condvar,
    count: usize,
    capacity: usize,
}

struct State<T> {
    begun: usize,
    delivered: usize,
    ready: BTreeMap<usize, Result<T, TrainError>>,
    stop: bool,
}

impl<T> Shared<T> {
    /// A lock that a panic in another thread does not take away: the state is changed in single steps.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next item to make, once there is room for it.
    fn claim(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.stop || state.begun >= self.count {
                return None;
            }
            if state.begun < state.delivered + self.capacity {
                state.begun += 1;
                return Some(state.begun - 1);
            }
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, index: usize, item: Result<T, TrainError>) {
        self.state().ready.insert(index, item);
        self.made.notify_all();
    }
}

impl<T: Send + 'static> Loader<T> {
    /// Starts `threads` threads (at least one) that call `make` with the numbers of items.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        count: usize,
        threads: usize,
        capacity: usize,
        make: impl Fn(usize) -> Result<T, TrainError> + Send + Sync + 'static,
    ) -> Result<Self, TrainError> {
        let state = State { begun: 0, delivered: 0, ready: BTreeMap::new(), stop: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            made: Condvar::new(),
            taken: Condvar::new(),
            count,
            capacity: capacity.max(1),
        });
        let mut loader = Self { shared, threads: Vec::new() };
        let make = Arc::new(make);
        for number in 0..threads.max(1) {
            let (shared, make) = (loader.shared.clone(), make.clone());
            let thread = std::thread::Builder::new().name(format!("loader-{number}"));
            let handle = thread
                .spawn(move || work(&shared, make.as_ref()))
                .map_err(|e| TrainError::Loader(format!("thread {number} could not be started: {e}")))?;
            loader.threads.push(handle);
        }
        Ok(loader)
    }
}

fn work<T>(shared: &Shared<T>, make: &(impl Fn(usize) -> Result<T, TrainError> + ?Sized)) {
    // Parallel loops inside `make` stay on this thread, so that they do not take the network's threads away.
    let own = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    while let Some(index) = shared.claim() {
        let item = catch_unwind(AssertUnwindSafe(|| make(index))).unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(TrainError::Loader(format!("batch {index} panicked: {message}")))
        });
        shared.put(index, item);
    }
    drop(own);
}

impl<T> Iterator for Loader<T> {
    type Item = Result<T, TrainError>;

    /// The next item in order; waits for it. `None` after the last one.
    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.shared.state();
        loop {
            if state.delivered >= self.shared.count {
                return None;
            }
            let wanted = state.delivered;
            if let Some(item) = state.ready.remove(&wanted) {
                state.delivered += 1;
                drop(state);
                self.shared.taken.notify_all();
                return Some(item);
            }
            state = self.shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.taken.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already turned into an error of the item.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn items_come_in_order_from_any_number_of_threads() {
        for threads in [1, 3] {
            let loader = Loader::start(50, threads, 4, |i| {
                std::thread::sleep(Duration::from_micros(((i * 7919) % 13) as u64 * 50));
                Ok(i)
            });
            let items: Vec<usize> = loader.unwrap().map(Result::unwrap).collect();
            assert_eq!(items, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_than_the_capacity_is_made_ahead() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let mut loader = Loader::start(100, 3, 5, move |i| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(i)
        })
        .unwrap();
        for taken in 1..=10 {
            loader.next().unwrap().unwrap();
            std::thread::sleep(Duration::from_millis(2));
            assert!(made.load(Ordering::SeqCst) <= taken + 5);
        }
    }

    #[test]
    fn dropping_early_ends_waiting_threads() {
        let begun = Instant::now();
        let mut loader = Loader::start(usize::MAX, 3, 2, Ok).unwrap();
        assert_eq!(loader.next().unwrap().unwrap(), 0);
        drop(loader);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn errors_and_panics_surface_at_their_place() {
        let mut loader = Loader::start(4, 2, 4, |i| match i {
            1 => Err(TrainError::Loader("broken".to_owned())),
            2 => panic!("out of range"),
            _ => Ok(i),
        })
        .unwrap();
        assert_eq!(loader.next().unwrap().unwrap(), 0);
        assert!(loader.next().unwrap().unwrap_err().to_string().contains("broken"));
        let error = loader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("batch 2") && error.contains("out of range"), "{error}");
        assert_eq!(loader.next().unwrap().unwrap(), 3);
        assert!(loader.next().is_none());
    }
}
