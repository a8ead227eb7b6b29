//! GIPL (Guys Image Processing Lab) files: 256 bytes of header, then the values, most significant byte first. Directions are
//! not stored.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::frame::Space;
use super::volume::image;
use crate::fs::write_atomic;
use crate::stored::{Kind, Pixels, Source, count};
use crate::{Geometry, Image, ImageError};

const HEADER: usize = 256;
const MAGIC: u32 = 0xefff_e9b0;
/// What some older programs write.
const OTHER_MAGIC: u32 = 0x2ae3_89b8;

/// Types by their code.
const KINDS: [(u16, Kind); 7] = [
    (8, Kind::U8),
    (7, Kind::I8),
    (15, Kind::I16),
    (16, Kind::U16),
    (31, Kind::U32),
    (32, Kind::I32),
    (64, Kind::F32),
];
const F64: u16 = 65;

pub(super) fn read(path: &Path) -> Result<Image, ImageError> {
    let mut source = Source::open(path)?;
    let mut h = [0u8; HEADER];
    source.exact(&mut h, "header")?;
    let short = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
    let single = |at: usize| f32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let double = |at: usize| f64::from_be_bytes(std::array::from_fn(|i| h[at + i]));
    let magic = u32::from_be_bytes([h[252], h[253], h[254], h[255]]);
    if magic != MAGIC && magic != OTHER_MAGIC {
        return Err(source.wrong(format!("not a GIPL header: magic number {magic:#x}, expected {MAGIC:#x}")));
    }
    let mut sizes: Vec<u64> = (0..4).map(|k| u64::from(short(2 * k))).collect();
    if sizes[3] <= 1 {
        sizes.pop();
    }
    let voxels = count(path, &sizes)?;
    let code = short(8);
    let kind = KINDS.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    let kind = kind.or((code == F64).then_some(Kind::F64)).ok_or_else(|| {
        source.wrong(format!("image type {code} is not supported (integers and 32 or 64 bit floats are)"))
    })?;
    let mut space = Space::new(sizes.len());
    for k in 0..sizes.len() {
        space.spacing[k] = f64::from(single(10 + 4 * k));
        space.origin[k] = double(204 + 8 * k);
    }
    // Checked before the data are read.
    space.geometry(path)?;
    let values = source.values(voxels, kind, true, None)?;
    source.check_end()?;
    image(path, &sizes, values, &space)
}

pub(super) fn write(path: &Path, pixels: &Pixels<'_>, geometry: &Geometry) -> Result<(), ImageError> {
    let [z, y, x] = pixels.shape(path)?;
    let mut h = [0u8; HEADER];
    let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
    for (k, size) in [x, y, z, 1].into_iter().enumerate() {
        let size = u16::try_from(size).map_err(|_| {
            ImageError::format(path, format!("shape {:?} (z, y, x): GIPL stores sizes to 65535", [z, y, x]))
        })?;
        put(2 * k, &size.to_be_bytes());
    }
    let code = KINDS.iter().find(|(_, kind)| *kind == pixels.kind()).map_or(F64, |(code, _)| *code);
    put(8, &code.to_be_bytes());
    let flat = geometry.dims == 2 && z == 1;
    for k in 0..4 {
        let spacing = if k == 3 || (k == 2 && flat) { 1.0 } else { geometry.spacing[2 - k] as f32 };
        put(10 + 4 * k, &spacing.to_be_bytes());
        let origin = geometry.origin.get(k).copied().unwrap_or(0.0);
        put(204 + 8 * k, &origin.to_be_bytes());
    }
    put(26, b"No Patient Information");
    put(252, &MAGIC.to_be_bytes());
    let zipped = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    let written = write_atomic(path, |out| {
        if !zipped {
            out.write_all(&h)?;
            return pixels.write(out, true);
        }
        let mut gz = GzEncoder::new(out, Compression::new(6));
        gz.write_all(&h)?;
        pixels.write(&mut gz, true)?;
        gz.finish().map(drop)
    });
    written.map_err(|e| ImageError::io(path, e))
}
