//! The headers of both versions in one form. That of version 1 is parsed by the `nifti` crate, that of version 2 here.

use nifti::{Endianness, NiftiHeader};

use crate::ImageError;
use crate::stored::Source;

/// Size of a header of version 1.
const SIZE_1: u64 = 348;
/// Size of a header of version 2.
const SIZE_2: u64 = 540;
/// Header extensions beyond this are taken for a lie.
const MOST_OFFSET: f64 = 1e9;

/// What a header says, as far as anybody needs it.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// 1 or 2.
    pub(super) version: u8,
    pub(super) big: bool,
    /// Sizes along x, y, z, …
    pub(super) sizes: Vec<u64>,
    pub(super) datatype: i16,
    pub(super) pixdim: [f64; 8],
    pub(super) slope: f64,
    pub(super) inter: f64,
    pub(super) units: u8,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    pub(super) quaternion: [f64; 3],
    pub(super) offsets: [f64; 3],
    pub(super) rows: [[f64; 4]; 3],
    /// Bytes between the header and the data.
    pub(super) gap: u64,
}

impl Header {
    pub(super) fn read(source: &mut Source<'_>) -> Result<Self, ImageError> {
        let mut bytes = [0u8; SIZE_2 as usize];
        source.exact(&mut bytes[..SIZE_1 as usize], "header")?;
        let size = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let size_2 = SIZE_2 as i32;
        if size == size_2.to_le_bytes() || size == size_2.to_be_bytes() {
            source.exact(&mut bytes[SIZE_1 as usize..], "header")?;
            return version_2(source, &Fields { bytes: &bytes, big: size == size_2.to_be_bytes() });
        }
        let header = NiftiHeader::from_reader(&bytes[..SIZE_1 as usize])
            .map_err(|e| source.wrong(format!("not a NIfTI header: {e}")))?;
        version_1(source, &header)
    }
}

fn version_1(source: &Source<'_>, h: &NiftiHeader) -> Result<Header, ImageError> {
    magic(source, &h.magic, b"n+1\0")?;
    let axes = axes(source, u64::from(h.dim[0]))?;
    if h.dim[1..=axes].iter().any(|&n| n == 0 || n > 32767) {
        return Err(source.wrong(format!("dim is {:?}: every size must be from 1 to 32767", h.dim)));
    }
    Ok(Header {
        version: 1,
        big: h.endianness == Endianness::Big,
        sizes: h.dim[1..=axes].iter().map(|&n| u64::from(n)).collect(),
        datatype: h.datatype,
        pixdim: h.pixdim.map(f64::from),
        slope: h.scl_slope.into(),
        inter: h.scl_inter.into(),
        units: h.xyzt_units,
        qform_code: h.qform_code.into(),
        sform_code: h.sform_code.into(),
        quaternion: [h.quatern_b, h.quatern_c, h.quatern_d].map(f64::from),
        offsets: [h.quatern_x, h.quatern_y, h.quatern_z].map(f64::from),
        rows: [h.srow_x, h.srow_y, h.srow_z].map(|row| row.map(f64::from)),
        gap: gap(source, h.vox_offset.into(), SIZE_1)?,
    })
}

fn version_2(source: &Source<'_>, h: &Fields<'_>) -> Result<Header, ImageError> {
    magic(source, &h.get::<8>(4), b"n+2\0\r\n\x1a\n")?;
    let dim: [i64; 8] = std::array::from_fn(|i| h.i64(16 + 8 * i));
    let axes = axes(source, u64::try_from(dim[0]).unwrap_or(0))?;
    let sizes: Option<Vec<u64>> =
        dim[1..=axes].iter().map(|&n| u64::try_from(n).ok().filter(|&n| n > 0)).collect();
    let Some(sizes) = sizes else {
        return Err(source.wrong(format!("dim is {dim:?}: every size must be at least 1")));
    };
    Ok(Header {
        version: 2,
        big: h.big,
        sizes,
        datatype: if h.big { i16::from_be_bytes(h.get(12)) } else { i16::from_le_bytes(h.get(12)) },
        pixdim: std::array::from_fn(|i| h.f64(104 + 8 * i)),
        slope: h.f64(176),
        inter: h.f64(184),
        units: (h.i32(500) & 0xff) as u8,
        qform_code: h.i32(344),
        sform_code: h.i32(348),
        quaternion: std::array::from_fn(|i| h.f64(352 + 8 * i)),
        offsets: std::array::from_fn(|i| h.f64(376 + 8 * i)),
        rows: std::array::from_fn(|row| std::array::from_fn(|column| h.f64(400 + 32 * row + 8 * column))),
        gap: gap(source, h.i64(168) as f64, SIZE_2)?,
    })
}

fn magic(source: &Source<'_>, found: &[u8], expected: &[u8]) -> Result<(), ImageError> {
    if found == expected {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..3]).trim_end_matches('\0').to_owned();
    let (found, expected) = (text(found), text(expected));
    Err(source.wrong(format!("magic is {found:?}, expected {expected:?} (header and data in one file)")))
}

fn axes(source: &Source<'_>, found: u64) -> Result<usize, ImageError> {
    if !(1..=7).contains(&found) {
        return Err(source.wrong(format!("dim[0] is {found}, expected 1 to 7")));
    }
    Ok(found as usize)
}

fn gap(source: &Source<'_>, offset: f64, header: u64) -> Result<u64, ImageError> {
    if !(header as f64..=MOST_OFFSET).contains(&offset) {
        return Err(source.wrong(format!("vox_offset is {offset}, expected at least {header}")));
    }
    Ok(offset as u64 - header)
}

/// Fields of a header of version 2, by their place in it.
struct Fields<'a> {
    bytes: &'a [u8; SIZE_2 as usize],
    big: bool,
}

impl Fields<'_> {
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.bytes[at + i])
    }

    fn i64(&self, at: usize) -> i64 {
        if self.big { i64::from_be_bytes(self.get(at)) } else { i64::from_le_bytes(self.get(at)) }
    }

    fn i32(&self, at: usize) -> i32 {
        if self.big { i32::from_be_bytes(self.get(at)) } else { i32::from_le_bytes(self.get(at)) }
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_bits(self.i64(at) as u64)
    }
}
