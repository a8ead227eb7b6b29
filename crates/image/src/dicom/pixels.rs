//! Values of the slices.

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::DefaultDicomObject;
use dicom_pixeldata::PixelDecoder;
use ndarray::Array4;

use super::slices::Slice;
use super::{caught, embedded, open, rle, uid};
use crate::{Geometry, Image, ImageError};

/// Voxels beyond this are taken for a lie.
const MOST_VOXELS: u64 = 1 << 32;
/// Transfer syntax of run-length encoding.
const RLE: &str = "1.2.840.10008.1.2.5";
/// No compression of the format does better than this.
const BEST_RATIO: u64 = 2048;

/// Reads the values of slices that stand in order.
pub(super) fn read(order: &[&Slice], geometry: Geometry) -> Result<Image, ImageError> {
    let first = order[0];
    let (rows, columns) = (first.rows as usize, first.columns as usize);
    let each = rows * columns;
    let path = &first.path;
    let voxels = (each as u64).saturating_mul(order.len() as u64);
    if voxels > MOST_VOXELS {
        return Err(ImageError::format(
            path,
            format!("{} slices of {rows} × {columns}: too many", order.len()),
        ));
    }
    let mut values = Vec::new();
    let mut file: Option<(&Path, Frames)> = None;
    for slice in order {
        if file.as_ref().is_none_or(|(path, _)| *path != slice.path) {
            drop(file.take());
            file = Some((&slice.path, Frames::read(&slice.path)?));
        }
        let Some((_, frames)) = &file else { continue };
        // Taken when the first slice has been decoded, so that sizes are known to be true.
        values
            .try_reserve_exact(voxels as usize - values.len())
            .map_err(|_| ImageError::format(path, format!("not enough memory for {voxels} voxels")))?;
        frames.append(slice, each, &mut values)?;
    }
    let data = Array4::from_shape_vec((1, order.len(), rows, columns), values)
        .map_err(|e| ImageError::format(path, format!("slices of {rows} × {columns}: {e}")))?;
    Ok(Image { data, geometry })
}

/// The values of one slice alone.
pub(super) fn one(slice: &Slice) -> Result<Vec<f32>, ImageError> {
    let mut values = Vec::new();
    Frames::read(&slice.path)?.append(slice, (slice.rows * slice.columns) as usize, &mut values)?;
    Ok(values)
}

/// Decoded frames of one file.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    size: usize,
    stored: u32,
    shift: u32,
    signed: bool,
}

impl Frames {
    fn read(path: &Path) -> Result<Self, ImageError> {
        Self::of(path, &open(path, None)?)
    }

    /// The frames of a file that has been opened whole.
    pub(super) fn of(path: &Path, object: &DefaultDicomObject) -> Result<Self, ImageError> {
        let number = |tag: Tag, name: &str, least: u32, most: u32| {
            let found = object.get(tag).and_then(|element| element.to_int::<u32>().ok());
            found.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
                let reason = format!("{tag} {name}: expected {least} to {most}, found {found:?}");
                ImageError::format(path, reason)
            })
        };
        let allocated = number(tags::BITS_ALLOCATED, "Bits Allocated", 8, 32)?;
        if !matches!(allocated, 8 | 16 | 32) {
            let reason = format!("(0028,0100) Bits Allocated: expected 8, 16 or 32, found {allocated}");
            return Err(ImageError::format(path, reason));
        }
        let stored = number(tags::BITS_STORED, "Bits Stored", 1, allocated)?;
        let high = number(tags::HIGH_BIT, "High Bit", stored - 1, allocated - 1)?;
        let signed = number(tags::PIXEL_REPRESENTATION, "Pixel Representation", 0, 1)? == 1;
        let rows = number(tags::ROWS, "Rows", 1, 65535)?;
        let columns = number(tags::COLUMNS, "Columns", 1, 65535)?;
        let frames =
            object.get(tags::NUMBER_OF_FRAMES).and_then(|element| element.to_int::<u32>().ok()).unwrap_or(1);
        let size = allocated as usize / 8;
        let expected = u64::from(rows) * u64::from(columns) * size as u64 * u64::from(frames);
        let bytes = decode(path, object, [rows, columns], expected, size)?;
        Ok(Self { bytes, size, stored, shift: high + 1 - stored, signed })
    }

    /// Appends the `each` values of a slice.
    pub(super) fn append(&self, slice: &Slice, each: usize, values: &mut Vec<f32>) -> Result<(), ImageError> {
        let bytes = each * self.size;
        let start = bytes * slice.frame as usize;
        let Some(frame) = self.bytes.get(start..start + bytes) else {
            let found = (self.bytes.len() as u64).saturating_sub(start as u64);
            return Err(ImageError::Truncated { path: slice.path.clone(), expected: bytes as u64, found });
        };
        let unused = 32 - self.stored;
        let value = |raw: u32| {
            let top = (raw >> self.shift) << unused;
            let stored = if self.signed { f64::from(top as i32 >> unused) } else { f64::from(top >> unused) };
            (stored * slice.slope + slice.intercept) as f32
        };
        match self.size {
            1 => values.extend(frame.iter().map(|&v| value(v.into()))),
            2 => values.extend(frame.as_chunks::<2>().0.iter().map(|&v| value(u16::from_le_bytes(v).into()))),
            _ => values.extend(frame.as_chunks::<4>().0.iter().map(|&v| value(u32::from_le_bytes(v)))),
        }
        Ok(())
    }
}

/// Bytes of all frames, least significant first.
fn decode(
    path: &Path,
    object: &DefaultDicomObject,
    plane: [u32; 2],
    expected: u64,
    size: usize,
) -> Result<Vec<u8>, ImageError> {
    let Some(element) = object.get(tags::PIXEL_DATA) else {
        return Err(ImageError::format(path, "(7FE0,0010) Pixel Data is missing"));
    };
    let fragments = element.fragments();
    let found = match fragments {
        Some(fragments) => fragments.iter().map(|f| f.len() as u64).sum::<u64>(),
        None => element.to_bytes().map_or(0, |bytes| bytes.len() as u64),
    };
    let most = if fragments.is_some() { found.saturating_mul(BEST_RATIO) } else { found };
    if most < expected {
        return Err(ImageError::Truncated { path: path.to_owned(), expected, found });
    }
    let syntax = object.meta().transfer_syntax().trim_end_matches('\0').to_owned();
    if let (RLE, Some(fragments)) = (syntax.as_str(), fragments) {
        return rle::decode(path, fragments, expected as usize, size);
    }
    if fragments.is_none() {
        let bytes = caught(|| element.to_bytes().map(|bytes| bytes.into_owned()));
        return bytes.ok_or_else(|| ImageError::format(path, "(7FE0,0010) Pixel Data: expected numbers"));
    }
    let found = fragments.unwrap_or_default().iter().filter_map(|part| embedded::size(part));
    if let Some(found) = found.into_iter().find(|found| *found != plane) {
        let reason = format!(
            "(7FE0,0010) Pixel Data: a compressed frame of {found:?} (rows, columns), expected {plane:?}"
        );
        return Err(ImageError::format(path, reason));
    }
    let decoded = caught(|| object.decode_pixel_data()).ok_or_else(|| {
        let syntax = uid(&syntax);
        let reason = format!(
            "(7FE0,0010) Pixel Data: cannot decode transfer syntax {syntax} (uncompressed, RLE and JPEG can be)"
        );
        ImageError::format(path, reason)
    })?;
    Ok(decoded.data().to_vec())
}
