//! What a page needs beside the C interface: memory to put bytes into, and a way to hear of progress.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_int, c_void};

use crate::predict::Progress;

#[link(wasm_import_module = "nnunet")]
unsafe extern "C" {
    /// The page's function; anything but 0 cancels.
    #[link_name = "progress"]
    fn host_progress(user: *mut c_void, done: usize, total: usize) -> c_int;
}

fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length.max(1), 16).ok()
}

/// Memory for as many bytes, or null; to be freed with `nnunet_dealloc`.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_alloc(length: usize) -> *mut u8 {
    // SAFETY: the size is at least 1.
    layout(length).map_or(std::ptr::null_mut(), |layout| unsafe { alloc(layout) })
}

/// Frees memory of `nnunet_alloc`.
///
/// # Safety
/// `data` is null or came from `nnunet_alloc` with this length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_dealloc(data: *mut u8, length: usize) {
    if let Some(layout) = layout(length).filter(|_| !data.is_null()) {
        // SAFETY: the caller's.
        unsafe { dealloc(data, layout) }
    }
}

/// A callback for predictions that calls the function `progress` which the page gave the module.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_host_progress() -> Progress {
    unsafe extern "C" fn call(user: *mut c_void, done: usize, total: usize) -> c_int {
        // SAFETY: the page's function takes any numbers.
        unsafe { host_progress(user, done, total) }
    }
    Some(call)
}
