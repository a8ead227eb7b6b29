//! Files as SimpleITK reads and writes them, whatever their format.

mod frame;
#[cfg(feature = "gipl")]
mod gipl;
#[cfg(feature = "metaimage")]
mod meta;
#[cfg(feature = "nrrd")]
mod nrrd;
mod volume;

use std::path::{Path, PathBuf};

#[cfg(feature = "nifti")]
use crate::Parts;
use crate::channels::stack;
#[cfg(feature = "nifti")]
use crate::nifti::{Opened, visit_all};
use crate::orient::{AxisCode, turn_image, turn_labels};
#[cfg(feature = "nifti")]
use crate::reader::{hand_on, hand_on_labels, labels_of};
#[cfg(feature = "nifti")]
use crate::stored::Source;
use crate::stored::{Kind, Pixels};
use crate::{CaseReader, Geometry, Image, ImageError, LabelMap};

/// Endings that nnU-Net's SimpleITKIO lists, and those of the same formats with separate data files.
pub(crate) const ENDINGS: &[&str] = &[
    #[cfg(feature = "nifti")]
    ".nii.gz",
    #[cfg(feature = "nrrd")]
    ".nrrd",
    #[cfg(feature = "metaimage")]
    ".mha",
    #[cfg(feature = "gipl")]
    ".gipl",
    #[cfg(feature = "nrrd")]
    ".nhdr",
    #[cfg(feature = "metaimage")]
    ".mhd",
    #[cfg(feature = "gipl")]
    ".gipl.gz",
];

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    #[cfg(feature = "nifti")]
    Nifti,
    #[cfg(feature = "nrrd")]
    Nrrd,
    #[cfg(feature = "metaimage")]
    Meta,
    #[cfg(feature = "gipl")]
    Gipl,
}

impl Format {
    /// The format that the name of a file promises.
    fn of(path: &Path) -> Result<Self, ImageError> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        #[cfg(feature = "nifti")]
        if ends(&[".nii", ".nii.gz"]) {
            return Ok(Self::Nifti);
        }
        #[cfg(feature = "nrrd")]
        if ends(&[".nrrd", ".nhdr"]) {
            return Ok(Self::Nrrd);
        }
        #[cfg(feature = "metaimage")]
        if ends(&[".mha", ".mhd"]) {
            return Ok(Self::Meta);
        }
        #[cfg(feature = "gipl")]
        if ends(&[".gipl", ".gipl.gz"]) {
            return Ok(Self::Gipl);
        }

        if path.is_dir() {
            return Err(ImageError::io(path, std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let available = format!("SimpleITKIO ({})", ENDINGS.join(" "));
        Err(ImageError::NoReader { what: path.display().to_string(), available })
    }
}

/// Reader and writer of everything that SimpleITK reads, as far as its codecs are compiled in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimpleItkReader {
    /// Whether images are turned to RAS.
    pub(crate) turn: bool,
}

impl SimpleItkReader {
    fn read(self, path: &Path) -> Result<Image, ImageError> {
        self.turned(path, read(path)?)
    }

    fn turned(self, path: &Path, image: Image) -> Result<Image, ImageError> {
        if !self.turn {
            return Ok(image);
        }
        let channels = image.data.dim().0;
        if channels != 1 {
            let reason =
                format!("expected a 3-D image to turn to RAS, found one with a fourth axis of {channels}");
            return Err(ImageError::format(path, reason));
        }
        let axes =
            AxisCode::of(&image.geometry).map_err(|e| ImageError::format(path, format!("{e} (to RAS)")))?;
        let mut turned = turn_image(image, axes, AxisCode::RAS);
        turned.geometry.file_axes = Some(axes);
        Ok(turned)
    }

    /// Hands the pixels of a file on to what writes them.
    fn with_pixels<T>(
        self,
        path: &Path,
        labels: &LabelMap,
        write: impl FnOnce(&Path, &Pixels<'_>, &Geometry) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let Some(axes) = labels.geometry.file_axes.filter(|_| self.turn) else {
            return write(path, &Pixels::of_labels(path, labels)?, &labels.geometry);
        };
        let turned = turn_labels(labels.clone(), AxisCode::RAS, axes);
        // The reference stores 8 bits here in any case.
        let pixels = match Pixels::of_labels(path, &turned)? {
            Pixels::Labels(data, _) if data.iter().all(|&label| label < 256) => {
                Pixels::Labels(data, Kind::U8)
            }
            _ => {
                let reason = "SimpleITKIOWithReorient writes labels in 8 bits, found one above 255";
                return Err(ImageError::format(path, reason));
            }
        };
        write(path, &pixels, &turned.geometry)
    }
}

impl CaseReader for SimpleItkReader {
    fn name(&self) -> &'static str {
        if self.turn { "SimpleITKIOWithReorient" } else { "SimpleITKIO" }
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        stack(channels, |path| self.read(path))
    }

    #[cfg(feature = "nifti")]
    fn read_labels(&self, path: &Path) -> Result<LabelMap, ImageError> {
        if self.turn || Format::of(path)? != Format::Nifti {
            return labels_of(path, self.read_segmentation(path)?);
        }
        Opened::as_itk(path, Source::open(path)?)?.labels(path)
    }

    #[cfg(feature = "nifti")]
    fn visit_images(&self, channels: &[PathBuf], parts: &mut dyn Parts<f32>) -> Result<Geometry, ImageError> {
        let nifti = |path: &PathBuf| Format::of(path).is_ok_and(|format| format == Format::Nifti);
        if self.turn || !channels.iter().all(nifti) {
            return hand_on(self.read_images(channels)?, parts);
        }
        visit_all(channels, Opened::as_itk, parts)
    }

    #[cfg(feature = "nifti")]
    fn visit_labels(&self, path: &Path, parts: &mut dyn Parts<i16>) -> Result<Geometry, ImageError> {
        if self.turn || Format::of(path)? != Format::Nifti {
            return hand_on_labels(self.read_labels(path)?, parts);
        }
        Opened::as_itk(path, Source::open(path)?)?.visit_labels(path, parts)
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
        self.with_pixels(path, labels, write)
    }

    #[cfg(feature = "nifti")]
    fn read_bytes(&self, channels: &[(&str, &[u8])]) -> Result<Image, ImageError> {
        crate::channels::stack_bytes(channels, |path, bytes| {
            nifti_alone(path)?;
            self.turned(path, Opened::as_itk(path, Source::of_bytes(path, bytes)?)?.image(path)?)
        })
    }

    #[cfg(feature = "nifti")]
    fn labels_to_bytes(&self, name: &str, labels: &LabelMap) -> Result<Vec<u8>, ImageError> {
        nifti_alone(Path::new(name))?;
        self.with_pixels(Path::new(name), labels, crate::nifti::bytes_as_itk)
    }
}

/// Refuses what cannot be read from memory.
#[cfg(feature = "nifti")]
fn nifti_alone(path: &Path) -> Result<(), ImageError> {
    match Format::of(path)? {
        Format::Nifti => Ok(()),
        #[cfg(any(feature = "nrrd", feature = "metaimage", feature = "gipl"))]
        _ => Err(ImageError::format(path, "only NIfTI is read from and written to memory")),
    }
}

fn read(path: &Path) -> Result<Image, ImageError> {
    match Format::of(path)? {
        #[cfg(feature = "nifti")]
        Format::Nifti => Opened::as_itk(path, Source::open(path)?)?.image(path),
        #[cfg(feature = "nrrd")]
        Format::Nrrd => nrrd::read(path),
        #[cfg(feature = "metaimage")]
        Format::Meta => meta::read(path),
        #[cfg(feature = "gipl")]
        Format::Gipl => gipl::read(path),
    }
}

fn write(path: &Path, pixels: &Pixels<'_>, geometry: &Geometry) -> Result<(), ImageError> {
    match Format::of(path)? {
        #[cfg(feature = "nifti")]
        Format::Nifti => crate::nifti::write_as_itk(path, pixels, geometry),
        #[cfg(feature = "nrrd")]
        Format::Nrrd => nrrd::write(path, pixels, geometry),
        #[cfg(feature = "metaimage")]
        Format::Meta => meta::write(path, pixels, geometry),
        #[cfg(feature = "gipl")]
        Format::Gipl => gipl::write(path, pixels, geometry),
    }
}

/// Writes an image of one channel as 32-bit floats, in the format that its name ends in: NIfTI (`.nii`, `.nii.gz`), NRRD
/// (`.nrrd`, `.nhdr`), MetaImage (`.mha`, `.mhd`) or GIPL (`.gipl`, `.gipl.gz`). NRRD and MetaImage data are compressed.
///
/// # Errors
/// More than one channel, a format that is not compiled in, a size that it cannot hold, or a file that cannot be written; no
/// partial file is left.
pub fn write_image(path: &Path, image: &Image) -> Result<(), ImageError> {
    write(path, &Pixels::of_image(path, image)?, &image.geometry)
}
