//! The kernels on the CPU, for tests.
#![allow(unsafe_code)]

use std::collections::HashMap;
#[cfg(nnunet_emulator)]
use std::ffi::c_char;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::engine::{Argument, Convolution, Engine, Gemm, Kind, Operand};
use crate::NnError;

#[cfg(nnunet_emulator)]
unsafe extern "C" {
    /// Runs a kernel of `kernels/emulator.cpp`; false if there is none of this name.
    fn nnunet_emulator_launch(
        name: *const c_char,
        grid: *const u32,
        block: u32,
        arguments: *mut *mut c_void,
    ) -> bool;
}

/// Kernels share the registers of the one emulated block.
static RUNNING: Mutex<()> = Mutex::new(());

/// Alignment of memory, that of a device's.
const ALIGN: usize = 256;

/// A CUDA device that runs the kernels on the CPU: slowly, one block after the other.
#[derive(Debug, Default)]
pub struct Emulator {
    /// Bytes in use, and the most that may be.
    used: Mutex<usize>,
    limit: Option<usize>,
    /// Copies on their way: what nobody has waited for is not there yet.
    sent: Mutex<HashMap<u64, Vec<u8>>>,
}

impl Emulator {
    /// A device whose memory is the computer's.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there was a C++ compiler for the kernels when this was built.
    pub fn is_there() -> bool {
        cfg!(nnunet_emulator)
    }

    /// A device with this many bytes of memory.
    pub fn with_memory(bytes: usize) -> Self {
        Self { limit: Some(bytes), ..Self::default() }
    }

    fn used(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Vec<u8>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The matrix as it takes part in the product, in rows of `columns` values.
    fn matrix(operand: &Operand, rows: usize, columns: usize) -> Vec<f32> {
        let at = |row: usize, column: usize| match operand.transposed {
            true => column * operand.pitch + row,
            false => row * operand.pitch + column,
        };
        (0..rows * columns).map(|i| get(operand, at(i / columns, i % columns))).collect()
    }
}

fn get(operand: &Operand, index: usize) -> f32 {
    // SAFETY: operands describe matrices within allocated memory, which `ops` checks.
    unsafe {
        match operand.kind {
            Kind::Bf16 => f32::from_bits(u32::from(*(operand.pointer as *const u16).add(index)) << 16),
            _ => *(operand.pointer as *const f32).add(index),
        }
    }
}

fn layout(bytes: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(bytes, ALIGN).expect("sizes of arrays are far below the limit")
}

impl Engine for Emulator {
    fn name(&self) -> String {
        "an emulated device".to_owned()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, NnError> {
        let mut used = self.used();
        let free = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(*used));
        if bytes > free {
            return Err(NnError::DeviceMemory { device: self.name(), asked: bytes, free });
        }
        *used += bytes;
        // SAFETY: the size is not zero.
        let pointer = unsafe { std::alloc::alloc(layout(bytes)) };
        // What is read before it is written is not a number.
        // SAFETY: the block has this size.
        unsafe { pointer.write_bytes(0xff, bytes) };
        Ok(pointer as u64)
    }

    fn release(&self, pointer: u64, bytes: usize) {
        *self.used() -= bytes;
        self.sent().remove(&pointer);
        // SAFETY: from `allocate` with the same size, and given back once, by the array that owned it.
        unsafe { std::alloc::dealloc(pointer as *mut u8, layout(bytes)) };
    }

    fn clear(&self, pointer: u64, bytes: usize) -> Result<(), NnError> {
        // SAFETY: views lie within allocated memory.
        unsafe { (pointer as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    fn write(&self, pointer: u64, bytes: &[u8]) -> Result<(), NnError> {
        // SAFETY: views lie within allocated memory.
        unsafe { (pointer as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<u64, NnError> {
        let pointer = self.allocate(bytes.len().max(1))?;
        self.sent().insert(pointer, bytes.to_vec());
        Ok(pointer)
    }

    fn arrive(&self, pointer: u64) -> Result<(), NnError> {
        let sent = self.sent().remove(&pointer);
        sent.map_or(Ok(()), |bytes| self.write(pointer, &bytes))
    }

    fn read(&self, pointer: u64, bytes: &mut [u8]) -> Result<(), NnError> {
        // SAFETY: views lie within allocated memory.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(pointer as *const u8, bytes.len()) };
        Ok(())
    }

    fn wait(&self) -> Result<(), NnError> {
        Ok(())
    }

    fn memory(&self) -> Result<(usize, usize), NnError> {
        let total = self.limit.unwrap_or(usize::MAX);
        Ok((total.saturating_sub(*self.used()), total))
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument]) -> Result<(), NnError> {
        let _guard = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = |reason: String| NnError::Device { device: self.name(), reason };
        let name = CString::new(kernel).map_err(|e| fail(e.to_string()))?;
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(Argument::address).collect();
        #[cfg(nnunet_emulator)]
        // SAFETY: `ops` passes what the kernel's parameters are, over memory that is there; one launch at a time.
        let known =
            unsafe { nnunet_emulator_launch(name.as_ptr(), grid.as_ptr(), 256, pointers.as_mut_ptr()) };
        #[cfg(not(nnunet_emulator))]
        let known = (name.as_ptr(), grid.as_ptr(), pointers.as_mut_ptr(), false).3;
        if known { Ok(()) } else { Err(fail(format!("no kernel {kernel}"))) }
    }

    fn gemm(&self, gemm: &Gemm) -> Result<(), NnError> {
        let Gemm { m, n, k, a, b, c, beta } = *gemm;
        let (left, right) = (Self::matrix(&a, m, k), Self::matrix(&b, k, n));
        let old = if beta == 0.0 { vec![0.0; m * n] } else { Self::matrix(&c, m, n) };
        let mut sums = old;
        sums.par_chunks_mut(n.max(1)).zip(left.par_chunks(k.max(1))).for_each(|(sums, left)| {
            for (value, right) in left.iter().zip(right.chunks_exact(n.max(1))) {
                sums.iter_mut().zip(right).for_each(|(sum, r)| *sum += value * r);
            }
        });
        for (i, sum) in sums.into_iter().enumerate() {
            let at = i / n * c.pitch + i % n;
            // SAFETY: operands describe matrices within allocated memory, which `ops` checks.
            unsafe {
                match c.kind {
                    Kind::Bf16 => *(c.pointer as *mut u16).add(at) = crate::kernels::round_bf16(sum),
                    _ => *(c.pointer as *mut f32).add(at) = sum,
                }
            }
        }
        Ok(())
    }

    fn convolve(&self, _: &Convolution) -> Result<bool, NnError> {
        Ok(false)
    }
}
