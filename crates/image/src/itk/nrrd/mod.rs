//! NRRD files: `.nrrd` holds header and data, `.nhdr` names the files that hold the data.

mod data;
mod header;
mod space;

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::frame::{Space, text};
use super::volume::image;
use crate::fs::write_atomic;
use crate::stored::{Kind, Pixels, Source};
use crate::{Geometry, Image, ImageError};

use header::Header;

pub(super) fn read(path: &Path) -> Result<Image, ImageError> {
    let mut source = Source::plain(path, 0)?;
    let header = Header::read(path, &mut source)?;
    let sizes = header.sizes()?;
    let space = space::space(&header, &sizes)?;
    // Checked before the data are read.
    space.geometry(path)?;
    let values = data::read(&header, &mut source, &sizes)?;
    image(path, &sizes, values, &space)
}

pub(super) fn write(path: &Path, pixels: &Pixels<'_>, geometry: &Geometry) -> Result<(), ImageError> {
    let [z, y, x] = pixels.shape(path)?;
    let space = Space::of(geometry, z);
    let axes = space.spacing.len();
    let sizes = [x, y, z].map(|n| n.to_string())[..axes].join(" ");
    let (kind, endian) = match pixels.kind() {
        Kind::U8 => ("unsigned char", ""),
        Kind::U16 => ("unsigned short", "endian: little\n"),
        _ => ("float", "endian: little\n"),
    };
    let vector = |k: usize| {
        let step: Vec<f64> = space.axes[k].iter().map(|v| v * space.spacing[k]).collect();
        format!("({})", text(&step, ","))
    };
    let directions = (0..axes).map(vector).collect::<Vec<_>>().join(" ");
    let name = if axes == 3 { "space: left-posterior-superior" } else { "space dimension: 2" };
    let mut header = format!(
        "NRRD0004\n# Complete NRRD file format specification at:\n\
         # http://teem.sourceforge.net/nrrd/format.html\ntype: {kind}\ndimension: {axes}\n{name}\n\
         sizes: {sizes}\nspace directions: {directions}\nkinds:{}\n{endian}encoding: gzip\n\
         space origin: ({})\n",
        " domain".repeat(axes),
        text(&space.origin, ","),
    );
    let data = |out: &mut dyn Write| {
        let mut gz = GzEncoder::new(out, Compression::new(6));
        pixels.write(&mut gz, false)?;
        gz.finish().map(drop)
    };
    let detached = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("nhdr"));
    if !detached {
        header.push('\n');
        let written = write_atomic(path, |out| {
            out.write_all(header.as_bytes())?;
            data(out)
        });
        return written.map_err(|e| ImageError::io(path, e));
    }
    let beside = path.with_extension("raw.gz");
    let name = beside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    header.push_str(&format!("data file: {name}\n"));
    write_atomic(&beside, data).map_err(|e| ImageError::io(&beside, e))?;
    write_atomic(path, |out| out.write_all(header.as_bytes())).map_err(|e| ImageError::io(path, e))
}
