//! NIfTI-1 files as SimpleITK and nibabel read and write them.

mod decode;
mod encode;
mod frame;
mod values;

use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis, concatenate};

use decode::Volume;
pub use encode::write_image;

use crate::{CaseReader, Image, ImageError, LabelMap};

/// Which library's view of a file the reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    SimpleItk,
    Nibabel,
}

/// Reader and writer of NIfTI-1 files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NiftiReader(Flavour);

impl NiftiReader {
    /// Units count, 2-D and 4-D files are accepted, sheared images are refused.
    pub(crate) fn simple_itk() -> Self {
        Self(Flavour::SimpleItk)
    }

    /// 3-D files alone; spacing as in the header.
    pub(crate) fn nibabel() -> Self {
        Self(Flavour::Nibabel)
    }

    fn read(&self, path: &Path) -> Result<Image, ImageError> {
        let Volume { header, shape, values } = decode::read(path, self.0)?;
        let mut geometry = match self.0 {
            Flavour::SimpleItk => frame::simple_itk(&header, shape.len(), path)?,
            Flavour::Nibabel if shape.len() == 3 => frame::nibabel(&header, &shape),
            Flavour::Nibabel => {
                let reason = format!("expected a 3-D image, found {} axes", shape.len());
                return Err(ImageError::format(path, reason));
            }
        };
        let dims = match *shape.as_slice() {
            [x, y] => (1, 1, y, x),
            [x, y, z] => (1, z, y, x),
            [x, y, z, c] => (c, z, y, x),
            _ => {
                let reason = format!("expected 2, 3 or 4 axes, found {}", shape.len());
                return Err(ImageError::format(path, reason));
            }
        };
        if shape.len() == 2 {
            geometry.dims = 2;
            geometry.spacing[0] = 999.0 * geometry.spacing[1].max(geometry.spacing[2]);
        }
        let data = Array4::from_shape_vec(dims, values)
            .map_err(|e| ImageError::format(path, format!("shape {dims:?}: {e}")))?;
        Ok(Image { data, geometry })
    }
}

impl CaseReader for NiftiReader {
    fn name(&self) -> &'static str {
        match self.0 {
            Flavour::SimpleItk => "SimpleITKIO",
            Flavour::Nibabel => "NibabelIO",
        }
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        let [first, others @ ..] = channels else {
            return Err(ImageError::format(Path::new("image"), "no file given"));
        };
        let image = self.read(first)?;
        let mut arrays = vec![image.data];
        for other in others {
            let next = self.read(other)?;
            mismatch("shape (channels, z, y, x)", first, other, arrays[0].dim(), next.data.dim())?;
            if !next.geometry.same_spacing(&image.geometry) {
                let (a, b) = (image.geometry.spacing, next.geometry.spacing);
                mismatch("spacing (z, y, x) in mm", first, other, a, b)?;
            }
            arrays.push(next.data);
        }
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        let data = concatenate(Axis(0), &views)
            .map_err(|e| ImageError::format(first, format!("cannot stack channels: {e}")))?;
        Ok(Image { data, geometry: image.geometry })
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
        encode::write_labels(path, labels, self.0)
    }
}

fn mismatch<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    first: &Path,
    other: &Path,
    expected: T,
    found: T,
) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::Mismatch {
        what,
        first: first.to_owned(),
        other: other.to_owned(),
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}
