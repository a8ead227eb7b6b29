use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::InferError;

/// Ends predictions from another thread; clones share their state.
///
/// ```
/// let token = nnunet_infer::CancelToken::new();
/// token.clone().cancel();
/// assert!(token.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every prediction that was given the token end with [`InferError::Cancelled`] before its next tile.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), InferError> {
        if self.is_cancelled() { Err(InferError::Cancelled) } else { Ok(()) }
    }
}
