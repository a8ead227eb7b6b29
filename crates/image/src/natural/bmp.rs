//! BMP without compression, as Pillow gives it to scikit-image: palettes of grey become grey, other palettes colour.

use std::path::Path;

use super::{Pixels, check_size};
use crate::ImageError;

/// Single bits are 8 pixels a byte.
const BEST_RATIO: u64 = 8;
/// File header and the header behind it.
const HEADERS: usize = 54;
/// Where the masks of the colours begin.
const MASKS: usize = 54;

pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Pixels, ImageError> {
    let header = Header::of(path, bytes)?;
    let Header { width, height, bits, .. } = header;
    let stride = (width * bits).div_ceil(32) * 4;
    let expected = (stride * height) as u64;
    let data = bytes.get(header.offset..).unwrap_or_default();
    if (data.len() as u64) < expected {
        return Err(ImageError::Truncated { path: path.to_owned(), expected, found: data.len() as u64 });
    }
    let rows = data.chunks_exact(stride).take(height);
    let rows: Vec<&[u8]> = if header.top_down { rows.collect() } else { rows.rev().collect() };
    let colours = if bits <= 8 && header.grey { 1 } else { 3 + usize::from(header.alpha) };
    let mut values = Vec::with_capacity(width * height * colours);
    for row in rows {
        match bits {
            24 => {
                values.extend(row.chunks_exact(3).take(width).flat_map(|p| [p[2], p[1], p[0]]).map(f32::from))
            }
            32 => {
                let pixels = row.chunks_exact(4).take(width);
                values.extend(
                    pixels.flat_map(|p| [p[2], p[1], p[0], p[3]].into_iter().take(colours)).map(f32::from),
                );
            }
            _ => {
                let each = 8 / bits;
                let index = |k: usize| {
                    let shift = 8 - bits * (k % each + 1);
                    usize::from(row[k / each] >> shift) & ((1 << bits) - 1)
                };
                values.extend((0..width).flat_map(|k| header.colour(bytes, index(k))).map(f32::from));
            }
        }
    }
    Ok(Pixels { width, height, colours, values })
}

struct Header {
    width: usize,
    height: usize,
    bits: usize,
    top_down: bool,
    /// Where the pixels begin.
    offset: usize,
    alpha: bool,
    /// Where the palette begins, bytes per entry, number of entries.
    palette: (usize, usize, usize),
    /// Whether each entry of the palette is its own grey value, or the two are black and white.
    grey: bool,
}

impl Header {
    fn of(path: &Path, bytes: &[u8]) -> Result<Self, ImageError> {
        let wrong = |reason: String| ImageError::format(path, reason);
        let long =
            |at: usize| bytes.get(at..at + 4).map_or(0, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let short = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let size = long(14) as u32 as usize;
        if ![12, 40, 52, 56, 64, 108, 124].contains(&size) {
            return Err(wrong(format!("not a BMP header: its size is {size}")));
        }
        let old = size == 12;
        let (width, height, bits, compression) = match old {
            true => (short(18).into(), short(20).into(), short(24), 0),
            false => (long(18), long(22), short(28), long(30)),
        };
        if !matches!(bits, 1 | 4 | 8 | 24 | 32) {
            return Err(wrong(format!("{bits} bits per pixel: expected 1, 4, 8, 24 or 32")));
        }
        let masks = [MASKS, MASKS + 4, MASKS + 8].map(|at| long(at) as u32);
        let plain = compression == 0
            || (compression == 3 && bits == 32 && masks == [0x00ff_0000, 0x0000_ff00, 0x0000_00ff]);
        if !plain {
            return Err(wrong(format!("compression {compression} is not supported (uncompressed BMP is)")));
        }
        if width <= 0 || height == 0 {
            return Err(wrong(format!("{width} × {height} pixels: expected at least 1 × 1")));
        }
        check_size(path, width as u64, height.unsigned_abs().into(), bytes.len() as u64, BEST_RATIO)?;
        let all = if bits <= 8 { 1usize << bits } else { 0 };
        let used = if old { 0 } else { long(46) as u32 as usize };
        let entries = if used > 0 { all.min(used) } else { all };
        let mut header = Self {
            width: width as usize,
            height: height.unsigned_abs() as usize,
            bits: bits.into(),
            top_down: height < 0,
            offset: long(10) as u32 as usize,
            alpha: compression == 3 && size >= 56 && long(MASKS + 12) as u32 == 0xff00_0000,
            palette: (14 + size, if old { 3 } else { 4 }, entries),
            grey: true,
        };
        let level = |k: usize| if entries == 2 { 255 * k as u8 } else { k as u8 };
        header.grey = (0..entries).all(|k| header.entry(bytes, k) == Some([level(k); 3]));
        Ok(header)
    }

    /// Red, green and blue of an entry of the palette.
    fn entry(&self, bytes: &[u8], index: usize) -> Option<[u8; 3]> {
        let (start, size, entries) = self.palette;
        let found = bytes.get(start + size * index..)?.first_chunk::<3>().filter(|_| index < entries)?;
        Some([found[2], found[1], found[0]])
    }

    /// What an index becomes; those beyond the palette are black.
    fn colour(&self, bytes: &[u8], index: usize) -> impl Iterator<Item = u8> + use<> {
        let grey = self.grey;
        let colour = if grey { [index as u8; 3] } else { self.entry(bytes, index).unwrap_or_default() };
        colour.into_iter().take(if grey { 1 } else { 3 })
    }
}

/// Grey of 8 bits with its palette.
pub(super) fn encode(path: &Path, [y, x]: [usize; 2], values: &[u16]) -> Result<Vec<u8>, ImageError> {
    let row = x.next_multiple_of(4);
    let start = HEADERS + 4 * 256;
    let size = row.checked_mul(y).and_then(|n| u32::try_from(n.checked_add(start)?).ok());
    let (Some(size), Ok(width), Ok(height)) = (size, i32::try_from(x), i32::try_from(y)) else {
        return Err(ImageError::format(path, format!("{x} × {y} pixels: too many for BMP")));
    };
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(b"BM");
    bytes.extend([size, 0, start as u32, 40].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([width, height].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([1u16, 8].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([0, size - start as u32, 3780, 3780, 256, 256].iter().flat_map(|v: &u32| v.to_le_bytes()));
    bytes.extend((0..=255u8).flat_map(|v| [v, v, v, 0]));
    for line in values.chunks(x).rev() {
        bytes.extend(line.iter().map(|&v| v as u8));
        bytes.resize(bytes.len() + row - x, 0);
    }
    Ok(bytes)
}
