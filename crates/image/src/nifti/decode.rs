//! Bytes to values.

use std::path::Path;

use super::Flavour;
use super::header::Header;
use crate::ImageError;
use crate::stored::{Kind, Scale, Source, count};

/// What parts of the values are handed to.
pub(super) type Take<'a, T> = &'a mut dyn FnMut(&[T]) -> Result<(), ImageError>;

/// A file whose header has been read and whose values come next.
pub(super) struct Volume<'a> {
    pub(super) header: Header,
    /// Sizes along x, y, z, … as the library counts axes.
    pub(super) shape: Vec<usize>,
    path: &'a Path,
    source: Source<'a>,
    kind: Kind,
    scale: Option<Scale>,
    voxels: usize,
}

impl<'a> Volume<'a> {
    /// Reads the header.
    pub(super) fn open(path: &'a Path, mut source: Source<'a>, flavour: Flavour) -> Result<Self, ImageError> {
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
        let (shape, scale) = (shape(&header, flavour), scale(&header, flavour));
        Ok(Self { header, shape, path, source, kind, scale, voxels })
    }

    /// The values in file order (x fastest) with slope and intercept applied.
    pub(super) fn values(mut self) -> Result<Vec<f32>, ImageError> {
        let values = self.source.values(self.voxels, self.kind, self.header.big, self.scale)?;
        self.source.check_end()?;
        Ok(values)
    }

    /// The same, part by part.
    pub(super) fn visit(mut self, take: Take<'_, f32>) -> Result<(), ImageError> {
        let mut values = Vec::new();
        let (kind, big, scale) = (self.kind, self.header.big, self.scale);
        self.source.blocks(self.voxels, kind, |part| {
            values.clear();
            kind.decode(part, big, scale, &mut values);
            take(&values)
        })?;
        self.source.check_end()
    }

    /// The same as labels.
    pub(super) fn labels(self) -> Result<Vec<i16>, ImageError> {
        let mut labels = Vec::new();
        self.source.promise(&mut labels, self.voxels, self.kind)?;
        let path = self.path;
        self.visit_labels(&mut |part| {
            labels.try_reserve(part.len()).map_err(|_| {
                ImageError::format(path, format!("not enough memory for {} labels", labels.len()))
            })?;
            labels.extend_from_slice(part);
            Ok(())
        })?;
        Ok(labels)
    }

    /// The same as labels, part by part.
    pub(super) fn visit_labels(mut self, take: Take<'_, i16>) -> Result<(), ImageError> {
        let mut labels = Vec::new();
        let (kind, big, scale) = (self.kind, self.header.big, self.scale);
        let mut passed = 0;
        let size = |axis: usize| self.shape.get(axis).copied().unwrap_or(1);
        let (path, width, height) = (self.path, size(0), size(1));
        self.source.blocks(self.voxels, kind, |part| {
            labels.clear();
            kind.decode_labels(part, big, scale, &mut labels).map_err(|(at, value)| {
                let row = (passed + at) / width;
                let voxel = [row / height, row % height, (passed + at) % width];
                ImageError::NotALabel { path: path.to_owned(), value, voxel }
            })?;
            passed += labels.len();
            take(&labels)
        })?;
        self.source.check_end()
    }
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
