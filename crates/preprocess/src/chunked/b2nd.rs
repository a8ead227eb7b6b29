//! `.b2nd` files of Blosc2: a header in MessagePack with the layout of the array, compressed chunks, and the compressed table of
//! their places.

use std::fs::File;
use std::path::Path;

use super::{Chunked, Place, blosc, fits, grid};
use crate::PreprocessError;
use crate::npy::read_at;

/// Fixed part of a header.
const FIXED: usize = 93;
/// A header or a table of chunks may not be longer.
const MOST: usize = 1 << 26;
/// Types, as NumPy names them.
const TYPES: [(&str, usize); 4] = [("<f4", 4), ("<i2", 2), ("|i1", 1), ("|u1", 1)];

/// Opens a file of one to four axes; those that are missing in front have size 1.
pub(super) fn open(path: &Path) -> Result<Chunked, PreprocessError> {
    let io = |e| PreprocessError::io(path, e);
    let wrong = |reason: String| PreprocessError::store(path, reason);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut fixed = [0; FIXED];
    read_at(&file, &mut fixed, 0).map_err(|_| wrong("not a .b2nd file: too short".to_owned()))?;
    let frame = Frame::parse(&fixed, length).map_err(wrong)?;
    let mut header = vec![0; frame.header];
    read_at(&file, &mut header, 0).map_err(io)?;
    let layout = Layout::find(&header).map_err(wrong)?;
    let places = frame.places(&file, &layout).map_err(wrong)?;
    let Layout { descr, width, shape, chunk, block } = layout;
    Ok(Chunked { path: path.to_owned(), file, descr, width, shape, chunk, block, places })
}

/// What the fixed part of a header says.
struct Frame {
    header: usize,
    /// Compressed bytes of all chunks.
    compressed: u64,
    length: u64,
}

impl Frame {
    fn parse(h: &[u8; FIXED], length: u64) -> Result<Self, String> {
        if &h[1..10] != b"\xa8b2frame\0" || h[10] != 0xd2 || h[38] != 0xd3 {
            return Err("not a contiguous frame of Blosc2".to_owned());
        }
        let header = u32::from_be_bytes(std::array::from_fn(|i| h[11 + i])) as usize;
        let compressed = u64::from_be_bytes(std::array::from_fn(|i| h[39 + i]));
        let end = compressed.checked_add(header as u64);
        if !(FIXED..=MOST).contains(&header) || end.is_none_or(|end| end > length) {
            return Err(format!("{length} bytes, its header promises {header} and {compressed} more"));
        }
        Ok(Self { header, compressed, length })
    }

    /// Reads the table of chunks, which follows them.
    fn places(&self, file: &File, layout: &Layout) -> Result<Vec<Place>, String> {
        let count = grid(layout.shape, layout.chunk).iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let count = count.filter(|&n| n <= MOST / 8).ok_or("too many chunks")?;
        let first = self.header as u64 + self.compressed;
        let mut header = [0; blosc::HEADER];
        read_at(file, &mut header, first).map_err(|_| "without its table of chunks")?;
        let left = self.length - first;
        let length = blosc::Chunk::length(&header).filter(|&n| n as u64 <= left && n <= MOST);
        let mut bytes = vec![0; length.ok_or("the table of chunks is cut off")?];
        read_at(file, &mut bytes, first).map_err(|e| e.to_string())?;
        let table = blosc::Chunk::all(&bytes, count * 8).map_err(|e| format!("table of chunks: {e}"))?;
        let place = |&raw: &[u8; 8]| match i64::from_le_bytes(raw) {
            // The highest bit marks a chunk without bytes, three bits below say what it holds.
            offset if offset < 0 => match (offset >> 56) & 7 {
                1 => Ok(Place::Zeros),
                other => Err(format!("a chunk of the special kind {other}, which is not supported")),
            },
            offset => match (self.header as u64).checked_add(offset as u64) {
                Some(first) if first < self.length => Ok(Place::From(first)),
                _ => Err(format!("a chunk at byte {offset}, outside the file")),
            },
        };
        table.as_chunks::<8>().0.iter().map(place).collect()
    }
}

/// The layout of the array.
struct Layout {
    descr: &'static str,
    width: usize,
    shape: [usize; 4],
    chunk: [usize; 4],
    block: [usize; 4],
}

impl Layout {
    /// Finds the entry `b2nd` among those of the header and reads what it points to.
    fn find(header: &[u8]) -> Result<Self, String> {
        let name = b"\xa4b2nd\xd2";
        let at = header.windows(name.len()).skip(FIXED - 8).position(|part| part == name);
        let at = at.map(|at| at + FIXED - 8 + name.len()).ok_or("no array: the entry b2nd is missing")?;
        let offset = header.get(at..at + 4).ok_or("the entry b2nd is cut off")?;
        let offset = u32::from_be_bytes(std::array::from_fn(|i| offset[i])) as usize;
        let bytes = header.get(offset..).ok_or("the entry b2nd lies outside the header")?;
        Packed(bytes).layout().ok_or_else(|| "the entry b2nd is not as Blosc2 writes it".to_owned())?
    }
}

/// Bytes of MessagePack.
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    /// An integer that is not negative.
    fn number(&mut self) -> Option<usize> {
        let bytes = match self.take(1)?[0] {
            small @ 0..0x80 => return Some(usize::from(small)),
            0xcc | 0xd0 => self.take(1)?,
            0xcd | 0xd1 => self.take(2)?,
            0xce | 0xd2 => self.take(4)?,
            0xcf | 0xd3 => self.take(8)?,
            _ => return None,
        };
        let value = bytes.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(value).ok().filter(|&value| value < 1 << 31)
    }

    /// Sizes of one to four axes.
    fn sizes(&mut self) -> Option<[usize; 4]> {
        let axes = usize::from(self.take(1)?[0] ^ 0x90);
        if !(1..=4).contains(&axes) {
            return None;
        }
        let mut sizes = [1; 4];
        for size in &mut sizes[4 - axes..] {
            *size = self.number().filter(|&n| n > 0)?;
        }
        Some(sizes)
    }

    /// The layout; the error is a type or size that is not supported.
    fn layout(mut self) -> Option<Result<Layout, String>> {
        let binary = self.take(1)?[0];
        let length = self.take(4)?;
        let fields = self.take(1)?[0];
        if binary != 0xc6 || length == [0; 4] || fields < 0x96 {
            return None;
        }
        let (_version, _axes) = (self.number()?, self.number()?);
        let (shape, chunk, block) = (self.sizes()?, self.sizes()?, self.sizes()?);
        let name = match fields {
            0x96 => "<f4".to_owned(),
            _ => {
                let _format = self.number()?;
                let length = match self.take(1)?[0] {
                    0xdb => u32::from_be_bytes(self.take(4)?.try_into().ok()?) as usize,
                    short @ 0xa0..0xc0 => usize::from(short & 31),
                    _ => return None,
                };
                String::from_utf8_lossy(self.take(length)?).into_owned()
            }
        };
        let Some((descr, width)) = TYPES.iter().find(|(known, _)| *known == name).copied() else {
            return Some(Err(format!("numbers of type {name:?}; f4, i2, i1 and u1 are supported")));
        };
        if !fits(shape) {
            return Some(Err(format!("shape {shape:?} is too large")));
        }
        // A chunk is filled up to whole blocks.
        let chunk_bytes =
            grid(chunk, block).iter().chain(&block).try_fold(width, |n, &size| n.checked_mul(size));
        if chunk_bytes.is_none_or(|n| n > 1 << 31) || block.iter().product::<usize>() * width > 1 << 29 {
            return Some(Err(format!("chunks of {chunk:?} in blocks of {block:?} are too large")));
        }
        Some(Ok(Layout { descr, width, shape, chunk, block }))
    }
}
