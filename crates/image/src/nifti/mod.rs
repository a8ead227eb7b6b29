//! NIfTI files, versions 1 and 2, as SimpleITK and nibabel read and write them.
//!
//! The `nifti` crate parses the header of version 1, its byte order included. Everything else is done here, because the crate
//! has no version 2, takes memory for as many voxels as the header promises, scales every value in one way (ITK and nibabel
//! differ: intercepts with a slope of 0, the precision of integers), gives no affine without another linear-algebra crate, and
//! writes no qform.

mod decode;
mod encode;
mod frame;
mod header;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ndarray::Array4;

use decode::Volume;

use crate::channels::{stack, stack_bytes};
use crate::orient::{AxisCode, closest_axes, turn_image, turn_labels};
use crate::stored::{Pixels, Source};
use crate::{CaseReader, Geometry, Image, ImageError, LabelMap};

/// Endings that nnU-Net's nibabel readers list.
pub(crate) const ENDINGS: &[&str] = &[".nii", ".nii.gz"];

/// Which library's view of a file is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    SimpleItk,
    Nibabel,
}

/// Reads a file as ITK does: units count, 2-D and 4-D files are accepted, sheared images are refused.
pub(crate) fn read_as_itk(path: &Path, source: Source<'_>) -> Result<Image, ImageError> {
    let Volume { header, shape, values } = decode::read(path, source, Flavour::SimpleItk)?;
    let mut geometry = frame::simple_itk(&header, shape.len(), path)?;
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
        geometry.make_flat();
    }
    image(path, dims, values, geometry)
}

/// Writes a file as ITK does.
pub(crate) fn write_as_itk(path: &Path, pixels: &Pixels<'_>, geometry: &Geometry) -> Result<(), ImageError> {
    encode::write(path, pixels, geometry, Flavour::SimpleItk)
}

/// The header of a file of 32-bit floats `(z, y, x)` as ITK writes it, all that comes before the values.
#[cfg(feature = "npz")]
pub(crate) fn header_as_itk(
    path: &Path,
    shape: [usize; 3],
    geometry: &Geometry,
) -> Result<Vec<u8>, ImageError> {
    encode::header(path, shape, geometry, Flavour::SimpleItk)
}

/// The bytes that [`write_as_itk`] writes.
pub(crate) fn bytes_as_itk(
    path: &Path,
    pixels: &Pixels<'_>,
    geometry: &Geometry,
) -> Result<Vec<u8>, ImageError> {
    encode::bytes(path, pixels, geometry, Flavour::SimpleItk)
}

fn image(
    path: &Path,
    dims: (usize, usize, usize, usize),
    values: Vec<f32>,
    geometry: Geometry,
) -> Result<Image, ImageError> {
    let data = Array4::from_shape_vec(dims, values)
        .map_err(|e| ImageError::format(path, format!("shape {dims:?}: {e}")))?;
    Ok(Image { data, geometry })
}

/// Refuses spacings of 0 and numbers that are not finite.
fn check_frame(path: &Path, geometry: &Geometry) -> Result<(), ImageError> {
    let Geometry { spacing, origin, direction, .. } = geometry;
    let numbers = spacing.iter().chain(origin).chain(direction.as_flattened());
    if numbers.copied().all(f64::is_finite) && !spacing.contains(&0.0) {
        return Ok(());
    }
    let found = format!("spacing {spacing:?} (z, y, x), origin {origin:?}, direction {direction:?}");
    Err(ImageError::format(path, format!("{found}: expected finite numbers and a spacing above 0")))
}

/// Reader and writer of 3-D files as nibabel reads and writes them: spacing as in the header, any affine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NibabelReader {
    /// Whether images are turned to RAS.
    pub(crate) turn: bool,
}

impl NibabelReader {
    fn read(self, path: &Path, source: Source<'_>) -> Result<Image, ImageError> {
        let Volume { header, shape, values } = decode::read(path, source, Flavour::Nibabel)?;
        let [x, y, z] = *shape.as_slice() else {
            let reason = format!("expected a 3-D image, found {} axes", shape.len());
            return Err(ImageError::format(path, reason));
        };
        let geometry = frame::nibabel(&header, &shape);
        let found = image(path, (1, z, y, x), values, geometry)?;
        check_frame(path, &found.geometry)?;
        if !self.turn {
            return Ok(found);
        }
        let Some(axes) = closest_axes(&found.geometry) else {
            let reason = format!("the axes have no orientation: direction {:?}", found.geometry.direction);
            return Err(ImageError::format(path, reason));
        };
        let mut turned = turn_image(found, axes, AxisCode::RAS);
        if axes != AxisCode::RAS {
            frame::rezoom(&mut turned.geometry, header.version);
            check_frame(path, &turned.geometry)?;
        }
        turned.geometry.file_axes = Some(axes);
        Ok(turned)
    }

    /// Labels as the file has them.
    fn file_labels(self, labels: &LabelMap) -> Cow<'_, LabelMap> {
        match labels.geometry.file_axes {
            Some(axes) if self.turn => Cow::Owned(turn_labels(labels.clone(), AxisCode::RAS, axes)),
            _ => Cow::Borrowed(labels),
        }
    }
}

impl CaseReader for NibabelReader {
    fn name(&self) -> &'static str {
        if self.turn { "NibabelIOWithReorient" } else { "NibabelIO" }
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        stack(channels, |path| self.read(path, Source::open(path)?))
    }

    fn read_bytes(&self, channels: &[(&str, &[u8])]) -> Result<Image, ImageError> {
        stack_bytes(channels, |path, bytes| self.read(path, Source::of_bytes(path, bytes)?))
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
        let labels = self.file_labels(labels);
        encode::write(path, &Pixels::of_labels(path, &labels)?, &labels.geometry, Flavour::Nibabel)
    }

    fn labels_to_bytes(&self, name: &str, labels: &LabelMap) -> Result<Vec<u8>, ImageError> {
        let (labels, path) = (self.file_labels(labels), Path::new(name));
        encode::bytes(path, &Pixels::of_labels(path, &labels)?, &labels.geometry, Flavour::Nibabel)
    }
}
