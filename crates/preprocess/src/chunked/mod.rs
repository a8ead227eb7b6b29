//! Arrays (channel, z, y, x) in compressed blocks, of which a box reads those that it touches.

#[cfg(feature = "blosc2")]
mod b2nd;
mod blosc;
#[cfg(feature = "blosc2")]
mod blosclz;
mod zarr;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::PreprocessError;
use crate::npy::{Element, read_at};

pub(crate) use zarr::write as write_zarr;

/// A box of voxels (channel, z, y, x), which may lie outside the array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) lower: [i64; 4],
    pub(crate) size: [usize; 4],
}

/// Where a chunk is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// These bytes; with `checked`, the last four are a CRC-32C of the others.
    Bytes { first: u64, length: usize, checked: bool },
    /// From this byte on; how many there are stands in its header.
    #[cfg(feature = "blosc2")]
    From(u64),
    /// Nowhere: all its numbers are 0.
    Zeros,
}

/// An open file of compressed blocks.
#[derive(Debug)]
pub(crate) struct Chunked {
    path: PathBuf,
    file: File,
    /// Name of the type of the numbers, as NumPy has it.
    pub(crate) descr: &'static str,
    width: usize,
    pub(crate) shape: [usize; 4],
    /// Shape of the chunks, of which the file has one place each.
    chunk: [usize; 4],
    /// Shape of the blocks of a chunk, which are compressed one by one.
    block: [usize; 4],
    places: Vec<Place>,
}

impl Chunked {
    /// Opens a Zarr array of one shard.
    pub(crate) fn open_zarr(folder: &Path) -> Result<Self, PreprocessError> {
        zarr::open(folder)
    }

    /// Opens a `.b2nd` file.
    #[cfg(feature = "blosc2")]
    pub(crate) fn open_b2nd(path: &Path) -> Result<Self, PreprocessError> {
        b2nd::open(path)
    }

    /// Fills `out` (of the window's size) where the window overlaps the array.
    pub(crate) fn read<E: Element, U: Copy>(
        &self,
        window: Window,
        out: &mut [U],
        convert: impl Fn(E) -> U,
    ) -> Result<(), PreprocessError> {
        let wrong = |reason: String| PreprocessError::store(&self.path, reason);
        if E::DESCR != self.descr {
            return Err(wrong(format!("numbers of type {:?}, expected {:?}", self.descr, E::DESCR)));
        }
        let Some(inside) = window.within([0; 4], self.shape) else { return Ok(()) };
        let grid = grid(self.shape, self.chunk);
        let blocks = self::grid(self.chunk, self.block);
        let (mut bytes, mut scratch, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        each(covering(&inside, self.chunk), |index| {
            let origin: [usize; 4] = std::array::from_fn(|axis| index[axis] * self.chunk[axis]);
            let extent = std::array::from_fn(|axis| self.chunk[axis].min(self.shape[axis] - origin[axis]));
            let Some(part) = window.within(origin, extent) else { return Ok(()) };
            let loaded = self.load(linear(index, grid), &mut bytes)?;
            let length = self.block.iter().product::<usize>() * self.width;
            let total = length * blocks.iter().product::<usize>();
            let chunk = match loaded {
                true => Some(blosc::Chunk::open(&bytes, total, length).map_err(wrong)?),
                false => None,
            };
            let relative: [Range<usize>; 4] =
                std::array::from_fn(|axis| part[axis].start - origin[axis]..part[axis].end - origin[axis]);
            each(covering(&relative, self.block), |within| {
                match &chunk {
                    Some(chunk) => {
                        chunk.block(linear(within, blocks), &mut scratch, &mut numbers).map_err(wrong)?;
                    }
                    None => {
                        numbers.clear();
                        numbers.resize(length, 0);
                    }
                }
                let start: [usize; 4] =
                    std::array::from_fn(|axis| origin[axis] + within[axis] * self.block[axis]);
                let here: [Range<usize>; 4] = std::array::from_fn(|axis| {
                    part[axis].start.max(start[axis])..part[axis].end.min(start[axis] + self.block[axis])
                });
                paste(&numbers, start, self.block, &here, window, out, &convert);
                Ok(())
            })
        })
    }

    /// Reads a chunk into `bytes` and compares it with its checksum if it has one; false if it is nowhere.
    fn load(&self, index: usize, bytes: &mut Vec<u8>) -> Result<bool, PreprocessError> {
        let wrong = |reason: String| PreprocessError::store(&self.path, reason);
        match self.places.get(index) {
            None => Err(wrong(format!("chunk {index} of {}", self.places.len()))),
            Some(Place::Zeros) => Ok(false),
            #[cfg(feature = "blosc2")]
            Some(&Place::From(first)) => {
                let io = |e| PreprocessError::io(&self.path, e);
                let mut header = [0; blosc::HEADER];
                read_at(&self.file, &mut header, first).map_err(io)?;
                let length = blosc::Chunk::length(&header);
                let left = self.file.metadata().map_err(io)?.len().saturating_sub(first);
                let length = length.filter(|&length| length as u64 <= left);
                bytes.resize(length.ok_or_else(|| wrong(format!("chunk {index} is cut off")))?, 0);
                read_at(&self.file, bytes, first).map_err(io)?;
                Ok(true)
            }
            Some(&Place::Bytes { first, length, checked }) => {
                bytes.resize(length, 0);
                read_at(&self.file, bytes, first).map_err(|e| PreprocessError::io(&self.path, e))?;
                if checked {
                    let rest =
                        length.checked_sub(4).ok_or_else(|| wrong(format!("chunk {index} is empty")))?;
                    let written = u32::from_le_bytes(std::array::from_fn(|i| bytes[rest + i]));
                    bytes.truncate(rest);
                    let found = crc32c::crc32c(bytes);
                    if found != written {
                        return Err(wrong(format!(
                            "chunk {index} has checksum {found:08x}, written was {written:08x}; run `nnunet preprocess` again"
                        )));
                    }
                }
                Ok(true)
            }
        }
    }
}

impl Window {
    /// The part that lies in a box; none if there is none.
    fn within(&self, origin: [usize; 4], extent: [usize; 4]) -> Option<[Range<usize>; 4]> {
        let mut part = [const { 0..0 }; 4];
        for axis in 0..4 {
            let upper = self.lower[axis].saturating_add(self.size[axis] as i64);
            let from = self.lower[axis].max(origin[axis] as i64);
            let to = upper.min((origin[axis] + extent[axis]) as i64);
            if from >= to {
                return None;
            }
            part[axis] = from as usize..to as usize;
        }
        Some(part)
    }
}

/// Whether an array has so many numbers at most that they fit into 16 GiB.
fn fits(shape: [usize; 4]) -> bool {
    shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).is_some_and(|n| n as u64 <= 1 << 32)
}

/// How many chunks there are along each axis.
fn grid(shape: [usize; 4], chunk: [usize; 4]) -> [usize; 4] {
    std::array::from_fn(|axis| shape[axis].div_ceil(chunk[axis]))
}

fn linear(index: [usize; 4], grid: [usize; 4]) -> usize {
    index.iter().zip(grid).fold(0, |sum, (&at, n)| sum * n + at)
}

/// The pieces of this shape that a part touches, per axis.
fn covering(part: &[Range<usize>; 4], piece: [usize; 4]) -> [Range<usize>; 4] {
    std::array::from_fn(|axis| part[axis].start / piece[axis]..part[axis].end.div_ceil(piece[axis]))
}

/// Visits all indices, the last axis fastest.
fn each(
    ranges: [Range<usize>; 4],
    mut visit: impl FnMut([usize; 4]) -> Result<(), PreprocessError>,
) -> Result<(), PreprocessError> {
    let [a, b, c, d] = ranges;
    for i in a {
        for j in b.clone() {
            for k in c.clone() {
                for l in d.clone() {
                    visit([i, j, k, l])?;
                }
            }
        }
    }
    Ok(())
}

/// Copies the part `here` from a block that begins at `start` to its place in the window.
fn paste<E: Element, U: Copy>(
    numbers: &[u8],
    start: [usize; 4],
    block: [usize; 4],
    here: &[Range<usize>; 4],
    window: Window,
    out: &mut [U],
    convert: &impl Fn(E) -> U,
) {
    let to = |axis: usize, at: usize| (at as i64 - window.lower[axis]) as usize;
    let row = here[3].len();
    for c in here[0].clone() {
        for z in here[1].clone() {
            for y in here[2].clone() {
                let at = [c, z, y, here[3].start];
                let from = linear(std::array::from_fn(|axis| at[axis] - start[axis]), block) * E::SIZE;
                let first = linear(std::array::from_fn(|axis| to(axis, at[axis])), window.size);
                let source = numbers[from..from + row * E::SIZE].chunks_exact(E::SIZE);
                out[first..first + row]
                    .iter_mut()
                    .zip(source)
                    .for_each(|(out, raw)| *out = convert(E::get(raw)));
            }
        }
    }
}
