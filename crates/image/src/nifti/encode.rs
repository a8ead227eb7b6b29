//! Values to bytes: NIfTI-1 in one file, qform and sform from the geometry, gzip where the name asks for it.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use ndarray::ArrayView3;

use super::affine;
use crate::fs::write_atomic;
use crate::{Geometry, Image, ImageError, LabelMap};

const OFFSET: usize = 352;

/// Writes an image of one channel as 32-bit floats.
///
/// # Errors
/// More than one channel, an axis longer than 32767, or a file that cannot be written.
pub fn write_image(path: &Path, image: &Image) -> Result<(), ImageError> {
    let channels = image.data.dim().0;
    if channels != 1 {
        return Err(ImageError::format(path, format!("a file holds one channel, the image has {channels}")));
    }
    let data = image.data.index_axis(ndarray::Axis(0), 0);
    write(path, data, &image.geometry, 16, 4, |value, bytes| bytes.extend(value.to_le_bytes()))
}

/// Writes labels in 8 bits if the largest is below 255, in 16 bits otherwise.
pub(super) fn write_labels(path: &Path, labels: &LabelMap) -> Result<(), ImageError> {
    let largest = labels.data.iter().copied().max().unwrap_or(0);
    if let Some(&negative) = labels.data.iter().find(|&&label| label < 0) {
        return Err(ImageError::format(path, format!("cannot write label {negative}: labels are written unsigned")));
    }
    let view = labels.data.view();
    if largest < 255 {
        write(path, view, &labels.geometry, 2, 1, |label, bytes| bytes.push(label as u8))
    } else {
        write(path, view, &labels.geometry, 512, 2, |label, bytes| bytes.extend((label as u16).to_le_bytes()))
    }
}

fn write<T: Copy>(
    path: &Path,
    data: ArrayView3<'_, T>,
    geometry: &Geometry,
    datatype: i16,
    size: usize,
    encode: impl Fn(T, &mut Vec<u8>),
) -> Result<(), ImageError> {
    let header = header(path, data.dim().into(), geometry, datatype, size)?;
    let mut bytes = Vec::with_capacity(data.len() * size);
    data.iter().for_each(|&value| encode(value, &mut bytes));
    let zipped = path.extension().is_some_and(|e| e == "gz");
    write_atomic(path, |out| {
        if zipped {
            let mut gz = GzEncoder::new(out, Compression::new(6));
            gz.write_all(&header)?;
            gz.write_all(&bytes)?;
            gz.finish().map(drop)
        } else {
            out.write_all(&header)?;
            out.write_all(&bytes)
        }
    })
    .map_err(|e| ImageError::io(path, e))
}

/// The 348 bytes of the header and 4 that say that no extension follows.
fn header(
    path: &Path,
    [z, y, x]: [usize; 3],
    geometry: &Geometry,
    datatype: i16,
    size: usize,
) -> Result<[u8; OFFSET], ImageError> {
    if [z, y, x].iter().any(|&n| n == 0 || n > 32767) {
        let reason = format!("shape {:?} (z, y, x): NIfTI-1 stores sizes from 1 to 32767", [z, y, x]);
        return Err(ImageError::format(path, reason));
    }
    let mut h = [0u8; OFFSET];
    let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    put(38, b"r");
    let axes = if geometry.dims == 2 && z == 1 { 2 } else { 3 };
    let dims = [axes, x, y, z, 1, 1, 1, 1];
    let [sz, sy, sx] = geometry.spacing;
    let depth = if axes == 2 { 1.0 } else { sz };
    let (quaternion, handedness) = quaternion(geometry);
    let zooms = [handedness, sx, sy, depth, 0.0, 0.0, 0.0, 0.0];
    for (i, (n, zoom)) in dims.into_iter().zip(zooms).enumerate() {
        put(40 + 2 * i, &(n as i16).to_le_bytes());
        put(76 + 4 * i, &(zoom as f32).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &(8 * size as i16).to_le_bytes());
    put(108, &(OFFSET as f32).to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(123, &[2 | 8]);
    put(252, &1i16.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    let mut plain = geometry.clone();
    plain.spacing[0] = depth;
    let rows = affine(&plain);
    for (i, value) in quaternion.into_iter().chain(rows.map(|row| row[3])).enumerate() {
        put(256 + 4 * i, &(value as f32).to_le_bytes());
    }
    for (i, value) in rows.as_flattened().iter().enumerate() {
        put(280 + 4 * i, &(*value as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    Ok(h)
}

/// Quaternion (b, c, d) of the rotation (RAS), and −1 if the frame is left-handed.
fn quaternion(geometry: &Geometry) -> ([f64; 3], f64) {
    let mut r: [[f64; 3]; 3] = geometry.direction;
    r[0] = r[0].map(|v| -v);
    r[1] = r[1].map(|v| -v);
    let determinant = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1])
        - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
        + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
    let handedness = if determinant < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= handedness);
    // The largest of the four components is computed first, so that no division is by a small number.
    let trace = r[0][0] + r[1][1] + r[2][2];
    let [a, b, c, d] = if trace > 0.5 {
        let a = 0.5 * (1.0 + trace).sqrt();
        [a, (r[2][1] - r[1][2]) / (4.0 * a), (r[0][2] - r[2][0]) / (4.0 * a), (r[1][0] - r[0][1]) / (4.0 * a)]
    } else if r[0][0] >= r[1][1] && r[0][0] >= r[2][2] {
        let b = 0.5 * (1.0 + r[0][0] - r[1][1] - r[2][2]).max(0.0).sqrt();
        [(r[2][1] - r[1][2]) / (4.0 * b), b, (r[0][1] + r[1][0]) / (4.0 * b), (r[0][2] + r[2][0]) / (4.0 * b)]
    } else if r[1][1] >= r[2][2] {
        let c = 0.5 * (1.0 + r[1][1] - r[0][0] - r[2][2]).max(0.0).sqrt();
        [(r[0][2] - r[2][0]) / (4.0 * c), (r[0][1] + r[1][0]) / (4.0 * c), c, (r[1][2] + r[2][1]) / (4.0 * c)]
    } else {
        let d = 0.5 * (1.0 + r[2][2] - r[0][0] - r[1][1]).max(0.0).sqrt();
        [(r[1][0] - r[0][1]) / (4.0 * d), (r[0][2] + r[2][0]) / (4.0 * d), (r[1][2] + r[2][1]) / (4.0 * d), d]
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    ([sign * b, sign * c, sign * d], handedness)
}
