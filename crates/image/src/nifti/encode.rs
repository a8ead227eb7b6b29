//! Values to bytes: NIfTI-1 in one file, qform and sform from the geometry, gzip where the name asks for it.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::Flavour;
use crate::fs::write_atomic;
use crate::geometry::determinant;
use crate::stored::{Kind, Pixels};
use crate::{Geometry, ImageError};

/// Bytes before the data: the header and four that say that no extension follows.
const OFFSET: usize = 352;

/// Writes one channel.
pub(super) fn write(
    path: &Path,
    pixels: &Pixels<'_>,
    geometry: &Geometry,
    flavour: Flavour,
) -> Result<(), ImageError> {
    let encode = encoder(path, pixels, geometry, flavour)?;
    write_atomic(path, encode).map_err(|e| ImageError::io(path, e))
}

/// The bytes of a file of this name.
pub(super) fn bytes(
    path: &Path,
    pixels: &Pixels<'_>,
    geometry: &Geometry,
    flavour: Flavour,
) -> Result<Vec<u8>, ImageError> {
    let encode = encoder(path, pixels, geometry, flavour)?;
    let mut bytes = Vec::new();
    encode(&mut bytes).map_err(|e| ImageError::io(path, e))?;
    Ok(bytes)
}

/// What writes the file.
fn encoder(
    path: &Path,
    pixels: &Pixels<'_>,
    geometry: &Geometry,
    flavour: Flavour,
) -> Result<impl FnOnce(&mut dyn Write) -> std::io::Result<()>, ImageError> {
    let target = Target { path, geometry, flavour };
    let (datatype, size) = match pixels.kind() {
        Kind::U8 => (2, 1),
        Kind::U16 => (512, 2),
        _ => (16, 4),
    };
    let header = target.header(pixels.shape(path)?, datatype, size)?;
    let zipped = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    Ok(move |out: &mut dyn Write| {
        if !zipped {
            out.write_all(&header)?;
            return pixels.write(out, false);
        }
        let mut gz = GzEncoder::new(out, Compression::new(6));
        gz.write_all(&header)?;
        pixels.write(&mut gz, false)?;
        gz.finish().map(drop)
    })
}

/// The header of 32-bit floats, with the bytes that say that no extension follows.
#[cfg(feature = "npz")]
pub(super) fn header(
    path: &Path,
    shape: [usize; 3],
    geometry: &Geometry,
    flavour: Flavour,
) -> Result<Vec<u8>, ImageError> {
    Ok(Target { path, geometry, flavour }.header(shape, 16, 4)?.to_vec())
}

/// Where an array goes.
struct Target<'a> {
    path: &'a Path,
    geometry: &'a Geometry,
    flavour: Flavour,
}

impl Target<'_> {
    fn header(&self, [z, y, x]: [usize; 3], datatype: i16, size: usize) -> Result<[u8; OFFSET], ImageError> {
        if [z, y, x].iter().any(|&n| n > 32767) {
            let reason = format!("shape {:?} (z, y, x): NIfTI-1 stores sizes from 1 to 32767", [z, y, x]);
            return Err(ImageError::format(self.path, reason));
        }
        let flat = self.geometry.dims == 2 && z == 1;
        let frame = Frame::new(self.geometry, flat, self.flavour);
        let mut h = [0u8; OFFSET];
        let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &348i32.to_le_bytes());
        put(38, b"r");
        let dims = [if flat { 2 } else { 3 }, x, y, z, 1, 1, 1, 1];
        for (i, (n, zoom)) in dims.into_iter().zip(frame.zooms).enumerate() {
            put(40 + 2 * i, &(n as i16).to_le_bytes());
            put(76 + 4 * i, &(zoom as f32).to_le_bytes());
        }
        put(70, &datatype.to_le_bytes());
        put(72, &(8 * size as i16).to_le_bytes());
        put(108, &(OFFSET as f32).to_le_bytes());
        put(112, &1f32.to_le_bytes());
        put(123, &[frame.units]);
        put(252, &frame.qform_code.to_le_bytes());
        put(254, &frame.sform_code.to_le_bytes());
        for (i, value) in frame.quaternion.into_iter().chain(frame.rows.map(|row| row[3])).enumerate() {
            put(256 + 4 * i, &(value as f32).to_le_bytes());
        }
        for (i, value) in frame.rows.as_flattened().iter().enumerate() {
            put(280 + 4 * i, &(*value as f32).to_le_bytes());
        }
        put(344, b"n+1\0");
        Ok(h)
    }
}

/// What a header says about the place in space.
struct Frame {
    /// Upper rows of the affine from voxel indices (x, y, z) to millimetres (RAS).
    rows: [[f64; 4]; 3],
    zooms: [f64; 8],
    quaternion: [f64; 3],
    qform_code: i16,
    sform_code: i16,
    units: u8,
}

impl Frame {
    /// ITK writes both forms and says millimetres and seconds; nibabel writes the affine alone and says nothing.
    fn new(geometry: &Geometry, flat: bool, flavour: Flavour) -> Self {
        let [sz, sy, sx] = geometry.spacing;
        let spacing = [sx, sy, if flat { 1.0 } else { sz }];
        let rows: [[f64; 4]; 3] = std::array::from_fn(|row| {
            let sign = if row < 2 { -1.0 } else { 1.0 };
            let d = geometry.direction[row];
            [
                sign * d[0] * spacing[0],
                sign * d[1] * spacing[1],
                sign * d[2] * spacing[2],
                sign * geometry.origin[row],
            ]
        });
        match flavour {
            Flavour::SimpleItk => {
                let (quaternion, handedness) = quaternion(geometry);
                let zooms = [handedness, spacing[0], spacing[1], spacing[2], 0.0, 0.0, 0.0, 0.0];
                Self { rows, zooms, quaternion, qform_code: 1, sform_code: 1, units: 2 | 8 }
            }
            Flavour::Nibabel => {
                let length =
                    |column: usize| rows.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
                let zooms = [1.0, length(0), length(1), length(2), 1.0, 1.0, 1.0, 1.0];
                Self { rows, zooms, quaternion: [0.0; 3], qform_code: 0, sform_code: 2, units: 0 }
            }
        }
    }
}

/// Quaternion (b, c, d) of the rotation (RAS), and −1 if the frame is left-handed.
fn quaternion(geometry: &Geometry) -> ([f64; 3], f64) {
    let mut r: [[f64; 3]; 3] = geometry.direction;
    r[0] = r[0].map(|v| -v);
    r[1] = r[1].map(|v| -v);
    let handedness = if determinant(&r) < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= handedness);
    // The largest of the four components is computed first, so that no division is by a small number.
    let trace = r[0][0] + r[1][1] + r[2][2];
    let [a, b, c, d] = if trace > 0.5 {
        let a = 0.5 * (1.0 + trace).sqrt();
        [a, (r[2][1] - r[1][2]) / (4.0 * a), (r[0][2] - r[2][0]) / (4.0 * a), (r[1][0] - r[0][1]) / (4.0 * a)]
    } else if r[0][0] >= r[1][1] && r[0][0] >= r[2][2] {
        let b = 0.5 * (1.0 + r[0][0] - r[1][1] - r[2][2]).max(1e-12).sqrt();
        [(r[2][1] - r[1][2]) / (4.0 * b), b, (r[0][1] + r[1][0]) / (4.0 * b), (r[0][2] + r[2][0]) / (4.0 * b)]
    } else if r[1][1] >= r[2][2] {
        let c = 0.5 * (1.0 + r[1][1] - r[0][0] - r[2][2]).max(1e-12).sqrt();
        [(r[0][2] - r[2][0]) / (4.0 * c), (r[0][1] + r[1][0]) / (4.0 * c), c, (r[1][2] + r[2][1]) / (4.0 * c)]
    } else {
        let d = 0.5 * (1.0 + r[2][2] - r[0][0] - r[1][1]).max(1e-12).sqrt();
        [(r[1][0] - r[0][1]) / (4.0 * d), (r[0][2] + r[2][0]) / (4.0 * d), (r[1][2] + r[2][1]) / (4.0 * d), d]
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    ([sign * b, sign * c, sign * d], handedness)
}
