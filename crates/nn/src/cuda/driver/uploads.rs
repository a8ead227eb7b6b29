//! Copies beside the work of the device: through pinned memory of the host, on a stream of their own.

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, PinnedHostSlice, result};

/// Copies that go on beside the work of another stream.
pub(super) struct Uploads {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Used in turn: one is filled while the other is copied.
    slots: [Slot; 2],
    next: usize,
    /// Ends of copies for which no work waits yet, by the address.
    pending: HashMap<u64, Arc<CudaEvent>>,
}

/// Memory of the host that the device copies from by itself, and the end of its last copy.
#[derive(Default)]
struct Slot {
    memory: Option<PinnedHostSlice<u8>>,
    copied: Option<Arc<CudaEvent>>,
}

impl Drop for Uploads {
    /// Pinned memory must outlive the copies from it.
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
    }
}

impl Uploads {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        Ok(Self {
            context: Arc::clone(context),
            stream: context.new_stream()?,
            slots: <[Slot; 2]>::default(),
            next: 0,
            pending: HashMap::new(),
        })
    }

    /// Begins to copy into new memory, which may be used once [`Uploads::arrive`] was called for it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<u64, DriverError> {
        let slot = &mut self.slots[self.next];
        self.next = 1 - self.next;
        if let Some(event) = slot.copied.take() {
            event.synchronize()?;
        }
        if slot.memory.as_ref().is_none_or(|memory| memory.len() < bytes.len()) {
            slot.memory = None;
            // SAFETY: bytes have any value; they are written before they are read.
            slot.memory = Some(unsafe { self.context.alloc_pinned(bytes.len().max(1)) }?);
        }
        let Some(memory) = &mut slot.memory else { return Ok(0) };
        let pinned = &mut memory.as_mut_slice()?[..bytes.len()];
        pinned.copy_from_slice(bytes);
        // SAFETY: the stream lives as long as this; the memory is used on it until `arrive` lets another stream wait.
        let pointer = unsafe { result::malloc_async(self.stream.cu_stream(), bytes.len().max(1)) }?;
        // SAFETY: both sides have this many bytes, and the pinned ones stay as they are until the event below.
        unsafe { result::memcpy_htod_async(pointer, pinned, self.stream.cu_stream()) }?;
        let event = Arc::new(self.stream.record_event(None)?);
        slot.copied = Some(Arc::clone(&event));
        self.pending.insert(pointer, event);
        Ok(pointer)
    }

    /// Lets what is asked of `stream` from now on wait for the copy to this address, if there is one on its way.
    pub(super) fn arrive(&mut self, pointer: u64, stream: &CudaStream) -> Result<(), DriverError> {
        match self.pending.remove(&pointer) {
            Some(event) => stream.wait(&event),
            None => Ok(()),
        }
    }
}
