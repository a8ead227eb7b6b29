//! The lines of a header.

use std::collections::HashMap;
use std::path::Path;

use crate::ImageError;
use crate::itk::volume::{check_axes, components};
use crate::stored::{Kind, Source};

/// Longest line of a header.
const LINE: usize = 1 << 16;
/// Most lines of a header, names of data files included.
const LINES: usize = 1 << 16;
/// Fields that the format knows, without their spaces. Others are refused, as ITK refuses them: a misspelt one would change the geometry.
const KNOWN: [&str; 30] = [
    "content",
    "number",
    "type",
    "blocksize",
    "dimension",
    "space",
    "spacedimension",
    "sizes",
    "spacings",
    "thicknesses",
    "axismins",
    "axismaxs",
    "spacedirections",
    "centers",
    "centerings",
    "kinds",
    "labels",
    "units",
    "min",
    "max",
    "oldmin",
    "oldmax",
    "endian",
    "encoding",
    "lineskip",
    "byteskip",
    "sampleunits",
    "spaceunits",
    "spaceorigin",
    "measurementframe",
];
const DATA_FILE: &str = "datafile";
/// Kinds of axes along which voxels lie.
const DOMAIN: [&str; 5] = ["domain", "space", "time", "???", "none"];

/// A header, field by field.
pub(super) struct Header<'a> {
    pub(super) path: &'a Path,
    fields: HashMap<String, String>,
    /// Lines after `data file: LIST`.
    pub(super) list: Vec<String>,
}

impl<'a> Header<'a> {
    /// Reads up to the empty line before the data, or to the end of the file.
    pub(super) fn read(path: &'a Path, source: &mut Source<'_>) -> Result<Self, ImageError> {
        let mut magic = [0u8; 4];
        source.exact(&mut magic, "header")?;
        let version = source.line(LINE)?.unwrap_or_default();
        let version = String::from_utf8_lossy(&version).into_owned();
        if &magic != b"NRRD" || !["0001", "0002", "0003", "0004", "0005", "00.01"].contains(&version.trim()) {
            return Err(source.wrong("not a NRRD header: expected it to start with NRRD0001 to NRRD0005"));
        }
        let mut header = Self { path, fields: HashMap::new(), list: Vec::new() };
        for _ in 0..LINES {
            let Some(line) = source.line(LINE)? else { return Ok(header) };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.is_empty() {
                return Ok(header);
            }
            let listing = header.get(DATA_FILE).is_some_and(|value| value.starts_with("LIST"));
            if listing {
                header.list.push(line);
            } else if !line.starts_with('#') && !line.contains(":=") {
                header.field(&line)?;
            }
        }
        Err(source.wrong(format!("the header has more than {LINES} lines")))
    }

    fn field(&mut self, line: &str) -> Result<(), ImageError> {
        let Some((name, value)) = line.split_once(": ") else {
            let start: String = line.chars().take(40).collect();
            return Err(self.wrong(format!("header line {start:?}: expected \"field: value\"")));
        };
        let name = name.trim().to_lowercase();
        let letters: String = name.chars().filter(|c| !c.is_whitespace()).collect();
        if !KNOWN.contains(&letters.as_str()) && letters != DATA_FILE {
            return Err(self.wrong(format!("unknown header field {name:?}")));
        }
        if self.fields.insert(letters, value.trim().to_owned()).is_some() {
            return Err(self.wrong(format!("the header gives {name:?} twice")));
        }
        Ok(())
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> ImageError {
        ImageError::format(self.path, reason)
    }

    /// The value of a field, named with its spaces.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(&name.replace(' ', "")).map(String::as_str)
    }

    pub(super) fn need(&self, name: &str) -> Result<&str, ImageError> {
        self.get(name).ok_or_else(|| self.wrong(format!("the header has no {name:?}")))
    }

    /// A whole number, 0 if the field is absent.
    pub(super) fn whole(&self, name: &str) -> Result<i64, ImageError> {
        let Some(value) = self.get(name) else { return Ok(0) };
        value.parse().map_err(|_| self.wrong(format!("{name} is {value:?}: expected a whole number")))
    }

    /// One number per axis; those that are not known are NaN.
    pub(super) fn numbers(&self, name: &str, axes: usize) -> Result<Option<Vec<f64>>, ImageError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let numbers: Vec<f64> = value.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if numbers.len() != axes {
            return Err(self.wrong(format!("{name} is {value:?}: expected {axes} numbers")));
        }
        Ok(Some(numbers))
    }

    /// Sizes of the axes, all of which hold voxels.
    pub(super) fn sizes(&self) -> Result<Vec<u64>, ImageError> {
        let (axes, value) = (self.need("dimension")?, self.need("sizes")?);
        let sizes: Vec<u64> = value.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if axes.parse() != Ok(sizes.len()) {
            return Err(self.wrong(format!("sizes is {value:?}: expected dimension = {axes} whole numbers")));
        }
        for (kind, &size) in self.get("kinds").unwrap_or_default().split_whitespace().zip(&sizes) {
            if !DOMAIN.contains(&kind.to_lowercase().as_str()) {
                return Err(components(self.path, size));
            }
        }
        check_axes(self.path, &sizes)?;
        Ok(sizes)
    }

    /// Type of the values.
    pub(super) fn kind(&self) -> Result<Kind, ImageError> {
        let name = self.need("type")?.to_lowercase();
        Ok(match name.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
            "signed char" | "int8" | "int8_t" => Kind::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Kind::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Kind::I16,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Kind::U16,
            "int" | "signed int" | "int32" | "int32_t" => Kind::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Kind::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Kind::I64,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
                Kind::U64
            }
            "float" => Kind::F32,
            "double" => Kind::F64,
            _ => return Err(self.wrong(format!("type {name:?} is not supported (integers and floats are)"))),
        })
    }
}
