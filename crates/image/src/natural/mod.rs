//! 2-D images in grey or colour, PNG, BMP or TIFF, as scikit-image gives them.

mod bmp;
mod png;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};

use crate::channels::stack;
use crate::fs::write_atomic;
use crate::tiff::Stack;
use crate::{CaseReader, Geometry, Image, ImageError, LabelMap};

/// Endings that nnU-Net's NaturalImage2DIO lists.
pub(crate) const ENDINGS: &[&str] = &[".png", ".bmp", ".tif"];

/// Pixels beyond this are taken for a lie.
const MOST_PIXELS: u64 = 1 << 30;

/// Decoded pixels, row by row, colours side by side.
struct Pixels {
    width: usize,
    height: usize,
    /// 1 for grey, 3 for red, green, blue, 4 with alpha.
    colours: usize,
    values: Vec<f32>,
}

/// Reader and writer of 2-D images. Each colour is a channel; the spacing is always (999, 1, 1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct NaturalReader;

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|found| endings.iter().any(|ending| found.eq_ignore_ascii_case(ending)))
}

fn read(path: &Path) -> Result<Image, ImageError> {
    if has_ending(path, &["tif", "tiff"]) {
        return read_tiff(path);
    }
    let io = |e| ImageError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(ImageError::format(path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(about.len()).read_to_end(&mut bytes).map_err(io)?;
    let pixels = match bytes.as_slice() {
        [] => return Err(ImageError::format(path, "the file is empty")),
        [0x89, b'P', b'N', b'G', ..] => png::decode(path, &bytes)?,
        [b'B', b'M', ..] => bmp::decode(path, &bytes)?,
        _ => return Err(ImageError::format(path, "neither a PNG nor a BMP file, by its first bytes")),
    };
    let Pixels { width, height, colours, values } = pixels;
    image(path, [height, width, colours], values)
}

fn read_tiff(path: &Path) -> Result<Image, ImageError> {
    let Stack { shape, values } = crate::tiff::read(path)?;
    match *shape.as_slice() {
        [y, x] => image(path, [y, x, 1], values),
        [y, x, colours @ (3 | 4)] => image(path, [y, x, colours], values),
        // scikit-image takes three or four pages for colours.
        [colours @ (3 | 4), y, x] => channels(path, (colours, 1, y, x), values),
        _ => {
            let reason = format!("array of shape {shape:?}: expected (y, x), or (y, x, 3 or 4) in colour");
            Err(ImageError::format(path, reason))
        }
    }
}

/// `shape` is rows, columns, colours.
fn image(path: &Path, shape: [usize; 3], values: Vec<f32>) -> Result<Image, ImageError> {
    let wrong = |e: ndarray::ShapeError| ImageError::format(path, format!("shape {shape:?}: {e}"));
    let [y, x, colours] = shape;
    let data = Array3::from_shape_vec((y, x, colours), values).map_err(wrong)?;
    let data = data.permuted_axes([2, 0, 1]).as_standard_layout().into_owned();
    channels(path, (colours, 1, y, x), data.into_raw_vec_and_offset().0)
}

fn channels(path: &Path, shape: (usize, usize, usize, usize), values: Vec<f32>) -> Result<Image, ImageError> {
    let data = Array4::from_shape_vec(shape, values)
        .map_err(|e| ImageError::format(path, format!("shape {shape:?}: {e}")))?;
    let geometry = Geometry { spacing: [999.0, 1.0, 1.0], dims: 2, ..Geometry::default() };
    Ok(Image { data, geometry })
}

/// Refuses sizes that a file of `length` bytes cannot hold, at `ratio` times its size.
fn check_size(path: &Path, width: u64, height: u64, length: u64, ratio: u64) -> Result<(), ImageError> {
    let pixels = width.saturating_mul(height);
    if pixels == 0 || pixels > MOST_PIXELS.min(length.saturating_mul(ratio)) {
        let reason = format!("{width} × {height} pixels in a file of {length} bytes cannot be");
        return Err(ImageError::format(path, reason));
    }
    Ok(())
}

impl CaseReader for NaturalReader {
    fn name(&self) -> &'static str {
        "NaturalImage2DIO"
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        stack(channels, read)
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
        let (slices, y, x) = labels.data.dim();
        if slices != 1 || y == 0 || x == 0 {
            let reason = format!("expected one slice to write, found shape {:?} (z, y, x)", [slices, y, x]);
            return Err(ImageError::format(path, reason));
        }
        if has_ending(path, &["tif", "tiff"]) {
            return crate::tiff::write(path, labels, false, None);
        }
        let wide = crate::channels::wide(path, labels)?;
        let values: Vec<u16> = labels.data.iter().map(|&label| label as u16).collect();
        let bytes = match (has_ending(path, &["png"]), has_ending(path, &["bmp"])) {
            (true, _) => png::encode(path, [y, x], &values, wide)?,
            (_, true) if !wide => bmp::encode(path, [y, x], &values)?,
            (_, true) => {
                return Err(ImageError::format(path, "BMP holds labels to 254, there are larger ones"));
            }
            _ => return Err(ImageError::format(path, "expected a name that ends in .png, .bmp or .tif")),
        };
        write_atomic(path, |out| out.write_all(&bytes)).map_err(|e| ImageError::io(path, e))
    }
}
