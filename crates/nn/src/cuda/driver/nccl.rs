//! Sums over several devices by NCCL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::{CudaContext, CudaStream};
use cudarc::nccl::{result, sys};

use crate::NnError;
use crate::cuda::array::View;
use crate::cuda::engine::Kind;
use crate::cuda::exchange::Exchange;

/// Bytes of an invitation.
const BYTES: usize = 128;

/// A connection of the engine to those of other devices. Sums are taken on its stream, in turn with its other work.
pub(super) struct Nccl {
    communicator: sys::ncclComm_t,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    rank: usize,
    size: usize,
    /// Sums that can no longer come are given up.
    failed: AtomicBool,
}

// SAFETY: a communicator may be used from any thread as long as one uses it at a time; a network asks for its sums through
// one step after the other, which borrows it mutably.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nccl({} of {})", self.rank, self.size)
    }
}

/// Whether the library is there.
fn find() -> Result<(), String> {
    // SAFETY: looks for a library, nothing more.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    Err("NCCL (libnccl.so.2) was not found; put its folder into LD_LIBRARY_PATH".to_owned())
}

/// What the first device gives the others to find it.
pub(super) fn invite() -> Result<Vec<u8>, String> {
    find()?;
    let id = result::get_uniqueid().map_err(|e| format!("NCCL does not start: {:?}", e.0))?;
    Ok(id.internal.iter().map(|&c| c.cast_unsigned()).collect())
}

impl Nccl {
    pub(super) fn join(
        context: &Arc<CudaContext>,
        stream: &Arc<CudaStream>,
        invitation: &[u8],
        [rank, size]: [usize; 2],
    ) -> Result<Self, String> {
        find()?;
        let mut id = sys::ncclUniqueId { internal: [0; BYTES] };
        if invitation.len() != BYTES {
            return Err(format!("an invitation of {} bytes, expected {BYTES}", invitation.len()));
        }
        for (to, from) in id.internal.iter_mut().zip(invitation) {
            *to = from.cast_signed();
        }
        let number = |n: usize| i32::try_from(n).map_err(|_| format!("{n} devices"));
        let mut communicator = std::ptr::null_mut();
        // SAFETY: the calling thread has the device's context, and `communicator` is written where the call succeeds.
        unsafe { result::comm_init_rank(&raw mut communicator, number(size)?, id, number(rank)?) }
            .map_err(|e| format!("NCCL, device {rank} of {size}: {:?}", e.0))?;
        let (context, stream) = (Arc::clone(context), Arc::clone(stream));
        Ok(Self { communicator, context, stream, rank, size, failed: AtomicBool::new(false) })
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        // SAFETY: made by `join`, given back once; destroying waits for the sums that are under way, aborting ends them.
        let _ = unsafe {
            match self.failed.load(Ordering::Relaxed) || std::thread::panicking() {
                true => result::comm_abort(self.communicator),
                false => result::comm_destroy(self.communicator),
            }
        };
    }
}

impl Exchange for Nccl {
    fn sum(&self, values: View<'_>) -> Result<(), NnError> {
        let fail = |reason: String| NnError::Device { device: format!("{self:?}"), reason };
        let kind = match values.kind() {
            Kind::F32 => sys::ncclDataType_t::ncclFloat32,
            Kind::F64 => sys::ncclDataType_t::ncclFloat64,
            other => return Err(NnError::Unsupported(format!("sums of {other:?} over devices"))),
        };
        self.context.bind_to_thread().map_err(|e| fail(e.to_string()))?;
        let pointer = values.pointer;
        // SAFETY: the view lies within the device's memory, and the stream lives as long as this.
        let asked = unsafe {
            result::all_reduce(
                pointer as *const _,
                pointer as *mut _,
                values.len(),
                kind,
                sys::ncclRedOp_t::ncclSum,
                self.communicator,
                self.stream.cu_stream().cast(),
            )
        };
        asked.map(|_| ()).map_err(|error| {
            self.failed.store(true, Ordering::Relaxed);
            fail(format!("NCCL, a sum of {} values: {:?}", values.len(), error.0))
        })
    }
}
