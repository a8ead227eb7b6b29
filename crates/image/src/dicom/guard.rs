//! Lengths that a file cannot hold, found before the parser takes memory for them.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use dicom_core::VR;
use dicom_core::header::Header;
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_parser::StatefulDecode;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use crate::ImageError;

/// Bytes before the four letters DICM.
pub(super) const PREAMBLE: usize = 128;
const META: usize = PREAMBLE + 4;
/// Nested sequences beyond this are taken for a lie.
const DEEPEST: usize = 64;

/// Whether a file starts like a DICOM file.
///
/// # Errors
/// A file that cannot be read.
pub fn is_dicom(path: &Path) -> Result<bool, ImageError> {
    let io = |e| ImageError::io(path, e);
    let mut start = Vec::new();
    File::open(path).map_err(io)?.take(META as u64).read_to_end(&mut start).map_err(io)?;
    Ok(start.get(PREAMBLE..) == Some(b"DICM"))
}

/// The bytes of a file in which every length has been checked.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let io = |e| ImageError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(ImageError::format(path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(about.len()).read_to_end(&mut bytes).map_err(io)?;
    let start = check(path, &bytes)?;
    // The parser takes the length that the file gives for its meta information; where that is wrong, it would read what has been
    // checked in another way.
    if bytes.get(META..META + 8) == Some(b"\x02\0\0\0UL\x04\0") {
        let length = (start - META).saturating_sub(12) as u32;
        bytes[META + 8..META + 12].copy_from_slice(&length.to_le_bytes());
    }
    Ok(bytes)
}

/// Checks all lengths; where the data set begins.
fn check(path: &Path, bytes: &[u8]) -> Result<usize, ImageError> {
    let wrong = |reason: String| ImageError::format(path, reason);
    if bytes.get(PREAMBLE..META) != Some(b"DICM") {
        return Err(wrong("not a DICOM file: there is no DICM behind 128 bytes".to_owned()));
    }
    let (start, syntax) = meta(bytes).ok_or_else(|| {
        wrong("broken DICOM file: its meta information, (0002,xxxx), is not whole".to_owned())
    })?;
    let known = TransferSyntaxRegistry.get(&syntax);
    // Deflated data sets have no lengths that could be checked.
    let Some(known) = known.filter(|known| !matches!(known.codec(), Codec::Dataset(_))) else {
        let syntax = super::uid(&syntax);
        return Err(wrong(format!("(0002,0010) Transfer Syntax UID {syntax} is not supported")));
    };
    let data = &bytes[start..];
    let broken = || wrong("broken DICOM file: its elements cannot be told apart".to_owned());
    let mut reader = LazyDataSetReader::new_with_ts(Cursor::new(data), known).map_err(|_| broken())?;
    // Sequences and items that are open.
    let mut depth = 0usize;
    while let Some(token) = reader.advance() {
        let token = token.map_err(|_| broken())?;
        let (tag, length, at) = match &token {
            LazyDataToken::LazyValue { header, decoder } => {
                (Some(header.tag()), u64::from(header.len.0), decoder.position())
            }
            LazyDataToken::LazyItemValue { len, decoder } => (None, u64::from(*len), decoder.position()),
            LazyDataToken::SequenceStart { .. }
            | LazyDataToken::PixelSequenceStart
            | LazyDataToken::ItemStart { .. } => {
                depth += 1;
                if depth > 2 * DEEPEST {
                    return Err(wrong(format!("sequences are nested more than {DEEPEST} deep")));
                }
                continue;
            }
            LazyDataToken::SequenceEnd => {
                depth = depth.saturating_sub(1);
                continue;
            }
            LazyDataToken::ItemEnd => {
                depth = depth.saturating_sub(1);
                // The parser goes on to look for items in a sequence that has ended, and panics where it finds one.
                if depth == 0 {
                    return Err(broken());
                }
                continue;
            }
            _ => continue,
        };
        let left = (data.len() as u64).saturating_sub(at);
        if length > left {
            let name = tag.map_or("a piece of (7FE0,0010) Pixel Data".to_owned(), |tag| tag.to_string());
            return Err(wrong(format!("truncated: {name} promises {length} bytes, {left} are left")));
        }
        if let LazyDataToken::LazyValue { header, .. } = &token {
            let unit = unit(header.vr());
            if !length.is_multiple_of(unit) {
                let (tag, vr) = (header.tag(), header.vr().to_string());
                let reason = format!("{tag} {vr} has {length} bytes, expected a multiple of {unit}");
                return Err(wrong(reason));
            }
        }
        token.skip().map_err(|_| broken())?;
    }
    Ok(start)
}

/// Bytes of a number. The parser reads whole ones and takes what is left over for the next element.
fn unit(vr: VR) -> u64 {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Where the data set begins, and its transfer syntax. Lengths are taken as the parser takes them, whose kinds have 2 bytes for
/// them or, if they are not known either, 2 that count for nothing and 4.
fn meta(bytes: &[u8]) -> Option<(usize, String)> {
    use VR::*;
    let mut at = META;
    let mut syntax = None;
    while bytes.get(at..at + 2) == Some(&[2, 0]) {
        let head: &[u8; 8] = bytes.get(at..)?.first_chunk()?;
        let (start, length) = match VR::from_binary([head[4], head[5]]) {
            Some(
                AE | AS | AT | CS | DA | DS | DT | FL | FD | IS | LO | LT | PN | SH | SL | SS | ST | TM | UI
                | UL | US,
            ) => (at + 8, usize::from(u16::from_le_bytes([head[6], head[7]]))),
            _ => {
                let long: &[u8; 4] = bytes.get(at + 8..)?.first_chunk()?;
                (at + 12, u32::from_le_bytes(*long) as usize)
            }
        };
        let value = bytes.get(start..start.checked_add(length)?)?;
        if head[2..4] == [0x10, 0] {
            syntax = Some(String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned());
        }
        at = start + length;
    }
    Some((at, syntax?))
}
