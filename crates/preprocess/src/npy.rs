//! NumPy `.npy` files: written whole, read in parts at known positions.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use nnunet_image::fs::{write_atomic, write_unsynced};

use crate::PreprocessError;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A number type of `.npy` files.
pub(crate) trait Element: Copy + Default {
    /// NumPy's name for it, little endian.
    const DESCR: &'static str;
    /// Bytes.
    const SIZE: usize;
    fn put(self, out: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($t:ty, $descr:literal) => {
        impl Element for $t {
            const DESCR: &'static str = $descr;
            const SIZE: usize = size_of::<$t>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(bytes);
                Self::from_le_bytes(raw)
            }
        }
    };
}

element!(i8, "|i1");
element!(u8, "|u1");
element!(u16, "<u2");
element!(f32, "<f4");
element!(i16, "<i2");
element!(u32, "<u4");

/// Writes an array in C order, in one piece; gives the CRC-32 of its numbers. With `sync`, waits until it is on the disk.
pub(crate) fn write<'a, T: Element + 'a>(
    path: &Path,
    shape: &[usize],
    values: impl Iterator<Item = &'a T>,
    sync: bool,
) -> Result<u32, PreprocessError> {
    let sizes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({sizes}), }}", T::DESCR);
    let length = (10 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', length - 11 - header.len()));
    header.push('\n');
    let mut bytes = Vec::with_capacity(shape.iter().product::<usize>() * T::SIZE);
    values.for_each(|value| value.put(&mut bytes));
    let contents = |out: &mut dyn Write| {
        out.write_all(MAGIC)?;
        out.write_all(&[1, 0])?;
        out.write_all(&(header.len() as u16).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        out.write_all(&bytes)
    };
    let written = if sync { write_atomic(path, contents) } else { write_unsynced(path, contents) };
    written.map_err(|e| PreprocessError::io(path, e))?;
    Ok(crc32fast::hash(&bytes))
}

/// CRC-32 of numbers as they are written.
pub(crate) fn checksum<'a, T: Element + 'a>(values: impl Iterator<Item = &'a T>) -> u32 {
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), Vec::with_capacity(1 << 16));
    for value in values {
        value.put(&mut bytes);
        if bytes.len() >= (1 << 16) - 8 {
            crc.update(&bytes);
            bytes.clear();
        }
    }
    crc.update(&bytes);
    crc.finalize()
}

/// Refuses numbers whose checksum is not the one of what was written.
pub(crate) fn compare(path: &Path, found: u32, written: u32) -> Result<(), PreprocessError> {
    if found == written {
        return Ok(());
    }
    let text = format!("checksum {found:08x}, written was {written:08x}; run `nnunet preprocess` again");
    Err(PreprocessError::store(path, text))
}

/// An open file whose header has been read.
#[derive(Debug)]
pub(crate) struct Npy {
    file: File,
    offset: u64,
    pub(crate) shape: Vec<usize>,
}

impl Npy {
    /// Opens a file of numbers of type `T` and checks that all of them are there.
    pub(crate) fn open<T: Element>(path: &Path) -> Result<Self, PreprocessError> {
        let mut file = File::open(path).map_err(|e| PreprocessError::io(path, e))?;
        let mut start = [0u8; 10];
        file.read_exact(&mut start)
            .map_err(|_| PreprocessError::store(path, "not an .npy file: too short"))?;
        if &start[..6] != MAGIC || start[6] != 1 {
            return Err(PreprocessError::store(path, "not an .npy file of version 1"));
        }
        let mut header = vec![0u8; usize::from(u16::from_le_bytes([start[8], start[9]]))];
        file.read_exact(&mut header).map_err(|_| PreprocessError::store(path, "the header is truncated"))?;
        let header = String::from_utf8_lossy(&header).into_owned();
        let shape = parse_shape::<T>(&header)
            .ok_or_else(|| PreprocessError::store(path, format!("unexpected header {:?}", header.trim())))?;
        let offset = 10 + header.len() as u64;
        let count = shape.iter().try_fold(T::SIZE as u64, |n, &s| n.checked_mul(s as u64));
        let expected = count.and_then(|n| n.checked_add(offset));
        let found = file.metadata().map_err(|e| PreprocessError::io(path, e))?.len();
        if expected != Some(found) {
            let text = format!("{found} bytes, expected {expected:?} for shape {shape:?}");
            return Err(PreprocessError::store(path, text));
        }
        Ok(Self { file, offset, shape })
    }

    /// Reads `count` numbers from number `first` on.
    pub(crate) fn read<T: Element>(
        &self,
        first: usize,
        count: usize,
        out: &mut Vec<T>,
    ) -> std::io::Result<()> {
        let mut bytes = vec![0u8; count * T::SIZE];
        read_at(&self.file, &mut bytes, self.offset + (first * T::SIZE) as u64)?;
        out.clear();
        out.extend(bytes.chunks_exact(T::SIZE).map(T::get));
        Ok(())
    }

    /// Reads everything and compares it with the CRC-32 of what was written.
    pub(crate) fn read_all<T: Element>(&self, path: &Path, crc: u32) -> Result<Vec<T>, PreprocessError> {
        let count: usize = self.shape.iter().product();
        let mut bytes = vec![0u8; count * T::SIZE];
        read_at(&self.file, &mut bytes, self.offset).map_err(|e| PreprocessError::io(path, e))?;
        compare(path, crc32fast::hash(&bytes), crc)?;
        Ok(bytes.chunks_exact(T::SIZE).map(T::get).collect())
    }
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
pub(crate) fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// The shape, if type and order are as expected.
fn parse_shape<T: Element>(header: &str) -> Option<Vec<usize>> {
    if !header.contains(&format!("'descr': '{}'", T::DESCR)) || !header.contains("'fortran_order': False") {
        return None;
    }
    let list = header.split_once("'shape': (")?.1.split_once(')')?.0;
    list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect()
}
