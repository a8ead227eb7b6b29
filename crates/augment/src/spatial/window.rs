use super::Affine;
use super::crop::crop_start;

/// The part of the loaded patch that a sample with given parameters reads.
///
/// A loader that draws the parameters first reads only these voxels; the result is the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Shape `[z, y, x]` of the whole loaded patch, in voxels.
    pub loaded: [usize; 3],
    /// First voxel of the part, relative to the loaded patch.
    pub start: [usize; 3],
    /// Shape of the part, in voxels.
    pub shape: [usize; 3],
}

impl Window {
    /// The whole loaded patch.
    pub fn whole(loaded: [usize; 3]) -> Self {
        Self { loaded, start: [0; 3], shape: loaded }
    }

    /// Whether every voxel of `other` lies in this window of the same loaded patch.
    pub fn contains(&self, other: &Window) -> bool {
        self.loaded == other.loaded
            && (0..3).all(|k| {
                self.start[k] <= other.start[k]
                    && other.start[k].saturating_add(other.shape[k])
                        <= self.start[k].saturating_add(self.shape[k])
            })
    }

    /// The voxels that `affine`, or the central crop without one, reads; elastic deformations may read all.
    pub(crate) fn needed(affine: Option<&Affine>, patch: [usize; 3], loaded: [usize; 3]) -> Self {
        let (mut start, mut shape) = (crop_start(patch, loaded), patch);
        if affine.is_some_and(Affine::deforms) {
            return Self::whole(loaded);
        }
        if let Some(affine) = affine {
            for axis in 0..3 {
                let (low, end) = affine.extent(axis);
                (start[axis], shape[axis]) = (low, end - low);
            }
        }
        Self { loaded, start, shape }
    }
}
