//! Bytes of a file, plain or gzipped, and values from them. Memory grows with what arrives, not with what a header says.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::{Kind, Scale};
use crate::ImageError;

/// Voxels beyond this (16 GiB of them in memory) are taken for a lie.
const MOST_VOXELS: u64 = 1 << 32;
/// Bytes that are decoded at a time; a multiple of every size of a value.
const BLOCK: usize = 1 << 17;
/// Characters of a number that is written as text.
const LONGEST_NUMBER: usize = 400;
/// Compressed data that promise more than this many times their size get their memory as they arrive.
const USUAL_RATIO: u64 = 64;

/// Number of voxels of an image of these sizes.
///
/// # Errors
/// No axis, a size of 0, or more than 2³² voxels.
pub(crate) fn count(path: &Path, sizes: &[u64]) -> Result<usize, ImageError> {
    if sizes.is_empty() || sizes.contains(&0) {
        return Err(ImageError::format(path, format!("sizes are {sizes:?}: every size must be at least 1")));
    }
    let voxels = sizes.iter().try_fold(1u64, |n, &size| n.checked_mul(size));
    match voxels.filter(|&n| n <= MOST_VOXELS).map(usize::try_from) {
        Some(Ok(voxels)) => Ok(voxels),
        _ => Err(ImageError::format(path, format!("sizes are {sizes:?}: too many voxels (limit 2^32)"))),
    }
}

/// What is known of the number of bytes that are still to come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// So many.
    Exactly(u64),
    /// So many compressed ones.
    Compressed(u64),
}

/// Reads until the buffer is full or the data end; gives the number of bytes.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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

/// The uncompressed content of a file.
pub(crate) struct Source<'a> {
    path: &'a Path,
    reader: Box<dyn Read + 'a>,
    limit: Limit,
}

impl<'a> Source<'a> {
    /// Opens a file; gzip is recognised by its first two bytes.
    pub(crate) fn open(path: &'a Path) -> Result<Self, ImageError> {
        let (reader, length) = open(path)?;
        Self::of(path, BufReader::with_capacity(1 << 16, reader), length)
    }

    /// The bytes of a file of this name.
    pub(crate) fn of_bytes(path: &'a Path, bytes: &'a [u8]) -> Result<Self, ImageError> {
        Self::of(path, bytes, bytes.len() as u64)
    }

    fn of(path: &'a Path, mut reader: impl BufRead + 'a, length: u64) -> Result<Self, ImageError> {
        let mut start = [0u8; 2];
        let found = fill(&mut reader, &mut start).map_err(|e| ImageError::io(path, e))?;
        match found {
            0 => return Err(ImageError::format(path, "the file is empty")),
            1 => return Err(ImageError::format(path, "the file has one byte, expected an image")),
            _ => {}
        }
        let rest = io::Cursor::new(start).chain(reader);
        if start == [0x1f, 0x8b] {
            let reader = Box::new(flate2::bufread::MultiGzDecoder::new(rest));
            return Ok(Self { path, reader, limit: Limit::Compressed(length) });
        }
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
            return Err(ImageError::format(path, "not gzip data, although the name ends in .gz"));
        }
        Ok(Self { path, reader: Box::new(rest), limit: Limit::Exactly(length) })
    }

    /// Opens a file from byte `offset` on, as it is.
    pub(crate) fn plain(path: &'a Path, offset: u64) -> Result<Self, ImageError> {
        let (mut file, length) = open(path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(|e| ImageError::io(path, e))?;
        let reader = Box::new(BufReader::with_capacity(1 << 16, file));
        Ok(Self { path, reader, limit: Limit::Exactly(length.saturating_sub(offset)) })
    }

    /// Takes what follows for gzip data.
    pub(crate) fn gunzip(self) -> Self {
        let limit = self.compressed();
        Self { reader: Box::new(MultiGzDecoder::new(self.reader)), limit, ..self }
    }

    /// Takes what follows for zlib data.
    pub(crate) fn inflate(self) -> Self {
        let limit = self.compressed();
        Self { reader: Box::new(ZlibDecoder::new(self.reader)), limit, ..self }
    }

    /// Takes what follows for bytes as hexadecimal text.
    pub(crate) fn unhex(self) -> Self {
        let limit = self.compressed();
        Self { reader: Box::new(Hex(self.reader)), limit, ..self }
    }

    fn compressed(&self) -> Limit {
        match self.limit {
            Limit::Exactly(n) | Limit::Compressed(n) => Limit::Compressed(n),
        }
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.limit {
            Limit::Exactly(n) => Some(n),
            Limit::Compressed(_) => None,
        }
    }

    /// Fills the buffer from the `what` of the file.
    pub(crate) fn exact(&mut self, bytes: &mut [u8], what: &str) -> Result<(), ImageError> {
        let found = fill(&mut self.reader, bytes).map_err(|e| self.unreadable(what, &e))?;
        if found < bytes.len() {
            let reason = format!("truncated: the {what} has {} bytes, found {found}", bytes.len());
            return Err(self.wrong(reason));
        }
        self.passed(found as u64);
        Ok(())
    }

    /// Reads a line of text without its end; nothing where the data end. Longer lines than `most` are refused.
    pub(crate) fn line(&mut self, most: usize) -> Result<Option<Vec<u8>>, ImageError> {
        let mut line = Vec::new();
        let mut byte = [0u8];
        loop {
            if fill(&mut self.reader, &mut byte).map_err(|e| self.unreadable("header", &e))? == 0 {
                return Ok((!line.is_empty()).then_some(line));
            }
            self.passed(1);
            if byte[0] == b'\n' {
                line.truncate(line.len() - usize::from(line.last() == Some(&b'\r')));
                return Ok(Some(line));
            }
            if line.len() == most {
                return Err(self.wrong(format!("not a header: a line is longer than {most} bytes")));
            }
            line.push(byte[0]);
        }
    }

    /// Reads `count` numbers written as text, white space between them.
    pub(crate) fn text_values(&mut self, count: usize, kind: Kind) -> Result<Vec<f32>, ImageError> {
        let mut values = Vec::new();
        let mut word = Vec::new();
        let mut block = vec![0u8; BLOCK];
        while values.len() < count {
            let found = fill(&mut self.reader, &mut block).map_err(|e| self.unreadable("data", &e))?;
            let last = found < block.len();
            for &byte in block[..found].iter().chain(last.then_some(&b' ')) {
                if !byte.is_ascii_whitespace() {
                    word.push(byte);
                    if word.len() > LONGEST_NUMBER {
                        return Err(self.wrong("cannot read the data: a number is too long"));
                    }
                } else if !word.is_empty() && values.len() < count {
                    values.push(self.number(&word, kind)?);
                    word.clear();
                }
            }
            if last {
                break;
            }
        }
        if values.len() < count {
            let found = values.len();
            return Err(self.wrong(format!("truncated: expected {count} numbers as text, found {found}")));
        }
        Ok(values)
    }

    fn number(&self, word: &[u8], kind: Kind) -> Result<f32, ImageError> {
        let text = String::from_utf8_lossy(word);
        let value = text.parse::<f64>().ok().filter(|&value| kind.holds(value));
        value
            .map(|v| v as f32)
            .ok_or_else(|| self.wrong(format!("cannot read the data: {text:?} is no value of type {kind:?}")))
    }

    /// Passes over bytes, and gives how many of them were there.
    pub(crate) fn skip(&mut self, bytes: u64, what: &str) -> Result<u64, ImageError> {
        let passed = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink());
        let passed = passed.map_err(|e| self.unreadable(what, &e))?;
        self.passed(passed);
        Ok(passed)
    }

    fn passed(&mut self, bytes: u64) {
        if let Limit::Exactly(left) = &mut self.limit {
            *left = left.saturating_sub(bytes);
        }
    }

    /// Reads `count` values.
    pub(crate) fn values(
        &mut self,
        count: usize,
        kind: Kind,
        big: bool,
        scale: Option<Scale>,
    ) -> Result<Vec<f32>, ImageError> {
        let mut values = Vec::new();
        self.values_into(&mut values, count, kind, big, scale)?;
        Ok(values)
    }

    /// Reads `count` values and appends them.
    pub(crate) fn values_into(
        &mut self,
        values: &mut Vec<f32>,
        count: usize,
        kind: Kind,
        big: bool,
        scale: Option<Scale>,
    ) -> Result<(), ImageError> {
        self.promise(values, count, kind)?;
        let path = self.path;
        self.blocks(count, kind, |part| {
            values.try_reserve(part.len() / kind.size()).map_err(|_| no_memory(path, part.len() as u64))?;
            kind.decode(part, big, scale, values);
            Ok(())
        })
    }

    /// Makes room for `count` values in an empty vector, as far as the size of the file speaks for so many.
    pub(crate) fn promise<T>(&self, values: &mut Vec<T>, count: usize, kind: Kind) -> Result<(), ImageError> {
        let bytes = count as u64 * kind.size() as u64;
        match self.limit {
            Limit::Exactly(left) if left < bytes => Err(self.truncated(bytes, left)),
            Limit::Compressed(length) if bytes > length.saturating_mul(USUAL_RATIO) => Ok(()),
            _ => values.try_reserve_exact(count).map_err(|_| no_memory(self.path, bytes)),
        }
    }

    /// Reads the bytes of `count` values and hands them on, block by block; each block holds whole values.
    pub(crate) fn blocks(
        &mut self,
        count: usize,
        kind: Kind,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let bytes = count as u64 * kind.size() as u64;
        if let Some(left) = self.left().filter(|&left| left < bytes) {
            return Err(self.truncated(bytes, left));
        }
        let mut block = vec![0u8; BLOCK.min(bytes as usize)];
        let mut left = bytes;
        while left > 0 {
            let part = &mut block[..left.min(BLOCK as u64) as usize];
            let found = fill(&mut self.reader, part).map_err(|e| self.unreadable("data", &e))?;
            if found < part.len() {
                return Err(self.truncated(bytes, bytes - left + found as u64));
            }
            take(part)?;
            left -= part.len() as u64;
        }
        self.passed(bytes);
        Ok(())
    }

    /// Reads a little further, so that the checksum of compressed data is seen; what follows it is ignored.
    pub(crate) fn check_end(self) -> Result<(), ImageError> {
        if matches!(self.limit, Limit::Exactly(_)) {
            return Ok(());
        }
        let Self { path, reader, .. } = self;
        match io::copy(&mut reader.take(1 << 20), &mut io::sink()) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                Err(ImageError::format(path, "truncated: the compressed data end without their checksum"))
            }
            Err(e) if e.to_string().contains("checksum") || e.to_string().contains("corrupt deflate") => {
                Err(ImageError::format(path, format!("cannot read the data: {e}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn wrong(&self, reason: impl Into<String>) -> ImageError {
        ImageError::format(self.path, reason)
    }

    pub(crate) fn unreadable(&self, what: &str, error: &io::Error) -> ImageError {
        self.wrong(format!("cannot read the {what}: {error}"))
    }

    pub(crate) fn truncated(&self, expected: u64, found: u64) -> ImageError {
        ImageError::Truncated { path: self.path.to_owned(), expected, found }
    }
}

fn no_memory(path: &Path, bytes: u64) -> ImageError {
    ImageError::format(path, format!("not enough memory for {bytes} bytes of data"))
}

/// Bytes as pairs of hexadecimal digits, with or without white space between them.
struct Hex<R>(R);

impl<R: Read> Read for Hex<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut digits = vec![0u8; 2 * buffer.len().min(BLOCK)];
        let mut kept = 0;
        while kept < digits.len() {
            let start = kept;
            let found = fill(&mut self.0, &mut digits[start..])?;
            for at in start..start + found {
                if !digits[at].is_ascii_whitespace() {
                    let digit = char::from(digits[at]).to_digit(16);
                    let digit = digit.ok_or_else(|| io::Error::other("not a hexadecimal digit"))?;
                    digits[kept] = digit as u8;
                    kept += 1;
                }
            }
            if found == 0 {
                break;
            }
        }
        for (byte, pair) in buffer.iter_mut().zip(digits[..kept].chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(kept / 2)
    }
}

fn open(path: &Path) -> Result<(File, u64), ImageError> {
    let io = |e| ImageError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if about.is_dir() {
        return Err(io(io::Error::from(ErrorKind::IsADirectory)));
    }
    if !about.is_file() {
        return Err(ImageError::format(path, "not a regular file"));
    }
    Ok((file, about.len()))
}
