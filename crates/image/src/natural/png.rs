//! PNG, by the `png` crate. What it gives is brought to what Pillow gives scikit-image.

use std::io::Cursor;
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};

use super::{Pixels, check_size};
use crate::ImageError;

/// Deflate does no better than about 1000, bits become 8 times as many bytes.
const BEST_RATIO: u64 = 1100 * 8;

pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Pixels, ImageError> {
    let failed = |e: png::DecodingError| ImageError::format(path, format!("cannot decode the PNG data: {e}"));
    let length = bytes.len() as u64;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: 1 << 26 });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(failed)?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    let (stored, depth) = (info.color_type, info.bit_depth);
    check_size(path, width.into(), height.into(), length, BEST_RATIO)?;
    let no_memory = || ImageError::format(path, format!("not enough memory for {width} × {height} pixels"));
    let size = reader.output_buffer_size().ok_or_else(no_memory)?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size).map_err(|_| no_memory())?;
    buffer.resize(size, 0u8);
    let frame = reader.next_frame(&mut buffer).map_err(failed)?;
    reader.finish().map_err(failed)?;
    buffer.truncate(frame.buffer_size());

    let wide = frame.bit_depth == BitDepth::Sixteen;
    let samples = frame.color_type.samples();
    // Pillow keeps 16 bits in grey alone, of colours it takes the upper 8.
    let values: Vec<f32> = match (wide, stored) {
        (true, ColorType::Grayscale) => {
            buffer.as_chunks::<2>().0.iter().map(|&v| f32::from(u16::from_be_bytes(v))).collect()
        }
        (true, _) => buffer.as_chunks::<2>().0.iter().map(|v| f32::from(v[0])).collect(),
        (false, _) if depth == BitDepth::One && stored == ColorType::Grayscale => {
            buffer.iter().map(|&v| f32::from(v / 255)).collect()
        }
        (false, _) => buffer.iter().map(|&v| f32::from(v)).collect(),
    };
    let pick = |order: &[usize]| -> Vec<f32> {
        values.chunks_exact(samples).flat_map(|pixel| order.iter().map(|&k| pixel[k])).collect()
    };
    // Transparency beside the pixels does not count.
    let (colours, values) = match (stored, wide) {
        (ColorType::Grayscale, _) if samples == 1 => (1, values),
        (ColorType::Grayscale, _) => (1, pick(&[0])),
        (ColorType::Rgb | ColorType::Indexed, _) if samples == 3 => (3, values),
        (ColorType::Rgb | ColorType::Indexed, _) => (3, pick(&[0, 1, 2])),
        (ColorType::Rgba, _) => (4, values),
        (ColorType::GrayscaleAlpha, true) => (4, pick(&[0, 0, 0, 1])),
        (ColorType::GrayscaleAlpha, false) => {
            let reason = "grey with alpha: expected grey, or colour with or without alpha";
            return Err(ImageError::format(path, reason));
        }
    };
    Ok(Pixels { width: width as usize, height: height as usize, colours, values })
}

/// Grey of 8 or 16 bits.
pub(super) fn encode(
    path: &Path,
    [y, x]: [usize; 2],
    values: &[u16],
    wide: bool,
) -> Result<Vec<u8>, ImageError> {
    let failed = |e: png::EncodingError| ImageError::format(path, format!("cannot encode: {e}"));
    let size = |n: usize| u32::try_from(n).map_err(|_| ImageError::format(path, "an axis is too long"));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size(x)?, size(y)?);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(if wide { BitDepth::Sixteen } else { BitDepth::Eight });
    let mut writer = encoder.write_header().map_err(failed)?;
    let data: Vec<u8> = match wide {
        true => values.iter().flat_map(|v| v.to_be_bytes()).collect(),
        false => values.iter().map(|&v| v as u8).collect(),
    };
    writer.write_image_data(&data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}
