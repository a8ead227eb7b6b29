//! Ending predictions from another thread.
#![allow(unsafe_code)]

use nnunet_infer::CancelToken;

use crate::edge::{Status, call, target};
use crate::handles::Handles;

/// Ends predictions that it was given to.
#[derive(Debug)]
pub struct Cancel {
    _opaque: (),
}

pub(crate) static CANCELS: Handles<CancelToken> = Handles::new("cancellation");

/// Makes a cancellation, to be freed with `nnunet_cancel_free`.
///
/// # Safety
/// `cancel` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_cancel_new(cancel: *mut *mut Cancel) -> Status {
    call(|| {
        // SAFETY: the caller's.
        *unsafe { target(cancel, "cancel") }? = CANCELS.add(CancelToken::new());
        Ok(())
    })
}

/// Lets all predictions that were given the cancellation end before their next tile; from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_cancel_request(cancel: *const Cancel) -> Status {
    call(|| {
        CANCELS.get(cancel)?.cancel();
        Ok(())
    })
}

/// Frees a cancellation; predictions that use it go on. Null is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_cancel_free(cancel: *mut Cancel) -> Status {
    call(|| CANCELS.remove(cancel))
}
