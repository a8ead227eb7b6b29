//! Several devices that train one network.

use std::fmt;
use std::sync::Arc;

use super::array::View;
use crate::NnError;

/// What adds up the values of several devices. All of them ask for the same sums in the same order.
pub trait Exchange: Send + Sync + fmt::Debug {
    /// Replaces f32 or f64 values by their sums over the devices, the same to the last bit on each, in turn with the work that
    /// was asked for.
    ///
    /// # Errors
    /// Values of another kind, or a device has failed.
    fn sum(&self, values: View<'_>) -> Result<(), NnError>;
}

/// The share that a device has in every batch.
#[derive(Debug, Clone)]
pub struct Share {
    /// Samples of the whole batch.
    pub whole: usize,
    /// Which of them is the device's first one.
    pub first: usize,
    /// What adds up sums and gradients.
    pub exchange: Arc<dyn Exchange>,
}

impl Share {
    /// Refuses samples that are not within the batch.
    pub(crate) fn check(&self, samples: usize) -> Result<(), NnError> {
        if self.first + samples > self.whole {
            let Self { first, whole, .. } = self;
            return Err(NnError::Unsupported(format!(
                "{samples} samples from number {first} on of a batch of {whole}"
            )));
        }
        Ok(())
    }
}
