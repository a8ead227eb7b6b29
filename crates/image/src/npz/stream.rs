//! Arrays that are read from their beginning on.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use ndarray_npy::ReadNpyExt;
use zip::ZipArchive;
use zip::read::ZipFile;

use crate::ImageError;

/// An open `.npz` archive.
#[derive(Debug)]
pub struct NpzFile {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

/// An array of 32-bit floats that is read piece by piece, the last axis fastest.
pub struct NpzStream<'a> {
    path: &'a Path,
    name: String,
    shape: Vec<usize>,
    source: Source<'a>,
    bytes: Vec<u8>,
}

enum Source<'a> {
    Entry(ZipFile<'a, BufReader<File>>),
    /// Arrays in Fortran's order have to be there as a whole.
    Memory(std::vec::IntoIter<f32>),
}

impl NpzFile {
    /// # Errors
    /// The file cannot be opened or is no archive.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(|e| ImageError::io(path, e))?;
        let archive =
            ZipArchive::new(BufReader::new(file)).map_err(|e| ImageError::format(path, e.to_string()))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// An array of 32-bit floats of this archive.
    ///
    /// # Errors
    /// There is no such array of this type, or the archive has fewer bytes than its shape needs.
    pub fn stream(&mut self, name: &str) -> Result<NpzStream<'_>, ImageError> {
        let path = self.path.as_path();
        let failed = |reason: String| ImageError::format(path, format!("array {name:?}: {reason}"));
        let mut entry = self.archive.by_name(&format!("{name}.npy")).map_err(|e| failed(e.to_string()))?;
        let bytes = entry.size();
        let header = Header::read(&mut entry).map_err(failed)?;
        let values = header.shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
        let needed = values
            .and_then(|n| n.checked_mul(size_of::<f32>()))
            .map(|n| n as u64 + header.bytes.len() as u64);
        if needed.is_none_or(|needed| needed > bytes) {
            return Err(failed(format!(
                "truncated: shape {:?} of 4 byte values, found {bytes} bytes",
                header.shape
            )));
        }
        let source = if header.fortran {
            let whole = header.bytes.as_slice().chain(&mut entry);
            let array = ArrayD::<f32>::read_npy(whole).map_err(|e| failed(e.to_string()))?;
            Source::Memory(array.iter().copied().collect::<Vec<_>>().into_iter())
        } else {
            Source::Entry(entry)
        };
        Ok(NpzStream { path, name: name.to_owned(), shape: header.shape, source, bytes: Vec::new() })
    }
}

impl NpzStream<'_> {
    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Reads the next values.
    ///
    /// # Errors
    /// The file is damaged, or has fewer.
    pub fn read(&mut self, values: &mut [f32]) -> Result<(), ImageError> {
        let (path, name) = (self.path, &self.name);
        let failed = |reason: String| ImageError::format(path, format!("array {name:?}: {reason}"));
        match &mut self.source {
            Source::Entry(entry) => {
                self.bytes.resize(size_of_val(values), 0);
                entry.read_exact(&mut self.bytes).map_err(|e| failed(e.to_string()))?;
                let read = self.bytes.as_chunks::<4>().0;
                values.iter_mut().zip(read).for_each(|(to, bytes)| *to = f32::from_le_bytes(*bytes));
            }
            Source::Memory(rest) => {
                for to in values {
                    *to = rest.next().ok_or_else(|| failed("truncated".to_owned()))?;
                }
            }
        }
        Ok(())
    }
}

/// What precedes the values in a `.npy` file.
struct Header {
    /// As it stands in the file.
    bytes: Vec<u8>,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut more = |bytes: &mut Vec<u8>, count: usize| {
            let start = bytes.len();
            bytes.resize(start + count, 0);
            from.read_exact(&mut bytes[start..]).map_err(|e| format!("no header: {e}"))
        };
        more(&mut bytes, 8)?;
        if !bytes.starts_with(b"\x93NUMPY") {
            return Err("not in NumPy's format".to_owned());
        }
        let width = if bytes[6] == 1 { 2 } else { 4 };
        more(&mut bytes, width)?;
        let length = bytes[8..].iter().rev().fold(0_usize, |n, &byte| n << 8 | usize::from(byte));
        if length > 1 << 16 {
            return Err(format!("a header of {length} bytes"));
        }
        more(&mut bytes, length)?;
        let text = String::from_utf8_lossy(&bytes[8 + width..]).into_owned();
        let value = |key: &str| {
            text.split(&format!("'{key}'")).nth(1).map(|rest| rest.trim_start_matches([':', ' ']))
        };
        let descr = value("descr").and_then(|rest| rest.split('\'').nth(1)).unwrap_or("nothing");
        if descr != "<f4" {
            return Err(format!("values of type {descr}, expected <f4 (32-bit floats)"));
        }
        let fortran = value("fortran_order").is_some_and(|rest| rest.starts_with("True"));
        let sizes =
            value("shape").and_then(|rest| rest.split(['(', ')']).nth(1)).ok_or("no shape in its header")?;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().map_err(|_| format!("its shape has {size:?}")));
        let shape = shape.collect::<Result<_, _>>()?;
        Ok(Self { bytes, fortran, shape })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder};

    use super::*;
    use crate::npz::{NpzArray, write_npz};

    #[test]
    fn arrays_are_read_piece_by_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let plain = Array2::from_shape_fn((3, 4), |(y, x)| (10 * y + x) as f32);
        let mut turned = Array2::zeros((3, 4).f());
        turned.assign(&plain);
        let labels = NpzArray::I16(ndarray::Array1::zeros(5).into_dyn());
        let arrays = [
            ("plain", NpzArray::F32(plain.clone().into_dyn())),
            ("turned", NpzArray::F32(turned.into_dyn())),
            ("labels", labels),
        ];
        write_npz(&path, &arrays).unwrap();
        let mut file = NpzFile::open(&path).unwrap();
        for name in ["plain", "turned"] {
            let mut stream = file.stream(name).unwrap();
            assert_eq!(stream.shape(), [3, 4]);
            let mut values = [0.0; 12];
            stream.read(&mut values[..5]).unwrap();
            stream.read(&mut values[5..]).unwrap();
            assert_eq!(values.as_slice(), plain.as_slice().unwrap(), "{name}");
            assert!(stream.read(&mut [0.0]).unwrap_err().to_string().contains("a.npz"));
        }
        let error = file.stream("labels").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("labels") && error.contains("<i2") && error.contains("<f4"), "{error}");
        assert!(file.stream("none").is_err());
    }

    #[test]
    fn headers_that_promise_too_much_are_refused() {
        let header = |text: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            Header::read(&mut bytes.as_slice()).map(|header| header.shape)
        };
        let known = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
        assert_eq!(header(&format!("{known}(2, 3,), }}")).unwrap(), [2, 3]);
        assert_eq!(header(&format!("{known}(), }}")).unwrap(), [0; 0]);
        assert!(header(&format!("{known}(-2, 3), }}")).unwrap_err().contains("-2"));
        assert!(header("{'shape': (2,)}").unwrap_err().contains("<f4"));
        assert!(Header::read(&mut &b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..]).is_err());
        assert!(Header::read(&mut &b"PK and more"[..]).is_err());
    }
}
