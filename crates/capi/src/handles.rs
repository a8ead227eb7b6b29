//! Handles: numbers that look like pointers and are looked up, never followed, so that a stale one can be told.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::edge::Failure;

/// The living objects of one kind, behind handles that are pointers to `H`.
pub(crate) struct Handles<T> {
    what: &'static str,
    living: LazyLock<Mutex<HashMap<usize, Arc<T>>>>,
}

/// The next handle of any kind; none is used twice.
static NEXT: Mutex<usize> = Mutex::new(16);

impl<T> Handles<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, living: LazyLock::new(Mutex::default) }
    }

    fn living(&self) -> MutexGuard<'_, HashMap<usize, Arc<T>>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle for an object.
    pub(crate) fn add<H>(&self, object: T) -> *mut H {
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *next;
        *next += 16;
        drop(next);
        self.living().insert(number, Arc::new(object));
        std::ptr::without_provenance_mut(number)
    }

    /// The object of a handle.
    pub(crate) fn get<H>(&self, handle: *const H) -> Result<Arc<T>, Failure> {
        self.living().get(&handle.addr()).cloned().ok_or_else(|| self.dead(handle))
    }

    /// Forgets a handle; null is forgotten already.
    pub(crate) fn remove<H>(&self, handle: *const H) -> Result<(), Failure> {
        if handle.is_null() {
            return Ok(());
        }
        // Dropped after the lock.
        let object = self.living().remove(&handle.addr());
        object.map(drop).ok_or_else(|| self.dead(handle))
    }

    fn dead<H>(&self, handle: *const H) -> Failure {
        let what = self.what;
        Failure::argument(if handle.is_null() {
            format!("the {what} is null")
        } else {
            format!("the {what} is none: it was freed, or is a handle of another kind")
        })
    }
}
