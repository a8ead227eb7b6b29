//! Bytes to values. The header comes from the `nifti` crate; the body is decoded here, so that memory is bounded by what
//! the file really holds and values get their scale in the same precision as in the reference readers.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use nifti::{Endianness, NiftiHeader};

use crate::ImageError;

/// Size of a NIfTI-1 header.
const HEADER: usize = 348;
/// Voxels beyond this are taken for a lie.
const MOST_VOXELS: u64 = 1 << 36;

/// The part of a header that matters here.
pub(super) struct Header {
    pub(super) inner: NiftiHeader,
}

impl Header {
    /// Sizes along x, y, z, …, without trailing axes of length 1 beyond the third.
    pub(super) fn shape(&self, path: &Path) -> Result<Vec<usize>, ImageError> {
        let dim = self.inner.dim;
        let axes = usize::from(dim[0]);
        if !(1..=7).contains(&axes) {
            return Err(ImageError::format(path, format!("dim[0] is {axes}, expected 1 to 7")));
        }
        let mut shape: Vec<usize> = dim[1..=axes].iter().map(|&n| usize::from(n)).collect();
        if shape.contains(&0) || shape.iter().any(|&n| n > 32767) {
            return Err(ImageError::format(path, format!("dim is {dim:?}: every size must be from 1 to 32767")));
        }
        while shape.len() > 3 && shape.last() == Some(&1) {
            shape.pop();
        }
        Ok(shape)
    }
}

/// Reads header and values; the values are in file order (x fastest) with slope and intercept applied.
pub(super) fn read(path: &Path) -> Result<(Header, Vec<f32>), ImageError> {
    let file = File::open(path).map_err(|e| ImageError::io(path, e))?;
    let length = file.metadata().map_err(|e| ImageError::io(path, e))?.len();
    if length == 0 {
        return Err(ImageError::format(path, "the file is empty"));
    }
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut start = [0u8; 2];
    reader.read_exact(&mut start).map_err(|_| ImageError::format(path, "the file has one byte"))?;
    let rest = (&start[..]).chain(reader);
    let gzipped = start == [0x1f, 0x8b];
    if !gzipped && path.extension().is_some_and(|e| e == "gz") {
        return Err(ImageError::format(path, "not gzip data, although the name ends in .gz"));
    }
    if gzipped { body(path, MultiGzDecoder::new(rest)) } else { body(path, rest) }
}

fn body(path: &Path, mut reader: impl Read) -> Result<(Header, Vec<f32>), ImageError> {
    let bytes = take(path, &mut reader, HEADER as u64, "header")?;
    let inner = NiftiHeader::from_reader(bytes.as_slice())
        .map_err(|e| ImageError::format(path, format!("not a NIfTI-1 header: {e}")))?;
    if &inner.magic != b"n+1\0" {
        let reason = format!("magic is {:?}, expected \"n+1\" (one file)", String::from_utf8_lossy(&inner.magic));
        return Err(ImageError::format(path, reason));
    }
    let header = Header { inner };
    let voxels = header.shape(path)?.iter().try_fold(1u64, |n, &s| n.checked_mul(s as u64));
    let voxels = voxels
        .filter(|&n| n <= MOST_VOXELS)
        .ok_or_else(|| ImageError::format(path, format!("dim is {:?}: too many voxels", header.inner.dim)))?;
    let offset = header.inner.vox_offset;
    if !(HEADER as f32..=1e9).contains(&offset) {
        return Err(ImageError::format(path, format!("vox_offset is {offset}, expected at least 348")));
    }
    take(path, &mut reader, offset as u64 - HEADER as u64, "header extension")?;
    let kind = Kind::of(&header.inner, path)?;
    let data = take(path, &mut reader, voxels * kind.size() as u64, "data")?;
    let values = kind.decode(&data, header.inner.endianness, scale(&header.inner));
    Ok((header, values))
}

/// Exactly `n` bytes; memory grows with what arrives, not with what is promised.
fn take(path: &Path, reader: &mut impl Read, n: u64, what: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::with_capacity(n.min(1 << 26) as usize);
    let result = reader.by_ref().take(n).read_to_end(&mut bytes);
    let found = bytes.len() as u64;
    match result {
        Ok(_) if found == n => Ok(bytes),
        Ok(_) => Err(ImageError::Truncated { path: path.to_owned(), expected: n, found }),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(ImageError::Truncated { path: path.to_owned(), expected: n, found })
        }
        Err(e) => Err(ImageError::format(path, format!("cannot read the {what}: {e}"))),
    }
}

/// Slope and intercept, if they change anything.
fn scale(header: &NiftiHeader) -> Option<(f64, f64)> {
    let (slope, inter) = (f64::from(header.scl_slope), f64::from(header.scl_inter));
    if !slope.is_finite() || slope == 0.0 {
        return None;
    }
    let inter = if inter.is_finite() { inter } else { 0.0 };
    (slope != 1.0 || inter != 0.0).then_some((slope, inter))
}

/// Type of the stored values.
#[derive(Debug, Clone, Copy)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    fn of(header: &NiftiHeader, path: &Path) -> Result<Self, ImageError> {
        Ok(match header.datatype {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            other => {
                let reason = format!("data type {other} is not supported (integers and 32 or 64 bit floats are)");
                return Err(ImageError::format(path, reason));
            }
        })
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8], order: Endianness, scale: Option<(f64, f64)>) -> Vec<f32> {
        macro_rules! values {
            ($t:ty) => {{
                let big = order == Endianness::Big;
                let value = |chunk: &[u8]| {
                    let mut raw = [0u8; size_of::<$t>()];
                    raw.copy_from_slice(chunk);
                    let value = if big { <$t>::from_be_bytes(raw) } else { <$t>::from_le_bytes(raw) };
                    match scale {
                        Some((slope, inter)) => (value as f64 * slope + inter) as f32,
                        None => value as f32,
                    }
                };
                bytes.chunks_exact(size_of::<$t>()).map(value).collect()
            }};
        }
        match self {
            Self::U8 => values!(u8),
            Self::I8 => values!(i8),
            Self::U16 => values!(u16),
            Self::I16 => values!(i16),
            Self::U32 => values!(u32),
            Self::I32 => values!(i32),
            Self::U64 => values!(u64),
            Self::I64 => values!(i64),
            Self::F32 => values!(f32),
            Self::F64 => values!(f64),
        }
    }
}
