//! One page.

use std::io::{Read, Seek};
use std::path::Path;

use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use crate::ImageError;

/// What a page says of itself.
#[derive(Debug, Clone)]
pub(super) struct Page {
    width: u32,
    height: u32,
    pub(super) samples: u32,
    bits: Vec<u16>,
    format: Option<Vec<u16>>,
    compression: u32,
    /// Whether the samples of a pixel lie in planes of their own.
    planar: bool,
    /// Whether 0 stands for white, which the decoder turns around and tifffile does not.
    inverted: bool,
    pub(super) description: Option<String>,
    /// Bytes of its strips or tiles.
    pub(super) stored: u64,
}

impl Page {
    /// The page that the decoder stands at.
    pub(super) fn of<R: Read + Seek>(decoder: &mut Decoder<R>) -> TiffResult<Self> {
        let (width, height) = decoder.dimensions()?;
        let number = |decoder: &mut Decoder<R>, tag, default| {
            Ok::<u32, TiffError>(decoder.find_tag_unsigned(tag)?.unwrap_or(default))
        };
        let mut counts = decoder.find_tag_unsigned_vec::<u64>(Tag::StripByteCounts)?;
        if counts.is_none() {
            counts = decoder.find_tag_unsigned_vec::<u64>(Tag::TileByteCounts)?;
        }
        let description = decoder.find_tag(Tag::ImageDescription)?.and_then(|value| value.into_string().ok());
        Ok(Self {
            width,
            height,
            samples: number(decoder, Tag::SamplesPerPixel, 1)?,
            bits: decoder.find_tag_unsigned_vec(Tag::BitsPerSample)?.unwrap_or_else(|| vec![1]),
            format: decoder.find_tag_unsigned_vec(Tag::SampleFormat)?,
            compression: number(decoder, Tag::Compression, 1)?,
            planar: number(decoder, Tag::PlanarConfiguration, 1)? == 2,
            inverted: number(decoder, Tag::PhotometricInterpretation, 1)? == 0,
            description,
            stored: counts.unwrap_or_default().iter().fold(0u64, |sum, &n| sum.saturating_add(n)),
        })
    }

    /// Refuses pages without pixels and those that cannot be given back as they are stored.
    pub(super) fn check(&self, path: &Path) -> Result<(), ImageError> {
        let Self { width, height, samples, .. } = self;
        if *width == 0 || *height == 0 || *samples == 0 {
            let reason =
                format!("a page of {width} × {height} pixels with {samples} samples: expected at least 1");
            return Err(ImageError::format(path, reason));
        }
        let float = self.format.as_ref().is_some_and(|format| format.contains(&3));
        if self.inverted && float {
            return Err(ImageError::format(path, "floats with 0 for white are not supported"));
        }
        Ok(())
    }

    pub(super) fn same_kind(&self, other: &Self) -> bool {
        (self.width, self.height, self.samples, &self.bits, &self.format, self.compression, self.planar)
            == (
                other.width,
                other.height,
                other.samples,
                &other.bits,
                &other.format,
                other.compression,
                other.planar,
            )
            && self.inverted == other.inverted
    }

    /// Values of one page.
    pub(super) fn voxels(&self) -> usize {
        let size = |n: u32| n as usize;
        size(self.width).saturating_mul(size(self.height)).saturating_mul(size(self.samples))
    }

    /// Shape of the array of one page.
    pub(super) fn page_shape(&self) -> Vec<usize> {
        let (width, height, samples) = (self.width as usize, self.height as usize, self.samples as usize);
        match (self.samples, self.planar) {
            (1, _) => vec![height, width],
            (_, true) => vec![samples, height, width],
            (_, false) => vec![height, width, samples],
        }
    }

    /// Decodes the page that the decoder stands at and appends its values.
    pub(super) fn read<R: Read + Seek>(
        &self,
        path: &Path,
        decoder: &mut Decoder<R>,
        values: &mut Vec<f32>,
        most: usize,
    ) -> Result<(), ImageError> {
        let failed = |e: TiffError| ImageError::format(path, format!("cannot decode the TIFF data: {e}"));
        let voxels = self.voxels();
        if values.len().saturating_add(voxels) > most {
            return Err(ImageError::format(path, format!("the pages hold more than {most} values")));
        }
        // What the file cannot hold is refused by the decoder's limits before memory is taken.
        let mut result = DecodingResult::U8(Vec::new());
        decoder.read_image_to_buffer(&mut result).map_err(failed)?;
        values.try_reserve(voxels).map_err(|_| ImageError::format(path, "not enough memory"))?;
        let before = values.len();
        if let (DecodingResult::U8(bytes), [bits @ (1 | 2 | 4)]) = (&result, self.bits.as_slice()) {
            self.unpack(bytes, *bits, values);
        } else {
            self.append(result, values);
        }
        match values.len() - before {
            found if found == voxels => Ok(()),
            found => {
                let (shape, bits) = (self.page_shape(), &self.bits);
                let reason = format!("a page of shape {shape:?} and {bits:?} bits gave {found} values");
                Err(ImageError::format(path, reason))
            }
        }
    }

    /// Values of fewer than 8 bits; rows start at whole bytes.
    fn unpack(&self, bytes: &[u8], bits: u16, values: &mut Vec<f32>) {
        let each = usize::from(8 / bits);
        let mask = (1u16 << bits) as u8;
        let mask = mask.wrapping_sub(1);
        let width = self.width as usize;
        for row in bytes.chunks(width.div_ceil(each)).take(self.height as usize) {
            let pixels = row.iter().flat_map(|&byte| {
                let byte = if self.inverted { !byte } else { byte };
                (0..each).map(move |k| byte >> (8 - usize::from(bits) * (k + 1)) & mask)
            });
            values.extend(pixels.take(width).map(f32::from));
        }
    }

    fn append(&self, result: DecodingResult, values: &mut Vec<f32>) {
        macro_rules! unsigned {
            ($v:expr) => {
                match self.inverted {
                    true => values.extend($v.into_iter().map(|v| !v as f32)),
                    false => values.extend($v.into_iter().map(|v| v as f32)),
                }
            };
        }
        match result {
            DecodingResult::U8(v) => unsigned!(v),
            DecodingResult::U16(v) => unsigned!(v),
            DecodingResult::U32(v) => unsigned!(v),
            DecodingResult::U64(v) => unsigned!(v),
            DecodingResult::I8(v) => unsigned!(v),
            DecodingResult::I16(v) => unsigned!(v),
            DecodingResult::I32(v) => unsigned!(v),
            DecodingResult::I64(v) => unsigned!(v),
            DecodingResult::F16(v) => values.extend(v.into_iter().map(|v| v.to_f32())),
            DecodingResult::F32(v) => values.extend(v),
            DecodingResult::F64(v) => values.extend(v.into_iter().map(|v| v as f32)),
        }
    }
}
