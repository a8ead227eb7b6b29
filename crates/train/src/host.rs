use candle_core::{Device, Storage, Tensor};

use crate::TrainError;

/// Runs `f` on the values of a tensor in C order, without a copy where they lie so in host memory.
pub(crate) fn with_slice<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T, TrainError> {
    let tensor = tensor.detach().to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { return Err(TrainError::Device) };
    let values = storage.as_slice::<f32>()?;
    Ok(f(&values[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()]))
}
