//! Values to bytes.

use std::io::{self, Write};
use std::path::Path;

use ndarray::{ArrayView3, Axis};

use super::Kind;
use crate::channels::wide;
use crate::{Image, ImageError, LabelMap};

/// Values that are encoded at a time.
const BLOCK: usize = 1 << 16;

/// One channel of voxels on its way into a file.
pub(crate) enum Pixels<'a> {
    /// Labels in 8 or 16 bits.
    Labels(ArrayView3<'a, i16>, Kind),
    /// Intensities in 32 bits.
    Image(ArrayView3<'a, f32>),
}

impl<'a> Pixels<'a> {
    /// Labels in 8 bits if the largest is below 255, in 16 bits otherwise; negative ones are refused.
    pub(crate) fn of_labels(path: &Path, labels: &'a LabelMap) -> Result<Self, ImageError> {
        let kind = if wide(path, labels)? { Kind::U16 } else { Kind::U8 };
        Ok(Self::Labels(labels.data.view(), kind))
    }

    /// The only channel of an image.
    pub(crate) fn of_image(path: &Path, image: &'a Image) -> Result<Self, ImageError> {
        let channels = image.data.dim().0;
        if channels != 1 {
            let reason = format!("a file holds one channel, the image has {channels}");
            return Err(ImageError::format(path, reason));
        }
        Ok(Self::Image(image.data.index_axis(Axis(0), 0)))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Labels(_, kind) => *kind,
            Self::Image(_) => Kind::F32,
        }
    }

    /// Sizes along z, y, x, each at least 1.
    pub(crate) fn shape(&self, path: &Path) -> Result<[usize; 3], ImageError> {
        let shape: [usize; 3] = match self {
            Self::Labels(data, _) => data.dim().into(),
            Self::Image(data) => data.dim().into(),
        };
        if shape.contains(&0) {
            return Err(ImageError::format(path, format!("shape {shape:?} (z, y, x): there is no voxel")));
        }
        Ok(shape)
    }

    /// Writes the values, x fastest; `big` puts the most significant byte first.
    pub(crate) fn write(&self, out: &mut dyn Write, big: bool) -> io::Result<()> {
        match self {
            Self::Labels(data, Kind::U8) => encode(out, data.view(), |v: i16| [v as u8]),
            Self::Labels(data, _) if big => encode(out, data.view(), |v: i16| (v as u16).to_be_bytes()),
            Self::Labels(data, _) => encode(out, data.view(), |v: i16| (v as u16).to_le_bytes()),
            Self::Image(data) if big => encode(out, data.view(), f32::to_be_bytes),
            Self::Image(data) => encode(out, data.view(), f32::to_le_bytes),
        }
    }
}

fn encode<T: Copy, const N: usize>(
    out: &mut dyn Write,
    data: ArrayView3<'_, T>,
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let data = data.as_standard_layout();
    for block in data.as_slice().unwrap_or_default().chunks(BLOCK) {
        out.write_all(block.iter().map(|&v| bytes(v)).collect::<Vec<_>>().as_flattened())?;
    }
    Ok(())
}
