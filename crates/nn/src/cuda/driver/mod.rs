//! A graphics card through the CUDA driver, cuBLAS and, with the feature `cudnn`, cuDNN.
//!
//! Everything but copies of the next batch runs on one stream, so that work is done in the order in which it is asked for;
//! memory comes from the driver's pool, which hands blocks out again without waiting.
#![allow(unsafe_code)]

mod blas;
#[cfg(feature = "cudnn")]
mod dnn;
mod modules;
#[cfg(feature = "nccl")]
mod nccl;
mod uploads;

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::engine::{Argument, Convolution, Engine, Gemm};
#[cfg(feature = "nccl")]
use super::exchange::Exchange;
use crate::NnError;
use blas::Blas;
use modules::Modules;
use uploads::Uploads;

/// Lowest compute capability that the kernels are made for: bf16 begins there.
const CAPABILITY: (i32, i32) = (8, 0);

/// A CUDA device of compute capability 8.0 or above.
pub struct CudaEngine {
    number: usize,
    name: String,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    libraries: Mutex<Libraries>,
    uploads: Mutex<Uploads>,
}

/// What is used by one thread at a time.
struct Libraries {
    modules: Modules,
    blas: Blas,
    #[cfg(feature = "cudnn")]
    dnn: Option<dnn::Dnn>,
}

impl std::fmt::Debug for CudaEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaEngine")
            .field("number", &self.number)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl CudaEngine {
    /// The device of this number.
    ///
    /// # Errors
    /// There is no driver, no such device, no cuBLAS, or the device is too old.
    pub fn new(number: usize) -> Result<Self, NnError> {
        let fail = |reason: String| NnError::Device { device: format!("cuda:{number}"), reason };
        let driver = |what: &str, error: DriverError| fail(format!("{what}: {error}"));
        // SAFETY: looks for a library, nothing more.
        if !unsafe { sys::is_culib_present() } {
            return Err(fail("there is no CUDA driver (libcuda) on this machine".to_owned()));
        }
        // SAFETY: as above.
        if !unsafe { cudarc::cublas::sys::is_culib_present() } {
            let reason = "cuBLAS (libcublas.so.13 or .12) was not found; put its folder into LD_LIBRARY_PATH";
            return Err(fail(reason.to_owned()));
        }
        result::init().map_err(|e| driver("the CUDA driver does not start", e))?;
        let count = result::device::get_count().map_err(|e| driver("cannot count devices", e))?;
        if number as i128 >= i128::from(count) {
            return Err(fail(format!("there are {count} CUDA devices, numbered from 0")));
        }
        let context = CudaContext::new(number).map_err(|e| driver("cannot be opened", e))?;
        let capability = context.compute_capability().map_err(|e| driver("its capability", e))?;
        let name = context.name().map_err(|e| driver("its name", e))?;
        if capability < CAPABILITY {
            let (major, minor) = capability;
            return Err(fail(format!(
                "{name} has compute capability {major}.{minor}, expected at least 8.0"
            )));
        }
        if !context.has_async_alloc() {
            return Err(fail(format!("{name} has no memory pools")));
        }
        keep_memory(number).map_err(|e| driver("its memory pool", e))?;
        let stream = context.new_stream().map_err(|e| driver("a stream", e))?;
        let libraries = Libraries {
            modules: Modules::load().map_err(&fail)?,
            blas: Blas::new(&stream).map_err(&fail)?,
            #[cfg(feature = "cudnn")]
            dnn: dnn::Dnn::find(&stream).map_err(&fail)?,
        };
        let uploads = Uploads::new(&context).map_err(|e| driver("a stream", e))?;
        let (libraries, uploads) = (Mutex::new(libraries), Mutex::new(uploads));
        Ok(Self { number, name, context, stream, libraries, uploads })
    }

    /// What takes convolutions, for people.
    pub fn convolutions(&self) -> &'static str {
        #[cfg(feature = "cudnn")]
        if self.libraries().dnn.is_some() {
            return "cuDNN";
        }
        "cuBLAS"
    }

    fn libraries(&self) -> MutexGuard<'_, Libraries> {
        self.libraries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_memory(&self, asked: usize) -> NnError {
        let free = self.memory().map_or(0, |(free, _)| free);
        NnError::DeviceMemory { device: self.name(), asked, free }
    }

    fn fail(&self, reason: String) -> NnError {
        NnError::Device { device: format!("cuda:{} ({})", self.number, self.name), reason }
    }

    /// Makes the device the calling thread's.
    fn bind(&self) -> Result<(), NnError> {
        self.context.bind_to_thread().map_err(|e| self.fail(e.to_string()))
    }

    fn done(&self, what: &str, result: Result<(), DriverError>) -> Result<(), NnError> {
        result.map_err(|e| self.fail(format!("{what}: {e}")))
    }
}

/// Lets the pool keep what is given back, so that allocations do not wait for the device.
fn keep_memory(number: usize) -> Result<(), DriverError> {
    let device = result::device::get(number as i32)?;
    let mut all = u64::MAX;
    // SAFETY: the device is there, and the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(device)?;
        let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut all).cast())
    }
}

impl Engine for CudaEngine {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, NnError> {
        self.bind()?;
        // SAFETY: the stream lives as long as the engine; arrays use the memory on this stream alone.
        match unsafe { result::malloc_async(self.stream.cu_stream(), bytes) } {
            Ok(pointer) => Ok(pointer),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(self.no_memory(bytes)),
            Err(error) => Err(self.fail(format!("memory: {error}"))),
        }
    }

    fn release(&self, pointer: u64, _: usize) {
        if self.bind().is_ok() {
            // A copy that nobody waited for ends before its memory is given back.
            let _ = self.uploads().arrive(pointer, &self.stream);
            // SAFETY: from `allocate` or `send`, given back once, after all work on this stream that was asked for before.
            let _ = unsafe { result::free_async(pointer, self.stream.cu_stream()) };
        }
    }

    fn clear(&self, pointer: u64, bytes: usize) -> Result<(), NnError> {
        self.bind()?;
        // SAFETY: views lie within allocated memory.
        self.done("memory", unsafe { result::memset_d8_async(pointer, 0, bytes, self.stream.cu_stream()) })
    }

    fn write(&self, pointer: u64, bytes: &[u8]) -> Result<(), NnError> {
        self.bind()?;
        // SAFETY: views lie within allocated memory; memory that is not pinned has been read when the call returns.
        self.done("copy", unsafe { result::memcpy_htod_async(pointer, bytes, self.stream.cu_stream()) })
    }

    fn send(&self, bytes: &[u8]) -> Result<u64, NnError> {
        self.bind()?;
        match self.uploads().send(bytes) {
            Ok(pointer) => Ok(pointer),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(self.no_memory(bytes.len())),
            Err(error) => Err(self.fail(format!("copy: {error}"))),
        }
    }

    fn arrive(&self, pointer: u64) -> Result<(), NnError> {
        self.bind()?;
        let arrived = self.uploads().arrive(pointer, &self.stream);
        self.done("copy", arrived)
    }

    fn read(&self, pointer: u64, bytes: &mut [u8]) -> Result<(), NnError> {
        self.bind()?;
        // SAFETY: views lie within allocated memory, and `bytes` is borrowed until the copy is done.
        self.done("copy", unsafe { result::memcpy_dtoh_async(bytes, pointer, self.stream.cu_stream()) })?;
        self.wait()
    }

    fn wait(&self) -> Result<(), NnError> {
        self.bind()?;
        // SAFETY: the stream lives as long as the engine.
        self.done("a kernel", unsafe { result::stream::synchronize(self.stream.cu_stream()) })
    }

    fn memory(&self) -> Result<(usize, usize), NnError> {
        self.bind()?;
        result::mem_get_info().map_err(|e| self.fail(e.to_string()))
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument]) -> Result<(), NnError> {
        self.bind()?;
        let function = self.libraries().modules.function(kernel).map_err(|e| self.fail(e))?;
        let mut addresses: Vec<*mut c_void> = arguments.iter().map(Argument::address).collect();
        let [x, y, z] = grid;
        // SAFETY: `ops` passes what the kernel's parameters are, over memory of this device that holds what the kernel reads
        // and writes; the driver copies the arguments before it returns.
        let launched = unsafe {
            let stream = self.stream.cu_stream();
            result::launch_kernel(function, (x, y, z), (256, 1, 1), 0, stream, &mut addresses)
        };
        self.done(kernel, launched)
    }

    fn gemm(&self, gemm: &Gemm) -> Result<(), NnError> {
        self.bind()?;
        self.libraries().blas.gemm(gemm).map_err(|e| self.fail(e))
    }

    #[cfg(feature = "cudnn")]
    fn convolve(&self, convolution: &Convolution) -> Result<bool, NnError> {
        self.bind()?;
        let mut libraries = self.libraries();
        let Some(dnn) = &mut libraries.dnn else { return Ok(false) };
        let Some(plan) = dnn.plan(convolution).map_err(|e| self.fail(e))? else { return Ok(false) };
        let bytes = plan.workspace.max(1);
        let workspace = self.allocate(bytes)?;
        let done = dnn.run(convolution, &plan, workspace).map_err(|e| self.fail(e));
        self.release(workspace, bytes);
        done.map(|()| true)
    }

    #[cfg(not(feature = "cudnn"))]
    fn convolve(&self, _: &Convolution) -> Result<bool, NnError> {
        Ok(false)
    }

    #[cfg(feature = "nccl")]
    fn invite(&self) -> Result<Option<Vec<u8>>, NnError> {
        self.bind()?;
        nccl::invite().map(Some).map_err(|e| self.fail(e))
    }

    #[cfg(feature = "nccl")]
    fn join(&self, invitation: &[u8], rank: usize, size: usize) -> Result<Box<dyn Exchange>, NnError> {
        self.bind()?;
        let joined = nccl::Nccl::join(&self.context, &self.stream, invitation, [rank, size]);
        Ok(Box::new(joined.map_err(|e| self.fail(e))?))
    }
}
