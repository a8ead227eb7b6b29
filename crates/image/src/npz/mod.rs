//! NumPy `.npz` archives of named arrays.

mod spill;
mod stream;

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::{NpzWriter, ReadNpyExt, ReadableElement};
use zip::ZipArchive;

use crate::ImageError;
use crate::fs::write_atomic;

pub use spill::Spill;
pub use stream::{NpzFile, NpzStream};

/// An array that can be written.
#[derive(Debug, Clone)]
pub enum NpzArray {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 16-bit signed integers.
    I16(ArrayD<i16>),
}

/// Writes named arrays as a compressed archive, in one piece.
///
/// # Errors
/// The file cannot be written.
pub fn write_npz(path: &Path, arrays: &[(&str, NpzArray)]) -> Result<(), ImageError> {
    let failed = |e: ndarray_npy::WriteNpzError| ImageError::format(path, format!("cannot write array: {e}"));
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = NpzWriter::new_compressed(&mut bytes);
    for (name, array) in arrays {
        match array {
            NpzArray::F32(array) => writer.add_array(*name, array).map_err(failed)?,
            NpzArray::I16(array) => writer.add_array(*name, array).map_err(failed)?,
        }
    }
    writer.finish().map_err(failed)?;
    write_atomic(path, |out| out.write_all(bytes.get_ref())).map_err(|e| ImageError::io(path, e))
}

/// Reads an array of 32-bit floats.
///
/// # Errors
/// The file cannot be read, or has no such array of this type.
pub fn read_npz_f32(path: &Path, name: &str) -> Result<ArrayD<f32>, ImageError> {
    read(path, name)
}

/// Reads an array of 16-bit signed integers.
///
/// # Errors
/// The file cannot be read, or has no such array of this type.
pub fn read_npz_i16(path: &Path, name: &str) -> Result<ArrayD<i16>, ImageError> {
    read(path, name)
}

fn read<T: ReadableElement>(path: &Path, name: &str) -> Result<ArrayD<T>, ImageError> {
    let failed = |reason: String| ImageError::format(path, format!("array {name:?}: {reason}"));
    let file = File::open(path).map_err(|e| ImageError::io(path, e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| failed(e.to_string()))?;
    let mut bytes = Vec::new();
    match archive.by_name(&format!("{name}.npy")) {
        Ok(mut entry) => entry.read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?,
        Err(e) => return Err(failed(e.to_string())),
    };
    check_length::<T>(&bytes).map_err(failed)?;
    ArrayD::<T>::read_npy(bytes.as_slice()).map_err(|e| failed(e.to_string()))
}

/// Compares the shape that the header claims with the bytes that are there, before memory is taken for it.
fn check_length<T>(bytes: &[u8]) -> Result<(), String> {
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(1 << 12)]);
    let shape = header.split("'shape'").nth(1).and_then(|rest| rest.split(['(', ')']).nth(1));
    let Some(shape) = shape else { return Err("there is no shape in its header".to_owned()) };
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let claimed =
        sizes.map(|size| size.parse::<usize>().ok()).try_fold(size_of::<T>(), |n, size| n.checked_mul(size?));
    match claimed {
        Some(claimed) if claimed <= bytes.len() => Ok(()),
        _ => Err(format!(
            "truncated: shape ({shape}) of {} byte values, found {} bytes",
            size_of::<T>(),
            bytes.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn arrays_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let image = Array2::from_shape_fn((3, 4), |(y, x)| y as f32 - 0.5 * x as f32).into_dyn();
        let labels = Array2::from_shape_fn((2, 2), |(y, x)| (y as i16) - 3 * x as i16).into_dyn();
        let arrays = [("image", NpzArray::F32(image.clone())), ("labels", NpzArray::I16(labels.clone()))];
        write_npz(&path, &arrays).unwrap();
        assert_eq!(read_npz_f32(&path, "image").unwrap(), image);
        assert_eq!(read_npz_i16(&path, "labels").unwrap(), labels);
        for wrong in [read_npz_f32(&path, "labels"), read_npz_f32(&path, "nothing")] {
            assert!(wrong.unwrap_err().to_string().contains("a.npz: array"));
        }
    }

    #[test]
    fn a_shape_that_the_data_do_not_fill_is_refused() {
        let header = "\u{1}NUMPY{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999999999), }";
        assert!(check_length::<f32>(header.as_bytes()).unwrap_err().contains("truncated"));
        assert!(check_length::<f32>(b"no header at all").is_err());
    }

    #[test]
    fn a_file_that_is_no_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.npz");
        std::fs::write(&path, b"PK but nothing else").unwrap();
        assert!(read_npz_f32(&path, "data").unwrap_err().to_string().contains("broken.npz"));
    }
}
