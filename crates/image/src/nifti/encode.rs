//! Values to bytes: NIfTI-1 in one file, qform and sform from the geometry, gzip where the name asks for it.

use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use ndarray::ArrayView3;

use super::Flavour;
use super::frame::determinant;
use crate::fs::write_atomic;
use crate::{Geometry, Image, ImageError, LabelMap};

/// Bytes before the data: the header and four that say that no extension follows.
const OFFSET: usize = 352;
/// Values that are encoded at a time.
const BLOCK: usize = 1 << 16;

/// Writes an image of one channel as 32-bit floats, gzipped if the name ends in `.gz`.
///
/// # Errors
/// More than one channel, an axis longer than 32767, or a file that cannot be written; no partial file is left.
pub fn write_image(path: &Path, image: &Image) -> Result<(), ImageError> {
    let channels = image.data.dim().0;
    if channels != 1 {
        return Err(ImageError::format(path, format!("a file holds one channel, the image has {channels}")));
    }
    let data = image.data.index_axis(ndarray::Axis(0), 0);
    let target = Target { path, geometry: &image.geometry, flavour: Flavour::SimpleItk };
    target.write(data, 16, |value: f32| value.to_le_bytes())
}

/// Writes labels in 8 bits if the largest is below 255, in 16 bits otherwise.
pub(super) fn write_labels(path: &Path, labels: &LabelMap, flavour: Flavour) -> Result<(), ImageError> {
    let largest = labels.data.iter().copied().max().unwrap_or(0);
    if let Some(&negative) = labels.data.iter().find(|&&label| label < 0) {
        return Err(ImageError::format(
            path,
            format!("cannot write label {negative}: labels are written unsigned"),
        ));
    }
    let view = labels.data.view();
    let target = Target { path, geometry: &labels.geometry, flavour };
    if largest < 255 {
        target.write(view, 2, |label: i16| [label as u8])
    } else {
        target.write(view, 512, |label: i16| (label as u16).to_le_bytes())
    }
}

/// Where an array goes.
struct Target<'a> {
    path: &'a Path,
    geometry: &'a Geometry,
    flavour: Flavour,
}

impl Target<'_> {
    fn write<T: Copy, const N: usize>(
        &self,
        data: ArrayView3<'_, T>,
        datatype: i16,
        encode: impl Fn(T) -> [u8; N],
    ) -> Result<(), ImageError> {
        let header = self.header(data.dim().into(), datatype, N)?;
        let data = data.as_standard_layout();
        let values = data.as_slice().unwrap_or_default();
        let body = |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(&header)?;
            for block in values.chunks(BLOCK) {
                out.write_all(block.iter().map(|&v| encode(v)).collect::<Vec<_>>().as_flattened())?;
            }
            Ok(())
        };
        let zipped = self.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let written = write_atomic(self.path, |out| {
            if !zipped {
                return body(out);
            }
            let mut gz = GzEncoder::new(out, Compression::new(6));
            body(&mut gz)?;
            gz.finish().map(drop)
        });
        written.map_err(|e| ImageError::io(self.path, e))
    }

    fn header(&self, [z, y, x]: [usize; 3], datatype: i16, size: usize) -> Result<[u8; OFFSET], ImageError> {
        if [z, y, x].iter().any(|&n| n == 0 || n > 32767) {
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
