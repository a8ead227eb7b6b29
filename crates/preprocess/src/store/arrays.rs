//! The arrays of a case in whichever format they are.

use std::path::Path;

use super::part::Part;
use crate::PreprocessError;
use crate::chunked::{Chunked, Window};
use crate::npy::Npy;

/// An open array (channel, z, y, x).
pub(super) enum Stored {
    Npy(Npy, [usize; 4]),
    Chunked(Chunked),
}

impl Stored {
    /// An `.npy` file of numbers of type `T`.
    pub(super) fn npy<T: crate::npy::Element>(path: &Path) -> Result<Self, PreprocessError> {
        let npy = Npy::open::<T>(path)?;
        match *npy.shape.as_slice() {
            [c, z, y, x] => Ok(Self::Npy(npy, [c, z, y, x])),
            _ => Err(PreprocessError::store(path, format!("shape {:?}, expected four axes", npy.shape))),
        }
    }

    pub(super) fn shape(&self) -> [usize; 4] {
        match self {
            Self::Npy(_, shape) => *shape,
            Self::Chunked(array) => array.shape,
        }
    }

    /// Fills `out` (all channels, size) where the box overlaps the image.
    pub(super) fn read_image(
        &self,
        path: &Path,
        lower: [i64; 3],
        size: [usize; 3],
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        match self {
            Self::Npy(npy, [c, z, y, x]) => Part::new([*z, *y, *x], lower, size)
                .read(npy, *c, out, |v: f32| v)
                .map_err(|e| PreprocessError::io(path, e)),
            Self::Chunked(array) => array.read(window(array.shape[0], lower, size), out, |v: f32| v),
        }
    }

    /// Fills `out` (size) where the box overlaps the segmentation.
    pub(super) fn read_labels(
        &self,
        path: &Path,
        lower: [i64; 3],
        size: [usize; 3],
        out: &mut [i16],
    ) -> Result<(), PreprocessError> {
        match self {
            Self::Npy(npy, [_, z, y, x]) => Part::new([*z, *y, *x], lower, size)
                .read(npy, 1, out, |v: i16| v)
                .map_err(|e| PreprocessError::io(path, e)),
            Self::Chunked(array) => {
                let window = window(1, lower, size);
                match array.descr {
                    "|i1" => array.read(window, out, |v: i8| i16::from(v)),
                    "|u1" => array.read(window, out, |v: u8| i16::from(v)),
                    _ => array.read(window, out, |v: i16| v),
                }
            }
        }
    }
}

fn window(channels: usize, [z, y, x]: [i64; 3], size: [usize; 3]) -> Window {
    Window { lower: [0, z, y, x], size: [channels, size[0], size[1], size[2]] }
}
