//! Bytes to values. The header comes from the `nifti` crate; the body is decoded here, so that memory is bounded by what
//! the file really holds and values get their scale in the same precision as in the reference readers.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use nifti::{Endianness, NiftiHeader};

use super::Flavour;
use super::values::{Kind, Scale};
use crate::ImageError;

/// Size of a NIfTI-1 header.
const HEADER: u64 = 348;
/// Voxels beyond this are taken for a lie.
const MOST_VOXELS: u64 = 1 << 36;
/// Header extensions beyond this are taken for a lie.
const MOST_OFFSET: f32 = 1e9;
/// Bytes that are decoded at a time; a multiple of every size of a value.
const BLOCK: usize = 1 << 18;

/// What a file holds.
pub(super) struct Volume {
    pub(super) header: NiftiHeader,
    /// Sizes along x, y, z, …, without trailing axes of length 1 beyond the third.
    pub(super) shape: Vec<usize>,
    /// Values in file order (x fastest) with slope and intercept applied.
    pub(super) values: Vec<f32>,
}

/// Reads header and values.
pub(super) fn read(path: &Path, flavour: Flavour) -> Result<Volume, ImageError> {
    let io = |e| ImageError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut start = [0u8; 2];
    match fill(&mut reader, &mut start).map_err(io)? {
        0 => return Err(ImageError::format(path, "the file is empty")),
        1 => return Err(ImageError::format(path, "the file has one byte, expected a NIfTI-1 image")),
        _ => {}
    }
    let rest = (&start[..]).chain(reader);
    let gzipped = start == [0x1f, 0x8b];
    if !gzipped && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
        return Err(ImageError::format(path, "not gzip data, although the name ends in .gz"));
    }
    let body = Body { path, flavour };
    if !gzipped {
        return body.read(rest, Some(length));
    }
    let mut unzipped = MultiGzDecoder::new(rest);
    let volume = body.read(&mut unzipped, None)?;
    body.check_end(unzipped)?;
    Ok(volume)
}

/// Reads until the buffer is full or the data end; gives the number of bytes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < buffer.len() {
        match reader.read(&mut buffer[found..]) {
            Ok(0) => break,
            Ok(n) => found += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// The uncompressed content of one file.
struct Body<'a> {
    path: &'a Path,
    flavour: Flavour,
}

impl Body<'_> {
    /// `length` is the number of bytes there are, if that is known.
    fn read(&self, mut reader: impl Read, length: Option<u64>) -> Result<Volume, ImageError> {
        let mut bytes = [0u8; HEADER as usize];
        self.exact(&mut reader, &mut bytes, "header")?;
        let header = NiftiHeader::from_reader(bytes.as_slice())
            .map_err(|e| self.wrong(format!("not a NIfTI-1 header: {e}")))?;
        if &header.magic != b"n+1\0" {
            let magic = String::from_utf8_lossy(&header.magic).trim_end_matches('\0').to_owned();
            return Err(
                self.wrong(format!("magic is {magic:?}, expected \"n+1\" (header and data in one file)"))
            );
        }
        let shape = self.shape(&header)?;
        let kind = Kind::of(header.datatype).ok_or_else(|| {
            let other = header.datatype;
            self.wrong(format!("data type {other} is not supported (integers and 32 or 64 bit floats are)"))
        })?;
        let bytes = shape.iter().product::<usize>() as u64 * kind.size() as u64;
        let offset = self.offset(&header)?;
        if let Some(length) = length.filter(|&length| length < offset + bytes) {
            return Err(self.truncated(bytes, length.saturating_sub(offset)));
        }
        let extension = io::copy(&mut reader.by_ref().take(offset - HEADER), &mut io::sink());
        let extension = extension.map_err(|e| self.unreadable("header extension", &e))?;
        if extension < offset - HEADER {
            return Err(self.truncated(bytes, 0));
        }
        let values = self.values(&mut reader, &header, kind, bytes, length.is_some())?;
        Ok(Volume { header, shape, values })
    }

    /// Sizes along x, y, z, …, without trailing axes of length 1 beyond the third.
    fn shape(&self, header: &NiftiHeader) -> Result<Vec<usize>, ImageError> {
        let dim = header.dim;
        let axes = usize::from(dim[0]);
        if !(1..=7).contains(&axes) {
            return Err(self.wrong(format!("dim[0] is {axes}, expected 1 to 7")));
        }
        let mut shape: Vec<usize> = dim[1..=axes].iter().map(|&n| usize::from(n)).collect();
        if shape.iter().any(|&n| n == 0 || n > 32767) {
            return Err(self.wrong(format!("dim is {dim:?}: every size must be from 1 to 32767")));
        }
        let voxels = shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size as u64));
        if voxels.is_none_or(|n| n > MOST_VOXELS) {
            return Err(self.wrong(format!("dim is {dim:?}: too many voxels")));
        }
        while shape.len() > 3 && shape.last() == Some(&1) {
            shape.pop();
        }
        Ok(shape)
    }

    fn offset(&self, header: &NiftiHeader) -> Result<u64, ImageError> {
        let offset = header.vox_offset;
        if !(HEADER as f32..=MOST_OFFSET).contains(&offset) {
            return Err(self.wrong(format!("vox_offset is {offset}, expected at least {HEADER}")));
        }
        Ok(offset as u64)
    }

    /// Memory grows with what arrives; only if the bytes are known to be there it is taken at once.
    fn values(
        &self,
        reader: &mut impl Read,
        header: &NiftiHeader,
        kind: Kind,
        bytes: u64,
        known: bool,
    ) -> Result<Vec<f32>, ImageError> {
        let big = header.endianness == Endianness::Big;
        let scale = Scale::of(header, self.flavour);
        let mut values = Vec::new();
        let no_memory = |_| self.wrong(format!("not enough memory for {bytes} bytes of data"));
        if known {
            values.try_reserve_exact(bytes as usize / kind.size()).map_err(no_memory)?;
        }
        let mut block = vec![0u8; BLOCK];
        let mut left = bytes;
        while left > 0 {
            let part = &mut block[..left.min(BLOCK as u64) as usize];
            let found = fill(reader, part).map_err(|e| self.unreadable("data", &e))?;
            if found < part.len() {
                return Err(self.truncated(bytes, bytes - left + found as u64));
            }
            values.try_reserve(part.len() / kind.size()).map_err(no_memory)?;
            kind.decode(part, big, scale, &mut values);
            left -= part.len() as u64;
        }
        Ok(values)
    }

    /// Reads a little further, so that the checksum of the compressed data is seen; what follows it is ignored.
    fn check_end(&self, reader: impl Read) -> Result<(), ImageError> {
        match io::copy(&mut reader.take(1 << 20), &mut io::sink()) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                Err(self.wrong("truncated: the gzip data end without their checksum".to_owned()))
            }
            Err(e) if e.to_string().contains("checksum") => Err(self.unreadable("data", &e)),
            _ => Ok(()),
        }
    }

    fn exact(&self, reader: &mut impl Read, bytes: &mut [u8], what: &str) -> Result<(), ImageError> {
        let found = fill(reader, bytes).map_err(|e| self.unreadable(what, &e))?;
        if found < bytes.len() {
            let reason = format!("truncated: the {what} has {} bytes, found {found}", bytes.len());
            return Err(self.wrong(reason));
        }
        Ok(())
    }

    fn wrong(&self, reason: String) -> ImageError {
        ImageError::format(self.path, reason)
    }

    fn unreadable(&self, what: &str, error: &io::Error) -> ImageError {
        self.wrong(format!("cannot read the {what}: {error}"))
    }

    fn truncated(&self, expected: u64, found: u64) -> ImageError {
        ImageError::Truncated { path: self.path.to_owned(), expected, found }
    }
}
