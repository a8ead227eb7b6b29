//! Pictures of a run as PNG files: training curves and segmentations laid over slices.

mod curve;
mod overlay;
mod ranks;

use std::sync::Once;

use plotters::style::{FontStyle, register_font};

pub use crate::label_colour;
pub use curve::{CurvePoint, training_curve};
pub use overlay::{OverlayPanel, PlanesStyle, overlay, overlay_planes, overlay_planes_in};
pub use ranks::rank_frequencies;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The file could not be written.
    #[error("cannot write picture {path}: {source}")]
    Write {
        /// The picture.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The drawing itself failed.
    #[error("cannot draw {path}: {reason}")]
    Draw {
        /// The picture.
        path: std::path::PathBuf,
        /// What the drawing library said.
        reason: String,
    },
    /// Image and label map of a panel do not have the same shape.
    #[error("cannot overlay labels of shape {labels:?} on an image of shape {image:?} (z, y, x)")]
    Shape {
        /// Shape of the label map.
        labels: [usize; 3],
        /// Shape of the image.
        image: [usize; 3],
    },
    /// There is nothing to draw.
    #[error("nothing to draw in {path}: {what}")]
    Empty {
        /// The picture.
        path: std::path::PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

static FONT: Once = Once::new();

/// The font is part of the binary: pictures do not depend on what is installed.
pub(crate) fn embed_font() {
    FONT.call_once(|| {
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}

/// Encodes an RGB buffer as PNG and writes it in one piece.
fn write_png(path: &std::path::Path, width: usize, height: usize, rgb: &[u8]) -> Result<(), PlotError> {
    let bytes = encode_png(path, width, height, rgb)?;
    nnunet_image::fs::write_atomic(path, |out| out.write_all(&bytes))
        .map_err(|source| PlotError::Write { path: path.to_owned(), source })
}

/// An RGB buffer as the bytes of a PNG file; `path` is for errors.
fn encode_png(path: &std::path::Path, width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>, PlotError> {
    let failed = |e: png::EncodingError| PlotError::Draw { path: path.to_owned(), reason: e.to_string() };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}
