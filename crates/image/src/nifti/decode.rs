//! Bytes to values.

use std::path::Path;

use super::Flavour;
use super::header::Header;
use crate::ImageError;
use crate::stored::{Kind, Scale, Source, count};

/// What a file holds.
pub(super) struct Volume {
    pub(super) header: Header,
    /// Sizes along x, y, z, … as the library counts axes.
    pub(super) shape: Vec<usize>,
    /// Values in file order (x fastest) with slope and intercept applied.
    pub(super) values: Vec<f32>,
}

/// Reads header and values.
pub(super) fn read(path: &Path, mut source: Source<'_>, flavour: Flavour) -> Result<Volume, ImageError> {
    let header = Header::read(&mut source)?;
    if header.version == 2 && flavour == Flavour::SimpleItk {
        return Err(source.wrong("a NIfTI-2 file: SimpleITKIO reads NIfTI-1 alone, NibabelIO reads both"));
    }
    let voxels = count(path, &header.sizes)?;
    let kind = kind(header.datatype).ok_or_else(|| {
        let other = header.datatype;
        source.wrong(format!("data type {other} is not supported (integers and 32 or 64 bit floats are)"))
    })?;
    let bytes = voxels as u64 * kind.size() as u64;
    if let Some(left) = source.left().filter(|&left| left < header.gap + bytes) {
        return Err(source.truncated(bytes, left.saturating_sub(header.gap)));
    }
    if source.skip(header.gap, "header extension")? < header.gap {
        return Err(source.truncated(bytes, 0));
    }
    let values = source.values(voxels, kind, header.big, scale(&header, flavour))?;
    source.check_end()?;
    let shape = shape(&header, flavour);
    Ok(Volume { header, shape, values })
}

/// ITK drops axes of length 1 behind the third; nibabel drops none.
fn shape(header: &Header, flavour: Flavour) -> Vec<usize> {
    let mut shape: Vec<usize> = header.sizes.iter().map(|&n| n as usize).collect();
    while flavour == Flavour::SimpleItk && shape.len() > 3 && shape.last() == Some(&1) {
        shape.pop();
    }
    shape
}

/// The type with this code, if it is a real number.
fn kind(code: i16) -> Option<Kind> {
    Some(match code {
        2 => Kind::U8,
        4 => Kind::I16,
        8 => Kind::I32,
        16 => Kind::F32,
        64 => Kind::F64,
        256 => Kind::I8,
        512 => Kind::U16,
        768 => Kind::U32,
        1024 => Kind::I64,
        1280 => Kind::U64,
        _ => return None,
    })
}

/// The scale of a file, if it changes anything.
///
/// ITK takes a slope of 0 for 1 and still adds the intercept; nibabel ignores both. ITK turns integers into 32-bit floats
/// first, nibabel computes in 64 bits throughout.
fn scale(header: &Header, flavour: Flavour) -> Option<Scale> {
    let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
    let (slope, inter) = (finite(header.slope), finite(header.inter));
    let slope = match flavour {
        Flavour::Nibabel if slope == 0.0 => return None,
        Flavour::SimpleItk if slope.abs() <= f64::EPSILON => 1.0,
        _ => slope,
    };
    let early = flavour == Flavour::SimpleItk;
    (slope != 1.0 || inter != 0.0).then_some(Scale { slope, inter, early })
}
