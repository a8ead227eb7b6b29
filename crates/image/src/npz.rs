//! NumPy `.npz` archives of named arrays.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, NpzWriter, ReadableElement};

use crate::ImageError;
use crate::fs::write_atomic;

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
    let failed = |e: ndarray_npy::ReadNpzError| ImageError::format(path, format!("array {name:?}: {e}"));
    let file = File::open(path).map_err(|e| ImageError::io(path, e))?;
    let mut reader = NpzReader::new(file).map_err(failed)?;
    reader.by_name::<OwnedRepr<T>, IxDyn>(name).map_err(failed)
}
