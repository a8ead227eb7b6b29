//! Memory that kernels need for a moment, used again: fresh pages cost more than what is done with them.

use std::ops::{Deref, DerefMut, Range};
use std::sync::{Mutex, PoisonError};

/// Bytes that are kept for later, of each type.
const KEPT: usize = 64 << 20;

/// A number that scratch memory can hold.
pub(crate) trait Pooled: Copy + Default + 'static {
    /// What is kept for later.
    fn pool() -> &'static Mutex<Vec<Vec<Self>>>;
}

impl Pooled for f32 {
    fn pool() -> &'static Mutex<Vec<Vec<f32>>> {
        static POOL: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
        &POOL
    }
}

impl Pooled for u16 {
    fn pool() -> &'static Mutex<Vec<Vec<u16>>> {
        static POOL: Mutex<Vec<Vec<u16>>> = Mutex::new(Vec::new());
        &POOL
    }
}

/// Bytes of a cache line and of the widest register: where values begin.
const ALIGN: usize = 64;

/// Values that go back to the pool in the end.
pub(crate) struct Scratch<T: Pooled> {
    kept: Vec<T>,
    /// Which of them are used.
    used: Range<usize>,
}

impl<T: Pooled> Scratch<T> {
    /// So many values, of what they were when they were used last.
    pub(crate) fn any(len: usize) -> Self {
        let room = len + ALIGN / size_of::<T>();
        let mut pool = T::pool().lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &Vec<T>| kept.capacity() >= room && kept.capacity() / 2 <= room;
        let fitting = pool.iter().enumerate().filter(|(_, kept)| fits(kept));
        let best = fitting.min_by_key(|(_, kept)| kept.capacity()).map(|(i, _)| i);
        let found = best.map(|i| pool.swap_remove(i));
        drop(pool);
        let mut kept = found.unwrap_or_else(|| vec![T::default(); room]);
        kept.resize(room, T::default());
        let first = kept.as_ptr().align_offset(ALIGN).min(room - len);
        Self { kept, used: first..first + len }
    }

    /// So many zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut values = Self::any(len);
        values.fill(T::default());
        values
    }
}

impl<T: Pooled> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.kept[self.used.clone()]
    }
}

impl<T: Pooled> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.kept[self.used.clone()]
    }
}

impl<T: Pooled> Drop for Scratch<T> {
    fn drop(&mut self) {
        let mut pool = T::pool().lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = pool.iter().map(Vec::capacity).sum();
        if (kept + self.kept.capacity()) * size_of::<T>() <= KEPT {
            pool.push(std::mem::take(&mut self.kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_used_again_and_zeros_are_zeros() {
        let mut first = Scratch::<u16>::zeros(1_000_003);
        first.fill(7);
        drop(first);
        assert_eq!(Scratch::<u16>::any(1_000_001).len(), 1_000_001);
        let zeros = Scratch::<u16>::zeros(1_000_002);
        assert!(zeros.iter().all(|v| *v == 0) && (zeros.as_ptr() as usize).is_multiple_of(ALIGN));
        // More than is kept goes back to the system.
        drop(Scratch::<f32>::any(KEPT / 4 + 1));
        assert!(f32::pool().lock().unwrap().iter().map(Vec::len).sum::<usize>() <= KEPT / 4);
    }
}
