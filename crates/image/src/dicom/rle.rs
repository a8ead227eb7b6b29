//! Run-length encoding (DICOM PS3.5, annex G): per frame one segment for each byte of the values, the most significant first.
//! The decoder of the `dicom` crates trusts the offsets of the segments.

use std::path::Path;

use crate::ImageError;

/// Bytes of the header of a frame: the number of segments and 15 offsets.
const HEADER: usize = 64;

/// Decodes frames of one fragment each, `expected` bytes in all, `size` bytes per value; least significant first.
pub(super) fn decode(
    path: &Path,
    fragments: &[impl AsRef<[u8]>],
    expected: usize,
    size: usize,
) -> Result<Vec<u8>, ImageError> {
    let frames: Vec<&[u8]> = fragments.iter().map(AsRef::as_ref).filter(|part| !part.is_empty()).collect();
    if frames.is_empty() || !expected.is_multiple_of(frames.len() * size) {
        let reason =
            format!("(7FE0,0010) Pixel Data: {} pieces for {expected} bytes of frames", frames.len());
        return Err(ImageError::format(path, reason));
    }
    let mut out = Vec::new();
    let no_memory = |_| ImageError::format(path, format!("not enough memory for {expected} bytes"));
    out.try_reserve_exact(expected).map_err(no_memory)?;
    out.resize(expected, 0);
    for (number, (frame, part)) in frames.iter().zip(out.chunks_mut(expected / frames.len())).enumerate() {
        unpack(frame, part, size).ok_or_else(|| {
            let reason =
                format!("(7FE0,0010) Pixel Data: run-length data of frame {} are not whole", number + 1);
            ImageError::format(path, reason)
        })?;
    }
    Ok(out)
}

/// One frame; nothing if it is not whole.
fn unpack(frame: &[u8], out: &mut [u8], size: usize) -> Option<()> {
    let long = |k: usize| Some(u32::from_le_bytes(*frame.get(4 * k..)?.first_chunk()?) as usize);
    if long(0)? != size || frame.len() < HEADER {
        return None;
    }
    let voxels = out.len() / size;
    for segment in 0..size {
        let end = if segment + 1 < size { long(segment + 2)? } else { frame.len() };
        let mut bytes = frame.get(long(segment + 1)?..end)?.iter();
        let byte = size - 1 - segment;
        let mut at = 0;
        while at < voxels {
            let control = usize::from(*bytes.next()?);
            let (count, repeated) = match control {
                0..=127 => (control + 1, None),
                128 => continue,
                _ => (257 - control, Some(*bytes.next()?)),
            };
            for _ in 0..count {
                let value = match repeated {
                    Some(value) => value,
                    None => *bytes.next()?,
                };
                *out.get_mut(at * size + byte)? = value;
                at += 1;
            }
        }
    }
    Some(())
}
