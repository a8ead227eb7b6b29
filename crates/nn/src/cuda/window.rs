//! The sliding window on a device.

use std::sync::Arc;

use super::array::Array;
use super::engine::{Engine, Kind};
use super::ops::{Placement, window_add, window_cut, window_mean};
use crate::NnError;
use crate::model::DeviceNetwork;

/// An image, and the weighted sums of its tiles' logits, on a device.
#[derive(Debug)]
pub struct DeviceWindow {
    image: Array,
    channels: usize,
    shape: [usize; 3],
    region: [usize; 3],
    start: [usize; 3],
    patch: [usize; 3],
    heads: usize,
    importance: Option<Array>,
    sums: Array,
    weights: Array,
}

impl DeviceWindow {
    /// Room for the logits of the voxels `start..start + region` of an image (channel, z, y, x) of `shape` voxels;
    /// `importance` weighs the voxels of a patch.
    ///
    /// # Errors
    /// Shapes that do not fit, or the device has no room.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        engine: &Arc<dyn Engine>,
        image: &[f32],
        shape: [usize; 3],
        [start, region]: [[usize; 3]; 2],
        patch: [usize; 3],
        heads: usize,
        importance: Option<&[f32]>,
    ) -> Result<Self, NnError> {
        let voxels = region.iter().product::<usize>();
        let channels = image.len() / shape.iter().product::<usize>().max(1);
        Ok(Self {
            sums: Array::zeros(engine, Kind::F32, voxels * heads)?,
            weights: Array::zeros(engine, Kind::F32, voxels)?,
            image: Array::of_f32(engine, image)?,
            importance: importance.map(|map| Array::of_f32(engine, map)).transpose()?,
            channels,
            shape,
            region,
            start,
            patch,
            heads,
        })
    }

    /// Adds the mean logits of the tile at `origin` over networks and mirrored versions.
    ///
    /// # Errors
    /// Networks of another shape, or the device failed.
    pub fn add(
        &self,
        networks: &[&DeviceNetwork],
        flips: &[[bool; 3]],
        origin: [isize; 3],
    ) -> Result<(), NnError> {
        let factor = 1.0 / (networks.len() * flips.len()).max(1) as f32;
        let mut weights = Some(self.weights.view());
        for network in networks {
            for &flip in flips {
                let place = Placement { image: self.shape, patch: self.patch, origin, flip };
                let tile = window_cut(self.image.view(), self.channels, &place, network.kind())?;
                let logits = network.logits(tile, self.patch, 1)?;
                let origin = std::array::from_fn(|a| origin[a] - self.start[a] as isize);
                let place = Placement { image: self.region, origin, ..place };
                window_add(
                    logits.view(),
                    self.heads,
                    self.importance.as_ref().map(Array::view),
                    &place,
                    factor,
                    self.sums.view(),
                    weights.take(),
                )?;
            }
        }
        Ok(())
    }

    /// Mean logits (voxel, class) of the region; the first voxel whose mean is not finite, if there is one, instead.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(self) -> Result<Result<Vec<f32>, usize>, NnError> {
        match window_mean(self.sums.view(), self.weights.view(), self.heads)? {
            Some(voxel) => Ok(Err(voxel)),
            None => Ok(Ok(self.sums.to_f32()?)),
        }
    }
}
