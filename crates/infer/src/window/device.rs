//! Sliding networks over an image on a device, with the sums there where they have room.

use ndarray::ArrayView4;
use nnunet_image::Progress;
use nnunet_nn::NnError;
use nnunet_nn::cuda::{DeviceNetwork, DeviceWindow};

use super::slide::{TilePlan, Window, slide};
use crate::logits::{Logits, Values};
use crate::{Accumulator, InferError};

/// [`slide`] with networks on a device. The sums lie there as well, unless they are to be of half precision or the device has
/// no room for them: then the logits of each tile come to the host.
pub(crate) fn slide_on_device(
    window: &Window<'_>,
    image: ArrayView4<'_, f32>,
    networks: &[DeviceNetwork],
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Logits, InferError> {
    let Some(first) = networks.first() else { return Err(InferError::NoNetwork) };
    if window.options.accumulator == Accumulator::F16 {
        return slide(window, image, networks, progress);
    }
    let plan = TilePlan::new(window, image.dim())?;
    let (_, z, y, x) = image.dim();
    let values: Vec<f32> = image.iter().copied().collect();
    let region = [plan.region.start, plan.region.shape()];
    let (patch, heads, importance) = (window.patch, window.heads, plan.importance.as_deref());
    let sums = match DeviceWindow::new(first.engine(), &values, [z, y, x], region, patch, heads, importance) {
        Ok(sums) => sums,
        Err(NnError::DeviceMemory { .. }) => return slide(window, image, networks, progress),
        Err(error) => return Err(error.into()),
    };
    drop(values);
    let networks: Vec<&DeviceNetwork> = networks.iter().collect();
    for (number, &origin) in plan.origins.iter().enumerate() {
        window.cancel.check()?;
        sums.add(&networks, window.flips, origin)?;
        progress(Progress { done: number + 1, total: plan.origins.len(), item: "" });
    }
    let shape = plan.region.shape();
    match sums.finish()? {
        Ok(values) => Ok(Logits { shape, channels: heads, values: Values::F32(values) }),
        Err(voxel) => {
            let [_, y, x] = shape;
            let local = [voxel / (y * x), voxel / x % y, voxel % x];
            Err(InferError::NotFinite { voxel: std::array::from_fn(|a| plan.region.start[a] + local[a]) })
        }
    }
}
