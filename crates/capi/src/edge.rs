//! Where calls come in: panics stop, errors become a status and a sentence.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use nnunet_infer::InferError;

/// What became of a call.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It did what was asked.
    Ok = 0,
    /// A null pointer, a handle that is not alive, or a number out of range.
    Argument = 1,
    /// The model cannot be loaded.
    Model = 2,
    /// The image cannot be segmented, or the result not be written.
    Input = 3,
    /// It was cancelled.
    Cancelled = 4,
    /// An error in the library itself.
    Internal = 5,
}

/// A status and its sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self { status: Status::Argument, text: text.into() }
    }

    pub(crate) fn model(error: InferError) -> Self {
        Self { status: Status::Model, text: sentence(&error) }
    }

    pub(crate) fn input(error: &dyn std::error::Error) -> Self {
        Self { status: Status::Input, text: sentence(error) }
    }

    pub(crate) fn predict(error: InferError) -> Self {
        let status = if matches!(error, InferError::Cancelled) { Status::Cancelled } else { Status::Input };
        Self { status, text: sentence(&error) }
    }
}

/// An error with its causes, as far as they say more.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

fn remember(text: &str) {
    let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    LAST.with(|last| *last.borrow_mut() = text);
}

/// Runs a call: what it returns as an error is remembered for this thread, and so is a panic.
pub(crate) fn call(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    #[cfg(target_arch = "wasm32")]
    remember_panics();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => {
            remember(&failure.text);
            failure.status
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            remember(&format!("an error in the library itself: {text}"));
            Status::Internal
        }
    }
}

/// A panic ends WebAssembly's call with a trap; its sentence stays.
#[cfg(target_arch = "wasm32")]
fn remember_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| remember(&format!("an error in the library itself: {panic}"))));
    });
}

/// A pointer that must not be null.
///
/// # Safety
/// If it is not null, it must be valid for reads as long as the reference is used.
pub(crate) unsafe fn required<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::argument(format!("{name} is null")))
}

/// Where a result goes.
///
/// # Safety
/// If it is not null, it must be valid for writes as long as the reference is used.
pub(crate) unsafe fn target<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::argument(format!("{name} is null")))
}

/// Values behind a pointer; none need no pointer.
///
/// # Safety
/// If it is not null, `length` values must be valid for reads as long as the slice is used.
pub(crate) unsafe fn values<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is null, expected {length} values")));
    }
    if !pointer.is_aligned() || length.checked_mul(size_of::<T>()).is_none_or(|n| n > isize::MAX as usize) {
        return Err(Failure::argument(format!("{name}: {length} values cannot lie there")));
    }
    // SAFETY: the caller's; null, alignment and size were checked.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A path in UTF-8.
///
/// # Safety
/// If it is not null, it must point to text that ends with a zero.
pub(crate) unsafe fn path(pointer: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is null")));
    }
    // SAFETY: the caller's.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text.to_str().map_err(|_| Failure::argument(format!("{name} is not UTF-8: {text:?}")))?;
    Ok(PathBuf::from(text))
}

/// What the last call of this thread that failed had to say: a sentence in UTF-8, empty if none failed.
///
/// The text belongs to the library and stays until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_last_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

/// Version of the library, such as "0.1.0". The text is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
