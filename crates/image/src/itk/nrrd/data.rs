//! The values: in the same file or beside it, raw, gzipped or as text.

use std::path::Path;

use super::header::Header;
use crate::ImageError;
use crate::itk::volume::{Numbered, beside};
use crate::stored::{Kind, Source, count};

/// Longest line that `line skip` passes over.
const LINE: usize = 1 << 24;

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Gzip,
    Text,
    Hex,
}

/// Values in file order; `source` stands behind the header.
pub(super) fn read(
    header: &Header<'_>,
    source: &mut Source<'_>,
    sizes: &[u64],
) -> Result<Vec<f32>, ImageError> {
    let voxels = count(header.path, sizes)?;
    let part = Part::of(header)?;
    let Some(file) = header.get("data file") else {
        let left = source.left().unwrap_or(0);
        let length = header.path.metadata().map_or(0, |about| about.len());
        return part.read(header, Source::plain(header.path, length.saturating_sub(left))?, voxels);
    };
    let words: Vec<&str> = file.split_whitespace().collect();
    let (files, names): (u64, Box<dyn Fn(u64) -> String>) = match words.as_slice() {
        ["LIST", ..] => (header.list.len() as u64, Box::new(|k| header.list[k as usize].clone())),
        [pattern, numbers @ ..] if pattern.contains('%') && matches!(numbers.len(), 3 | 4) => {
            let parsed: Vec<i64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
            let [first, last, step, ..] = *parsed.as_slice() else {
                return Err(header.wrong(format!("data file is {file:?}: expected whole numbers")));
            };
            let names = Numbered::new(header.path, pattern, [first, last, step])?;
            (names.files, Box::new(move |k| names.name(k)))
        }
        _ => (1, Box::new(|_| file.to_owned())),
    };
    if files == 0 || !(voxels as u64).is_multiple_of(files) {
        return Err(header.wrong(format!("{files} data files cannot share {voxels} voxels evenly")));
    }
    if files == 1 {
        return part.open(header, &beside(header.path, &names(0)), voxels);
    }
    let mut values = Vec::new();
    for k in 0..files {
        let path = beside(header.path, &names(k));
        values.extend(part.open(header, &path, (voxels as u64 / files) as usize)?);
    }
    Ok(values)
}

/// What holds for every file with data.
#[derive(Clone, Copy)]
struct Part {
    encoding: Encoding,
    kind: Kind,
    big: bool,
    lines: u64,
    /// −1: the data are the last bytes.
    bytes: i64,
}

impl Part {
    fn of(header: &Header<'_>) -> Result<Self, ImageError> {
        let kind = header.kind()?;
        let encoding = match header.need("encoding")?.to_lowercase().as_str() {
            "raw" => Encoding::Raw,
            "gz" | "gzip" => Encoding::Gzip,
            "txt" | "text" | "ascii" => Encoding::Text,
            "hex" => Encoding::Hex,
            other => {
                let text = format!("encoding {other:?} is not supported (raw, gzip, ascii and hex are)");
                return Err(header.wrong(text));
            }
        };
        let big = match header.get("endian").map(str::to_lowercase).as_deref() {
            Some("little") => false,
            Some("big") => true,
            None if kind.size() == 1 || encoding == Encoding::Text => false,
            other => return Err(header.wrong(format!("endian is {other:?}: expected little or big"))),
        };
        let (lines, bytes) = (header.whole("line skip")?, header.whole("byte skip")?);
        match u64::try_from(lines) {
            Ok(lines) if bytes >= 0 || (bytes == -1 && encoding == Encoding::Raw) => {
                Ok(Self { encoding, kind, big, lines, bytes })
            }
            _ => Err(header.wrong(format!("line skip {lines} and byte skip {bytes} lead to no data"))),
        }
    }

    fn open(self, header: &Header<'_>, path: &Path, voxels: usize) -> Result<Vec<f32>, ImageError> {
        self.read(header, Source::plain(path, 0)?, voxels)
    }

    fn read(
        self,
        header: &Header<'_>,
        mut source: Source<'_>,
        voxels: usize,
    ) -> Result<Vec<f32>, ImageError> {
        for _ in 0..self.lines {
            if source.line(LINE)?.is_none() {
                return Err(
                    header.wrong(format!("the data have fewer than line skip = {} lines", self.lines))
                );
            }
        }
        if self.encoding == Encoding::Gzip {
            source = source.gunzip();
        }
        let skip = match (u64::try_from(self.bytes), source.left()) {
            (Ok(skip), _) => skip,
            (Err(_), Some(left)) => left.saturating_sub(voxels as u64 * self.kind.size() as u64),
            (Err(_), None) => 0,
        };
        if source.skip(skip, "bytes to skip")? < skip {
            return Err(source.truncated(skip, 0));
        }
        match self.encoding {
            Encoding::Text => source.text_values(voxels, self.kind),
            Encoding::Hex => source.unhex().values(voxels, self.kind, self.big, None),
            Encoding::Raw | Encoding::Gzip => {
                let values = source.values(voxels, self.kind, self.big, None)?;
                source.check_end()?;
                Ok(values)
            }
        }
    }
}
