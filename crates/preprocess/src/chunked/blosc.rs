//! Blosc chunks: read in the forms of both versions, written in that of version 1 with LZ4.
//!
//! A chunk is a header, a table of where its blocks begin, and the blocks, each compressed on its own after its bytes have been
//! put in another order (all first bytes of the numbers, then all second bytes, …).

/// Bytes of a header of version 1.
pub(super) const HEADER: usize = 16;
/// Bytes of a header of version 2.
const LONG_HEADER: usize = 32;
/// A block may not be larger.
const MOST: usize = 1 << 29;

const SHUFFLED: u8 = 1;
const COPIED: u8 = 2;
const BITS_SHUFFLED: u8 = 4;
const WHOLE: u8 = 0x10;

/// Codec of the blocks of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    #[cfg(feature = "blosc2")]
    BloscLz,
    Lz4,
    #[cfg(feature = "blosc2")]
    Zstd,
}

/// The blocks of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// Compressed, `split` into so many streams each.
    Blocks { codec: Codec, split: usize, shuffle: bool },
    /// As they are, from this byte on.
    Copied(usize),
    /// All bytes are 0.
    Zeros,
}

/// A chunk whose header has been read.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    bytes: &'a [u8],
    size: usize,
    block: usize,
    width: usize,
    header: usize,
    content: Content,
}

impl<'a> Chunk<'a> {
    /// Reads a header. A chunk must hold `size` bytes in blocks of `block`, the last one may be shorter.
    pub(super) fn open(bytes: &'a [u8], size: usize, block: usize) -> Result<Self, String> {
        let chunk = Self::parse(bytes)?;
        if (chunk.size, chunk.block) != (size, block) || block > MOST {
            return Err(format!(
                "a chunk of {} bytes in blocks of {}, expected {size} in blocks of {block}",
                chunk.size, chunk.block
            ));
        }
        Ok(chunk)
    }

    /// Decodes all blocks of a chunk that must hold `size` bytes.
    #[cfg(feature = "blosc2")]
    pub(super) fn all(bytes: &'a [u8], size: usize) -> Result<Vec<u8>, String> {
        let block = Self::parse(bytes)?.block;
        let chunk = Self::open(bytes, size, block)?;
        let (mut scratch, mut part, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..size.checked_div(block).map_or(0, |_| size.div_ceil(block)) {
            chunk.block(index, &mut scratch, &mut part)?;
            all.extend_from_slice(&part);
        }
        if all.len() == size { Ok(all) } else { Err(format!("{} bytes, expected {size}", all.len())) }
    }

    /// Compressed bytes of the chunk that begins with this header.
    #[cfg(feature = "blosc2")]
    pub(super) fn length(header: &[u8; HEADER]) -> Option<usize> {
        let value = i32::from_le_bytes([header[12], header[13], header[14], header[15]]);
        usize::try_from(value).ok().filter(|&length| length >= HEADER)
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let h = bytes.get(..HEADER).ok_or("a chunk without its header")?;
        let (flags, width) = (h[2], usize::from(h[3]));
        let number = |at: usize| {
            let value = i32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
            usize::try_from(value).map_err(|_| format!("a chunk of {value} bytes"))
        };
        let (size, block, compressed) = (number(4)?, number(8)?, number(12)?);
        if compressed > bytes.len() || compressed < HEADER {
            return Err(format!("a chunk of {compressed} compressed bytes, there are {}", bytes.len()));
        }
        let bytes = &bytes[..compressed];
        let long = flags & (SHUFFLED | BITS_SHUFFLED) == SHUFFLED | BITS_SHUFFLED;
        let (header, shuffle, special) = if long {
            let h = bytes.get(..LONG_HEADER).ok_or("a chunk without its header")?;
            (LONG_HEADER, filters(&h[16..22])?, (h[31] >> 4) & 7)
        } else if flags & BITS_SHUFFLED != 0 {
            return Err("bits are shuffled, which is not supported".to_owned());
        } else {
            (HEADER, flags & SHUFFLED != 0, 0)
        };
        if width == 0 {
            return Err("a chunk of numbers without bytes".to_owned());
        }
        let content = match special {
            0 if flags & COPIED != 0 => Content::Copied(header),
            0 => {
                let whole = flags & WHOLE != 0 || (!long && (width > 16 || block / width < 128));
                let split = if whole { 1 } else { width };
                Content::Blocks { codec: codec(flags >> 5)?, split, shuffle: shuffle && width > 1 }
            }
            1 => Content::Zeros,
            other => return Err(format!("a chunk of the special kind {other}, which is not supported")),
        };
        Ok(Self { bytes, size, block, width, header, content })
    }

    /// Decodes block `index` into `out`, whose length must be that of the block.
    pub(super) fn block(&self, index: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), String> {
        let first = index.checked_mul(self.block).filter(|&first| first < self.size);
        let first = first.ok_or_else(|| format!("block {index} of a chunk of {} bytes", self.size))?;
        let length = self.block.min(self.size - first);
        out.resize(length, 0);
        match self.content {
            Content::Zeros => out.fill(0),
            Content::Copied(header) => {
                let found = self.bytes.get(header + first..header + first + length);
                out.copy_from_slice(found.ok_or("a chunk that is cut off")?);
            }
            Content::Blocks { codec, split, shuffle } => {
                let split = if length < self.block { 1 } else { split };
                let start = self.start(index)?;
                if !shuffle {
                    return self.streams(start, codec, split, out);
                }
                scratch.resize(length, 0);
                self.streams(start, codec, split, scratch)?;
                unshuffle(scratch, self.width, out);
            }
        }
        Ok(())
    }

    /// Where a block begins.
    fn start(&self, index: usize) -> Result<usize, String> {
        let at = self.header + 4 * index;
        let raw = self.bytes.get(at..at + 4).ok_or("a chunk without its table of blocks")?;
        let start = i32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
        usize::try_from(start).map_err(|_| format!("a block that begins at byte {start}"))
    }

    fn streams(&self, start: usize, codec: Codec, split: usize, out: &mut [u8]) -> Result<(), String> {
        if !out.len().is_multiple_of(split) {
            return Err(format!("a block of {} bytes in {split} streams", out.len()));
        }
        let (mut at, length) = (start, out.len() / split);
        for out in out.chunks_exact_mut(length.max(1)) {
            let rest =
                self.bytes.get(at..).filter(|rest| rest.len() >= 4).ok_or("a block that is cut off")?;
            let size = i32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let rest = &rest[4..];
            at += 4;
            match usize::try_from(size) {
                Ok(0) => out.fill(0),
                Ok(size) => {
                    let stream = rest.get(..size).ok_or("a block that is cut off")?;
                    at += size;
                    if size == length { out.copy_from_slice(stream) } else { decode(codec, stream, out)? }
                }
                // The same byte throughout.
                Err(_) => {
                    let byte = u8::try_from(size.unsigned_abs()).ok().filter(|_| rest.first() == Some(&1));
                    out.fill(byte.ok_or_else(|| format!("a block of {size} bytes"))?);
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

/// Whether the bytes are shuffled, from the codes of the filters of a chunk of version 2.
fn filters(codes: &[u8]) -> Result<bool, String> {
    match codes.iter().filter(|&&code| code != 0 && code != 4).collect::<Vec<_>>()[..] {
        [] => Ok(false),
        [1] => Ok(true),
        _ => Err(format!("filters {codes:?}: shuffling of bytes alone is supported")),
    }
}

fn codec(format: u8) -> Result<Codec, String> {
    match format {
        #[cfg(feature = "blosc2")]
        0 => Ok(Codec::BloscLz),
        1 => Ok(Codec::Lz4),
        #[cfg(feature = "blosc2")]
        4 => Ok(Codec::Zstd),
        other => {
            let name = ["BloscLZ", "LZ4", "Snappy", "zlib", "Zstandard"].get(usize::from(other));
            Err(format!("compressed by {}, which is not supported", name.unwrap_or(&"an unknown codec")))
        }
    }
}

fn decode(codec: Codec, stream: &[u8], out: &mut [u8]) -> Result<(), String> {
    let found = match codec {
        #[cfg(feature = "blosc2")]
        Codec::BloscLz => super::blosclz::decode(stream, out).ok_or("BloscLZ: damaged")?,
        Codec::Lz4 => lz4_flex::block::decompress_into(stream, out).map_err(|e| format!("LZ4: {e}"))?,
        #[cfg(feature = "blosc2")]
        Codec::Zstd => ruzstd::decoding::FrameDecoder::new()
            .decode_all(stream, out)
            .map_err(|e| format!("Zstandard: {e}"))?,
    };
    if found == out.len() { Ok(()) } else { Err(format!("{found} bytes, expected {}", out.len())) }
}

/// Puts the bytes of numbers of `width` bytes together again; what is no whole number at the end stays.
fn unshuffle(from: &[u8], width: usize, to: &mut [u8]) {
    let count = from.len() / width;
    match width {
        2 => joined::<2>(from, to),
        4 => joined::<4>(from, to),
        _ => {
            for (byte, plane) in from.chunks_exact(count.max(1)).take(width).enumerate() {
                plane.iter().enumerate().for_each(|(i, &value)| to[i * width + byte] = value);
            }
        }
    }
    to[count * width..].copy_from_slice(&from[count * width..]);
}

fn joined<const N: usize>(from: &[u8], to: &mut [u8]) {
    let count = from.len() / N;
    let planes: [&[u8]; N] = std::array::from_fn(|byte| &from[byte * count..][..count]);
    for (i, number) in to.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        *number = std::array::from_fn(|byte| planes[byte][i]);
    }
}

fn shuffle(from: &[u8], width: usize, to: &mut [u8]) {
    let count = from.len() / width;
    for (byte, plane) in to.chunks_exact_mut(count.max(1)).take(width).enumerate() {
        plane.iter_mut().enumerate().for_each(|(i, value)| *value = from[i * width + byte]);
    }
    to[count * width..].copy_from_slice(&from[count * width..]);
}

/// Compresses numbers of `width` bytes as a chunk of version 1 with one block, with or without shuffling.
pub(super) fn encode(numbers: &[u8], width: usize, shuffled: bool) -> Vec<u8> {
    let mut order = Vec::new();
    let source = if shuffled {
        order.resize(numbers.len(), 0);
        shuffle(numbers, width, &mut order);
        &order[..]
    } else {
        numbers
    };
    let most = lz4_flex::block::get_maximum_output_size(source.len());
    let start = HEADER + 4;
    let mut chunk = vec![0u8; start + 4 + most];
    let size = lz4_flex::block::compress_into(source, &mut chunk[start + 4..]).unwrap_or(usize::MAX);
    let copied = size >= numbers.len();
    let length = if copied { HEADER + numbers.len() } else { start + 4 + size };
    chunk.resize(length, 0);
    let flags = 1 << 5 | WHOLE | if copied { COPIED } else { 0 } | if shuffled { SHUFFLED } else { 0 };
    chunk[..4].copy_from_slice(&[2, 1, flags, width as u8]);
    for (at, value) in [(4, numbers.len()), (8, numbers.len()), (12, length)] {
        chunk[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    if copied {
        chunk[HEADER..].copy_from_slice(numbers);
    } else {
        chunk[HEADER..start].copy_from_slice(&(start as u32).to_le_bytes());
        chunk[start..start + 4].copy_from_slice(&(size as u32).to_le_bytes());
    }
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(kind: usize) -> Vec<u8> {
        let mut state = 1u32;
        let noise = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        match kind {
            0 => (0..4096u32).flat_map(|i| ((i / 7) as f32).to_le_bytes()).collect(),
            1 => (0..4096).map(noise).collect(),
            _ => vec![3; 1001],
        }
    }

    #[test]
    fn chunks_come_back_and_damage_is_no_panic() {
        for kind in 0..3 {
            let numbers = numbers(kind);
            for (width, shuffled) in [(1, false), (2, true), (4, true), (4, false), (8, true)] {
                let bytes = encode(&numbers, width, shuffled);
                let (mut scratch, mut out) = (Vec::new(), Vec::new());
                let chunk = Chunk::open(&bytes, numbers.len(), numbers.len()).unwrap();
                chunk.block(0, &mut scratch, &mut out).unwrap();
                assert_eq!(out, numbers, "{kind} {width} {shuffled}");
                assert!(chunk.block(1, &mut scratch, &mut out).is_err());
                assert!(Chunk::open(&bytes[..bytes.len() - 1], numbers.len(), numbers.len()).is_err());
                for at in 0..bytes.len().min(64) {
                    for flip in [1, 0x10, 0x80, 0xff] {
                        let mut damaged = bytes.clone();
                        damaged[at] ^= flip;
                        if let Ok(chunk) = Chunk::open(&damaged, numbers.len(), numbers.len()) {
                            let _ = chunk.block(0, &mut scratch, &mut out);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_repeats_is_small() {
        assert!(encode(&numbers(0), 4, true).len() < 4096);
        assert_eq!(encode(&numbers(1), 4, true).len(), HEADER + 4096);
    }
}
