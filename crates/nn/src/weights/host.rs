//! Tensors as numbers.

use candle_core::{DType, Result, Tensor};

/// A copy of all values as 32-bit floats, row-major.
pub(crate) fn host_values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
