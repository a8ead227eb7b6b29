//! NIfTI files, versions 1 and 2, as SimpleITK and nibabel read and write them.
//!
//! The `nifti` crate parses the header of version 1, its byte order included. Everything else is done here, because the crate
//! has no version 2, takes memory for as many voxels as the header promises, scales every value in one way (ITK and nibabel
//! differ: intercepts with a slope of 0, the precision of integers), gives no affine without another linear-algebra crate, and
//! writes no qform.

mod decode;
mod encode;
mod extension;
mod frame;
mod header;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};

use decode::Volume;
pub use extension::{NiftiExtension, nifti_extensions, set_nifti_extensions};

use crate::channels::{compare, no_file, stack, stack_bytes};
use crate::orient::{AxisCode, closest_axes, turn_image, turn_labels};
use crate::reader::{hand_on, hand_on_labels, labels_of, one_channel};
use crate::stored::{Pixels, Source};
use crate::{CaseReader, Geometry, Image, ImageError, LabelMap, Parts};

/// Endings that nnU-Net's nibabel readers list.
pub(crate) const ENDINGS: &[&str] = &[".nii", ".nii.gz"];

/// Which library's view of a file is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    SimpleItk,
    Nibabel,
}

/// A file on its way into memory: its shape (channels, z, y, x), its frame, and the values that are still to come.
pub(crate) struct Opened<'a> {
    volume: Volume<'a>,
    pub(crate) dims: [usize; 4],
    pub(crate) geometry: Geometry,
}

impl<'a> Opened<'a> {
    /// Opens a file as ITK does: units count, 2-D and 4-D files are accepted, sheared images are refused.
    pub(crate) fn as_itk(path: &'a Path, source: Source<'a>) -> Result<Self, ImageError> {
        let volume = Volume::open(path, source, Flavour::SimpleItk)?;
        let shape = &volume.shape;
        let mut geometry = frame::simple_itk(&volume.header, shape.len(), path)?;
        let dims = match *shape.as_slice() {
            [x, y] => [1, 1, y, x],
            [x, y, z] => [1, z, y, x],
            [x, y, z, c] => [c, z, y, x],
            _ => {
                let reason = format!("expected 2, 3 or 4 axes, found {}", shape.len());
                return Err(ImageError::format(path, reason));
            }
        };
        if shape.len() == 2 {
            geometry.make_flat();
        }
        Ok(Self { volume, dims, geometry })
    }

    /// Opens a 3-D file as nibabel does.
    fn as_nibabel(path: &'a Path, source: Source<'a>) -> Result<Self, ImageError> {
        let volume = Volume::open(path, source, Flavour::Nibabel)?;
        let [x, y, z] = *volume.shape.as_slice() else {
            let reason = format!("expected a 3-D image, found {} axes", volume.shape.len());
            return Err(ImageError::format(path, reason));
        };
        let geometry = frame::nibabel(&volume.header, &volume.shape);
        check_frame(path, &geometry)?;
        Ok(Self { volume, dims: [1, z, y, x], geometry })
    }

    /// Reads all values.
    pub(crate) fn image(self, path: &Path) -> Result<Image, ImageError> {
        let Self { volume, dims, geometry } = self;
        let data = Array4::from_shape_vec(dims, volume.values()?)
            .map_err(|e| ImageError::format(path, format!("shape {dims:?}: {e}")))?;
        Ok(Image { data, geometry })
    }

    /// Reads all values as labels.
    pub(crate) fn labels(self, path: &Path) -> Result<LabelMap, ImageError> {
        one_channel(path, self.dims)?;
        let Self { volume, dims: [_, z, y, x], geometry } = self;
        let data = Array3::from_shape_vec((z, y, x), volume.labels()?)
            .map_err(|e| ImageError::format(path, format!("shape {:?}: {e}", [z, y, x])))?;
        Ok(LabelMap { data, geometry })
    }

    /// Hands the values on as they come.
    pub(crate) fn visit(self, parts: &mut dyn Parts<f32>) -> Result<Geometry, ImageError> {
        if parts.start(self.dims).is_continue() {
            self.volume.visit(&mut |part| {
                parts.take(part);
                Ok(())
            })?;
        }
        Ok(self.geometry)
    }

    /// Hands the values on as labels, as they come.
    pub(crate) fn visit_labels(
        self,
        path: &Path,
        parts: &mut dyn Parts<i16>,
    ) -> Result<Geometry, ImageError> {
        one_channel(path, self.dims)?;
        if parts.start(self.dims).is_continue() {
            self.volume.visit_labels(&mut |part| {
                parts.take(part);
                Ok(())
            })?;
        }
        Ok(self.geometry)
    }
}

/// Opens the files of a case one after the other and hands their values on; all must have the first one's shape and spacing.
pub(crate) fn visit_all<'a>(
    channels: &'a [PathBuf],
    open: impl Fn(&'a Path, Source<'a>) -> Result<Opened<'a>, ImageError>,
    parts: &mut dyn Parts<f32>,
) -> Result<Geometry, ImageError> {
    let mut first: Option<(&Path, [usize; 4], Geometry)> = None;
    for path in channels {
        let opened = open(path, Source::open(path)?)?;
        match &first {
            None => first = Some((path, opened.dims, opened.geometry.clone())),
            Some((first, dims, geometry)) => {
                compare(first, (*dims, geometry), path, (opened.dims, &opened.geometry))?;
            }
        }
        opened.visit(parts)?;
    }
    first.map(|(_, _, geometry)| geometry).ok_or_else(no_file)
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
    fn read<'a>(self, path: &'a Path, source: Source<'a>) -> Result<Image, ImageError> {
        let opened = Opened::as_nibabel(path, source)?;
        let version = opened.volume.header.version;
        let found = opened.image(path)?;
        if !self.turn {
            return Ok(found);
        }
        let Some(axes) = closest_axes(&found.geometry) else {
            let reason = format!("the axes have no orientation: direction {:?}", found.geometry.direction);
            return Err(ImageError::format(path, reason));
        };
        let mut turned = turn_image(found, axes, AxisCode::RAS);
        if axes != AxisCode::RAS {
            frame::rezoom(&mut turned.geometry, version);
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

    fn read_labels(&self, path: &Path) -> Result<LabelMap, ImageError> {
        if self.turn {
            return labels_of(path, self.read_segmentation(path)?);
        }
        Opened::as_nibabel(path, Source::open(path)?)?.labels(path)
    }

    fn visit_images(&self, channels: &[PathBuf], parts: &mut dyn Parts<f32>) -> Result<Geometry, ImageError> {
        if self.turn {
            return hand_on(self.read_images(channels)?, parts);
        }
        visit_all(channels, Opened::as_nibabel, parts)
    }

    fn visit_labels(&self, path: &Path, parts: &mut dyn Parts<i16>) -> Result<Geometry, ImageError> {
        if self.turn {
            return hand_on_labels(self.read_labels(path)?, parts);
        }
        Opened::as_nibabel(path, Source::open(path)?)?.visit_labels(path, parts)
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
