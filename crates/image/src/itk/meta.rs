//! MetaImage files: `.mha` holds header and data, `.mhd` names the files that hold the data.

use std::collections::HashMap;
use std::path::Path;

use flate2::{Compression, write::ZlibEncoder};

use super::frame::{Space, text};
use super::volume::{Numbered, beside, check_axes, components, image};
use crate::fs::write_atomic;
use crate::stored::{Kind, Pixels, Source, count};
use crate::{Geometry, Image, ImageError};

/// Longest line of a header.
const LINE: usize = 1 << 16;
/// Most lines of a header.
const LINES: usize = 1 << 12;
/// Most files of one image.
const FILES: usize = 1 << 16;
/// Where one thing has several names, the first that is there counts.
const SPACING: [&str; 2] = ["ElementSpacing", "ElementSize"];
const ORIGIN: [&str; 3] = ["Offset", "Position", "Origin"];
const AXES: [&str; 3] = ["TransformMatrix", "Rotation", "Orientation"];
const MSB: [&str; 2] = ["ElementByteOrderMSB", "BinaryDataByteOrderMSB"];

pub(super) fn read(path: &Path) -> Result<Image, ImageError> {
    let mut source = Source::plain(path, 0)?;
    let fields = Fields::read(path, &mut source)?;
    let sizes = fields.sizes()?;
    let voxels = count(path, &sizes)?;
    let space = fields.space(sizes.len())?;
    // Checked before the data are read.
    space.geometry(path)?;
    let layout = Layout { voxels, kind: fields.kind()?, big: fields.flag(&MSB) };
    let file = fields.need("ElementDataFile")?.to_owned();
    let values = match file.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["LOCAL" | "Local" | "local"] => {
            let start = source.left().map_or(0, |left| length(path, left));
            fields.values(path, start, layout)?
        }
        ["LIST", ..] => {
            let mut names = Vec::new();
            while let Some(line) = source.line(LINE)?.filter(|_| names.len() < FILES) {
                names.push(String::from_utf8_lossy(&line).trim().to_owned());
            }
            names.retain(|name| !name.is_empty());
            fields.parts(path, names.len() as u64, |k| names[k as usize].clone(), layout)?
        }
        [pattern, numbers @ ..] if pattern.contains('%') && matches!(numbers.len(), 2 | 3) => {
            let parsed: Vec<i64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
            let range = match *parsed.as_slice() {
                [first, last] => [first, last, 1],
                [first, last, step] => [first, last, step],
                _ => return Err(source.wrong(format!("ElementDataFile is {file:?}: expected whole numbers"))),
            };
            let names = Numbered::new(path, pattern, range)?;
            fields.parts(path, names.files, |k| names.name(k), layout)?
        }
        _ => fields.values(&beside(path, &file), 0, layout)?,
    };
    image(path, &sizes, values, &space)
}

/// Bytes before the last `left` of a file.
fn length(path: &Path, left: u64) -> u64 {
    path.metadata().map_or(0, |about| about.len().saturating_sub(left))
}

/// How values are stored.
#[derive(Clone, Copy)]
struct Layout {
    voxels: usize,
    kind: Kind,
    big: bool,
}

/// The lines of a header.
struct Fields<'a> {
    path: &'a Path,
    fields: HashMap<String, String>,
}

impl<'a> Fields<'a> {
    /// Reads up to `ElementDataFile`, which is always the last.
    fn read(path: &'a Path, source: &mut Source<'_>) -> Result<Self, ImageError> {
        let mut fields = HashMap::new();
        for _ in 0..LINES {
            let Some(line) = source.line(LINE)? else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.trim().is_empty() {
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']) else {
                let start: String = line.chars().take(40).collect();
                return Err(source.wrong(format!("not a MetaImage header: {start:?} has no \"=\"")));
            };
            let key = key.trim().to_owned();
            let last = key == "ElementDataFile";
            fields.insert(key, value.trim().to_owned());
            if last {
                return Ok(Self { path, fields });
            }
        }
        Err(source.wrong("not a MetaImage header: it has no ElementDataFile"))
    }

    fn wrong(&self, reason: String) -> ImageError {
        ImageError::format(self.path, reason)
    }

    fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.fields.get(*key)).map(String::as_str)
    }

    fn need(&self, key: &str) -> Result<&str, ImageError> {
        self.get(&[key]).ok_or_else(|| self.wrong(format!("the header has no {key}")))
    }

    fn flag(&self, keys: &[&str]) -> bool {
        self.get(keys).is_some_and(|value| value.starts_with(['T', 't', '1']))
    }

    /// `expected` numbers.
    fn numbers(&self, keys: &[&str], expected: usize) -> Result<Option<Vec<f64>>, ImageError> {
        let Some(value) = self.get(keys) else { return Ok(None) };
        let numbers: Vec<f64> = value.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if numbers.len() < expected {
            return Err(
                self.wrong(format!("{} is {value:?}: expected {expected} numbers", keys.join(" or ")))
            );
        }
        Ok(Some(numbers[..expected].to_vec()))
    }

    fn whole(&self, key: &str) -> Result<Option<i64>, ImageError> {
        let number = |text: &str| {
            text.parse().map_err(|_| self.wrong(format!("{key} is {text:?}: expected a whole number")))
        };
        self.get(&[key]).map(number).transpose()
    }

    fn sizes(&self) -> Result<Vec<u64>, ImageError> {
        if let Some(channels) = self.whole("ElementNumberOfChannels")?.filter(|&n| n != 1) {
            return Err(components(self.path, channels.unsigned_abs()));
        }
        let axes = self.need("NDims")?;
        let value = self.need("DimSize")?;
        let sizes: Vec<u64> = value.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if axes.parse() != Ok(sizes.len()) {
            return Err(self.wrong(format!("DimSize is {value:?}: expected NDims = {axes} whole numbers")));
        }
        check_axes(self.path, &sizes)?;
        Ok(sizes)
    }

    fn space(&self, axes: usize) -> Result<Space, ImageError> {
        let mut space = Space::new(axes);
        if let Some(spacing) = self.numbers(&SPACING, axes)? {
            space.spacing = spacing;
        }
        if let Some(origin) = self.numbers(&ORIGIN, axes)? {
            space.origin = origin;
        }
        if let Some(matrix) = self.numbers(&AXES, axes * axes)? {
            space.axes = matrix.chunks(axes).map(<[f64]>::to_vec).collect();
        }
        Ok(space)
    }

    fn kind(&self) -> Result<Kind, ImageError> {
        Ok(match self.need("ElementType")? {
            "MET_UCHAR" => Kind::U8,
            "MET_CHAR" => Kind::I8,
            "MET_USHORT" => Kind::U16,
            "MET_SHORT" => Kind::I16,
            "MET_UINT" | "MET_ULONG" => Kind::U32,
            "MET_INT" | "MET_LONG" => Kind::I32,
            "MET_ULONG_LONG" => Kind::U64,
            "MET_LONG_LONG" => Kind::I64,
            "MET_FLOAT" => Kind::F32,
            "MET_DOUBLE" => Kind::F64,
            other => {
                let text = format!("ElementType {other:?} is not supported (MET_ integers and floats are)");
                return Err(self.wrong(text));
            }
        })
    }

    /// Values that start at byte `start` of a file, unless the header says where.
    fn values(&self, file: &Path, start: u64, layout: Layout) -> Result<Vec<f32>, ImageError> {
        let Layout { voxels, kind, big } = layout;
        let compressed = self.flag(&["CompressedData"]);
        let start = match self.whole("HeaderSize")?.unwrap_or(0) {
            -1 if compressed => {
                return Err(self.wrong("HeaderSize is -1, but the data are compressed".to_owned()));
            }
            -1 => length(file, voxels as u64 * kind.size() as u64).max(start),
            0 => start,
            bytes => u64::try_from(bytes)
                .map_err(|_| self.wrong(format!("HeaderSize is {bytes}: expected -1, 0 or more")))?,
        };
        let mut source = Source::plain(file, start)?;
        if !self.fields.get("BinaryData").is_none_or(|value| value.starts_with(['T', 't', '1'])) {
            return source.text_values(voxels, kind);
        }
        if !compressed {
            return source.values(voxels, kind, big, None);
        }
        let promised = self.whole("CompressedDataSize")?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        if let Some(left) = source.left().filter(|&left| left < promised) {
            return Err(source.truncated(promised, left));
        }
        let mut source = source.inflate();
        let values = source.values(voxels, kind, big, None)?;
        source.check_end()?;
        Ok(values)
    }

    /// Values from several files, the same number from each.
    fn parts(
        &self,
        header: &Path,
        files: u64,
        name: impl Fn(u64) -> String,
        layout: Layout,
    ) -> Result<Vec<f32>, ImageError> {
        if files == 0 || !(layout.voxels as u64).is_multiple_of(files) {
            let voxels = layout.voxels;
            return Err(self.wrong(format!("{files} data files cannot share {voxels} voxels evenly")));
        }
        let each = Layout { voxels: (layout.voxels as u64 / files) as usize, ..layout };
        let mut values = Vec::new();
        for k in 0..files {
            values.extend(self.values(&beside(header, &name(k)), 0, each)?);
        }
        Ok(values)
    }
}

pub(super) fn write(path: &Path, pixels: &Pixels<'_>, geometry: &Geometry) -> Result<(), ImageError> {
    let [z, y, x] = pixels.shape(path)?;
    let space = Space::of(geometry, z);
    let axes = space.spacing.len();
    let sizes = [x, y, z].map(|n| n.to_string())[..axes].join(" ");
    let kind = match pixels.kind() {
        Kind::U8 => "MET_UCHAR",
        Kind::U16 => "MET_USHORT",
        _ => "MET_FLOAT",
    };
    let io = |e| ImageError::io(path, e);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
    pixels.write(&mut zlib, false).map_err(io)?;
    let data = zlib.finish().map_err(io)?;
    let detached = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mhd"));
    let beside = path.with_extension("zraw");
    let name = match beside.file_name() {
        Some(name) if detached => name.to_string_lossy().into_owned(),
        _ => "LOCAL".to_owned(),
    };
    let header = format!(
        "ObjectType = Image\nNDims = {axes}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
         CompressedData = True\nCompressedDataSize = {}\nTransformMatrix = {}\nOffset = {}\n\
         CenterOfRotation = {}\nElementSpacing = {}\nDimSize = {sizes}\nElementType = {kind}\n\
         ElementDataFile = {name}\n",
        data.len(),
        text(&space.axes.concat(), " "),
        text(&space.origin, " "),
        text(&vec![0.0; axes], " "),
        text(&space.spacing, " "),
    );
    if detached {
        write_atomic(&beside, |out| out.write_all(&data)).map_err(|e| ImageError::io(&beside, e))?;
    }
    let written = write_atomic(path, |out| {
        out.write_all(header.as_bytes())?;
        if detached { Ok(()) } else { out.write_all(&data) }
    });
    written.map_err(io)
}
