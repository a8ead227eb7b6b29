//! What stands between the header and the values: extensions, each with a code that says what it is.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::header::Header;
use crate::ImageError;
use crate::fs::write_atomic;
use crate::stored::Source;

/// Extensions beyond this are not read.
const MOST: u64 = 1 << 26;

/// A header extension of a NIfTI file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NiftiExtension {
    /// What kind of data it is: 2 DICOM, 4 AFNI's XML, 6 plain text, … (`ecode` of nifti1.h).
    pub code: i32,
    /// The data; those of a file end with zeros up to a multiple of 16 bytes.
    pub data: Vec<u8>,
}

impl NiftiExtension {
    /// The code of plain text.
    pub const COMMENT: i32 = 6;

    /// Plain text.
    pub fn comment(text: &str) -> Self {
        Self { code: Self::COMMENT, data: text.as_bytes().to_vec() }
    }

    /// The text, if this is one; without the zeros at its end.
    pub fn text(&self) -> Option<&str> {
        let text = (self.code == Self::COMMENT).then(|| std::str::from_utf8(&self.data).ok())?;
        text.map(|text| text.trim_end_matches('\0'))
    }

    /// Bytes in a file.
    fn size(&self) -> usize {
        (8 + self.data.len()).next_multiple_of(16)
    }
}

/// The header extensions of a NIfTI file, in order.
///
/// # Errors
/// A file that cannot be read or is not NIfTI, or extensions that do not fit between its header and its values.
pub fn nifti_extensions(path: &Path) -> Result<Vec<NiftiExtension>, ImageError> {
    let mut source = Source::open(path)?;
    let header = Header::read(&mut source)?;
    if header.gap > MOST {
        return Err(
            source.wrong(format!("{} bytes of header extensions, expected {MOST} at most", header.gap))
        );
    }
    if let Some(left) = source.left().filter(|&left| left < header.gap) {
        return Err(source.truncated(header.gap, left));
    }
    let mut gap = vec![0; header.gap as usize];
    source.exact(&mut gap, "header extension")?;
    // The first of four bytes tells whether there are any.
    let Some((&[1, ..], mut rest)) = gap.split_first_chunk::<4>() else { return Ok(Vec::new()) };
    let number =
        |bytes: [u8; 4]| if header.big { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) };
    let mut extensions = Vec::new();
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let size = number(*size);
        let wrong = || {
            let left = rest.len();
            source
                .wrong(format!("a header extension of {size} bytes, expected at least 8 and at most {left}"))
        };
        let size =
            usize::try_from(size).ok().filter(|size| (8..=rest.len()).contains(size)).ok_or_else(wrong)?;
        let Some((code, _)) = after.split_first_chunk::<4>() else { break };
        extensions.push(NiftiExtension { code: number(*code), data: rest[8..size].to_vec() });
        rest = &rest[size..];
    }
    Ok(extensions)
}

/// Gives a NIfTI file these header extensions instead of those that it has. Header and values stay as they are, byte by byte, but
/// for the place of the values.
///
/// # Errors
/// A file that cannot be read or is not NIfTI, more extensions than 64 MB, or a file that cannot be written; no partial file is
/// left.
pub fn set_nifti_extensions(path: &Path, extensions: &[NiftiExtension]) -> Result<(), ImageError> {
    let mut source = Source::open(path)?;
    let header = Header::read(&mut source)?;
    let failed = |error: io::Error| ImageError::io(path, error);
    let room: usize = extensions.iter().map(NiftiExtension::size).sum();
    if room as u64 > MOST {
        return Err(source.wrong(format!("{room} bytes of header extensions, expected {MOST} at most")));
    }
    drop(source);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let zipped = io::BufRead::fill_buf(&mut file).map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut begin = vec![0; if header.version == 2 { 540 } else { 348 }];
    reader.read_exact(&mut begin).map_err(failed)?;
    let skipped = io::copy(&mut reader.by_ref().take(header.gap), &mut io::sink()).map_err(failed)?;
    if skipped < header.gap {
        return Err(ImageError::Truncated { path: path.to_owned(), expected: header.gap, found: skipped });
    }
    // Four bytes tell whether extensions follow; the values begin at a multiple of 16 bytes.
    let values = begin.len() + 4 + room;
    place_values(&mut begin, &header, values);
    begin.extend(between(extensions, header.big));
    write_atomic(path, |out| {
        if !zipped {
            out.write_all(&begin)?;
            return io::copy(&mut reader, out).map(drop);
        }
        let mut gz = GzEncoder::new(out, Compression::new(6));
        gz.write_all(&begin)?;
        io::copy(&mut reader, &mut gz)?;
        gz.finish().map(drop)
    })
    .map_err(failed)
}

/// Writes where the values begin into a header.
fn place_values(bytes: &mut [u8], header: &Header, at: usize) {
    if header.version == 2 {
        let at = at as i64;
        bytes[168..176].copy_from_slice(&if header.big { at.to_be_bytes() } else { at.to_le_bytes() });
    } else {
        let at = at as f32;
        bytes[108..112].copy_from_slice(&if header.big { at.to_be_bytes() } else { at.to_le_bytes() });
    }
}

/// The bytes between header and values.
fn between(extensions: &[NiftiExtension], big: bool) -> Vec<u8> {
    let mut bytes = vec![u8::from(!extensions.is_empty()), 0, 0, 0];
    let number = |value: i32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    for extension in extensions {
        let size = extension.size();
        let end = bytes.len() + size;
        bytes.extend(number(size as i32));
        bytes.extend(number(extension.code));
        bytes.extend(&extension.data);
        bytes.resize(end, 0);
    }
    bytes
}
