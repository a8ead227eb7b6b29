//! Tensors as slices.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};

use crate::kernels::Dims;

/// The values of a contiguous f32 storage.
pub(crate) fn slice<'a>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("{op}: the input must be contiguous, its strides are {:?}", layout.stride()),
    }
}

/// Calls `f` with the values of an f32 tensor on the CPU, made contiguous first if need be.
pub(crate) fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(slice("gradient", storage, layout)?)),
        _ => bail!("this operation has kernels for the CPU only"),
    }
}

/// Shape `(batch, z, y, x, channel)` as dimensions.
pub(crate) fn dims(op: &'static str, layout: &Layout) -> Result<Dims> {
    match layout.dims() {
        &[batch, z, y, x, channels] => Ok(Dims { batch, space: [z, y, x], channels }),
        other => bail!("{op}: expected a tensor (batch, z, y, x, channel), found shape {other:?}"),
    }
}

/// Dimensions as a shape `(batch, z, y, x, channel)`.
pub(crate) fn shape(dims: Dims) -> Shape {
    let [z, y, x] = dims.space;
    Shape::from((dims.batch, z, y, x, dims.channels))
}

/// A channels-last tensor on the CPU.
pub(crate) fn tensor(values: Vec<f32>, dims: Dims) -> Result<Tensor> {
    Tensor::from_vec(values, shape(dims), &candle_core::Device::Cpu)
}

/// Whether candle follows the gradient of this tensor any further.
pub(crate) fn needs_gradient(tensor: &Tensor) -> bool {
    tensor.track_op()
}
