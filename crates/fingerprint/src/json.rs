//! JSON files in the reference's form: four spaces, one element per line, Python's floats, ASCII, bare `NaN`.

use std::io;
use std::path::{Path, PathBuf};

use nnunet_image::fs::write_atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Why a JSON file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not JSON, or not of the expected form.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A value has no JSON form.
    #[error("cannot write as JSON: {0}")]
    Serialize(serde_json::Error),
}

/// The text of a value, without a newline at the end.
///
/// # Errors
/// A value that has no JSON form, such as a map whose keys are not strings.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, JsonError> {
    let mut bytes = Vec::new();
    let formatter = Python { inner: PrettyFormatter::with_indent(b"    ") };
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(JsonError::Serialize)?;
    Ok(String::from_utf8_lossy(&bytes).replace(NAN_MARK, "NaN"))
}

/// Writes a value, in one piece.
///
/// # Errors
/// A value that has no JSON form, or a file that cannot be written.
pub fn write<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), JsonError> {
    let text = to_string(value)?;
    write_atomic(path, |out| out.write_all(text.as_bytes()))
        .map_err(|source| JsonError::Io { path: path.to_owned(), source })
}

/// Reads a value; bare `NaN` is read as null.
///
/// # Errors
/// The file cannot be read, or is not JSON of the expected form; the error names file, line and column.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, JsonError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| JsonError::Io { path: path.to_owned(), source })?;
    parse(path, text.as_bytes())
}

/// As [`read`], from the bytes of a file of this name.
///
/// # Errors
/// The bytes are not JSON of the expected form; the error names file, line and column.
pub fn parse<T: DeserializeOwned>(name: &Path, bytes: &[u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Io {
        path: name.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })?;
    serde_json::from_str(&without_nan(text))
        .map_err(|source| JsonError::Parse { path: name.to_owned(), source })
}

/// Replaces `NaN` outside strings by `null`.
fn without_nan(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("NaN") {
        return text.into();
    }
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_string && rest.starts_with("NaN") {
            out.push_str("null");
            rest = &rest[3..];
            continue;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out.into()
}

/// Stands for NaN in [`nan`] until the text is complete; the digits occur in no other number.
const NAN_MARK: &str = "-1.7976931348623157e+308";

/// Serialises a float that may be NaN, for `#[serde(serialize_with)]`: NaN is written bare, as Python does.
///
/// # Errors
/// What the serializer returns.
pub fn nan<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(if value.is_nan() { f64::MIN } else { *value })
}

/// Python's `json.dump(indent=4)`.
struct Python<'a> {
    inner: PrettyFormatter<'a>,
}

impl Formatter for Python<'_> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.inner.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.inner.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.inner.end_object_value(writer)
    }
}

/// Python's shortest form: exponents from 1e16 and below 1e-4, with at least two digits.
fn python_float(value: f64) -> String {
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        let text = format!("{value}");
        return if text.contains('.') { text } else { text + ".0" };
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_as_in_python() {
        for (value, text) in [
            (1.0, "1.0"),
            (1e-5, "1e-05"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }

    #[test]
    fn text_is_indented_and_ascii() {
        let value = serde_json::json!({"a": [1, 2.5], "ü": {}, "e": []});
        let expected =
            "{\n    \"a\": [\n        1,\n        2.5\n    ],\n    \"\\u00fc\": {},\n    \"e\": []\n}";
        assert_eq!(to_string(&value).unwrap(), expected);
    }

    #[test]
    fn nan_is_written_bare_and_read_back_as_null() {
        #[derive(Serialize)]
        struct Scores {
            #[serde(serialize_with = "nan")]
            dice: f64,
            name: &'static str,
        }
        let text = to_string(&Scores { dice: f64::NAN, name: "NaN" }).unwrap();
        assert_eq!(text, "{\n    \"dice\": NaN,\n    \"name\": \"NaN\"\n}");
        let value: serde_json::Value = serde_json::from_str(&without_nan(&text)).unwrap();
        assert!(value["dice"].is_null());
        assert_eq!(value["name"], "NaN");
    }

    #[test]
    fn an_error_names_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plans.json");
        std::fs::write(&path, "{\n  \"a\": }").unwrap();
        let error = read::<serde_json::Value>(&path).unwrap_err().to_string();
        assert!(error.contains("plans.json") && error.contains("line 2"), "{error}");
    }
}
