//! Products of matrices by cuBLAS.

use std::ffi::c_int;

use cudarc::cublas::{result, sys};
use cudarc::driver::CudaStream;

use crate::cuda::engine::{Gemm, Kind, Operand};

/// A handle of cuBLAS on the engine's stream.
pub(super) struct Blas(sys::cublasHandle_t);

// SAFETY: a handle may move between threads as long as one uses it at a time, which the engine sees to.
unsafe impl Send for Blas {}

impl Blas {
    pub(super) fn new(stream: &CudaStream) -> Result<Self, String> {
        let handle = result::create_handle().map_err(|e| format!("cuBLAS does not start: {e}"))?;
        let blas = Self(handle);
        // SAFETY: handle and stream are there.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|e| format!("cuBLAS: {e}"))?;
        Ok(blas)
    }

    /// Row-major matrices are the transposed ones of cuBLAS: the product is taken as cᵀ = bᵀ · aᵀ.
    pub(super) fn gemm(&self, gemm: &Gemm) -> Result<(), String> {
        let Gemm { m, n, k, a, b, c, beta } = *gemm;
        let number = |n: usize| c_int::try_from(n).map_err(|_| format!("a matrix with {n} rows or columns"));
        let alpha = 1.0f32;
        // SAFETY: operands describe matrices within the device's memory; the scalars live until the call returns.
        let done = unsafe {
            result::gemm_ex(
                self.0,
                operation(&b),
                operation(&a),
                number(n)?,
                number(m)?,
                number(k)?,
                std::ptr::from_ref(&alpha).cast(),
                b.pointer as *const _,
                data_type(b.kind),
                number(b.pitch)?,
                a.pointer as *const _,
                data_type(a.kind),
                number(a.pitch)?,
                std::ptr::from_ref(&beta).cast(),
                c.pointer as *mut _,
                data_type(c.kind),
                number(c.pitch)?,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(|e| format!("cuBLAS, {m} x {k} times {k} x {n}: {e}"))
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

fn operation(operand: &Operand) -> sys::cublasOperation_t {
    if operand.transposed { sys::cublasOperation_t::CUBLAS_OP_T } else { sys::cublasOperation_t::CUBLAS_OP_N }
}

fn data_type(kind: Kind) -> sys::cudaDataType {
    if kind == Kind::Bf16 { sys::cudaDataType_t::CUDA_R_16BF } else { sys::cudaDataType_t::CUDA_R_32F }
}
