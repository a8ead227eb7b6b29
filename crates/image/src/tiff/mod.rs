//! TIFF stacks. The `tiff` crate decodes pages; what becomes of them follows tifffile: pages of the size and type of the first
//! make the stack, and the shape that tifffile leaves in the description of the first page counts.

mod decode;
mod pages;
mod sidecar;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis};
use tiff::encoder::colortype::{Gray8, Gray16};
use tiff::encoder::{Compression, DeflateLevel, TiffEncoder};
use tiff::tags::Tag;

use crate::channels::stack;
use crate::fs::write_atomic;
use crate::{CaseReader, Geometry, Image, ImageError, LabelMap};

pub(crate) use decode::read;

/// Endings that nnU-Net's Tiff3DIO lists.
pub(crate) const ENDINGS: &[&str] = &[".tif", ".tiff"];

/// An array as tifffile would give it.
pub(crate) struct Stack {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Reader and writer of 3-D TIFF stacks. Axes stay as they are stored. The spacing, in the order of the array axes, comes from
/// `{"spacing": [a, b, c]}` in a file beside the image, `case.json` for `case_0000.tif` and for the segmentation `case.tif`;
/// without such a file it is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TiffReader;

impl TiffReader {
    fn read(self, path: &Path, spacing: [f64; 3]) -> Result<Image, ImageError> {
        let Stack { shape, values } = read(path)?;
        let [z, y, x] = *shape.as_slice() else {
            let reason = format!("expected a 3-D stack, found an array of shape {shape:?}");
            return Err(ImageError::format(path, reason));
        };
        let data = Array4::from_shape_vec((1, z, y, x), values)
            .map_err(|e| ImageError::format(path, format!("shape {shape:?}: {e}")))?;
        Ok(Image { data, geometry: Geometry { spacing, ..Geometry::default() } })
    }
}

impl CaseReader for TiffReader {
    fn name(&self) -> &'static str {
        "Tiff3DIO"
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        let spacing = match channels.first() {
            Some(first) => sidecar::read(&sidecar::of_image(first))?,
            None => [1.0; 3],
        };
        stack(channels, |path| self.read(path, spacing))
    }

    fn read_segmentation(&self, path: &Path) -> Result<Image, ImageError> {
        self.read(path, sidecar::read(&sidecar::of_labels(path))?)
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
        let (z, y, x) = labels.data.dim();
        write(path, labels, true, Some(&format!("{{\"shape\": [{z}, {y}, {x}]}}")))?;
        sidecar::write(&sidecar::of_labels(path), labels.geometry.spacing)
    }
}

/// Writes labels in 8 or 16 bits, one page per slice.
pub(crate) fn write(
    path: &Path,
    labels: &LabelMap,
    compress: bool,
    description: Option<&str>,
) -> Result<(), ImageError> {
    let (_, y, x) = labels.data.dim();
    if labels.data.is_empty() {
        return Err(ImageError::format(path, format!("shape {:?}: there is no voxel", labels.data.dim())));
    }
    let wide = crate::channels::wide(path, labels)?;
    let failed = |e: tiff::TiffError| ImageError::format(path, format!("cannot encode: {e}"));
    let size = |n: usize| u32::try_from(n).map_err(|_| ImageError::format(path, "an axis is too long"));
    let (width, height) = (size(x)?, size(y)?);
    let compression =
        if compress { Compression::Deflate(DeflateLevel::Balanced) } else { Compression::Uncompressed };
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).map_err(failed)?.with_compression(compression);
    for (slice, data) in labels.data.axis_iter(Axis(0)).enumerate() {
        let description = description.filter(|_| slice == 0);
        macro_rules! page {
            ($colour:ty, $t:ty) => {{
                let mut page = encoder.new_image::<$colour>(width, height).map_err(failed)?;
                if let Some(text) = description {
                    page.encoder().write_tag(Tag::ImageDescription, text).map_err(failed)?;
                }
                let values: Vec<$t> = data.iter().map(|&label| label as $t).collect();
                page.write_data(&values).map_err(failed)?;
            }};
        }
        if wide { page!(Gray16, u16) } else { page!(Gray8, u8) }
    }
    write_atomic(path, |out| out.write_all(bytes.get_ref())).map_err(|e| ImageError::io(path, e))
}
