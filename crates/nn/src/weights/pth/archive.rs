//! The zip archive that PyTorch writes.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use crate::NnError;

/// Longest pickle that is read; nnU-Net's have tens to hundreds of kilobytes, a few megabytes after very long trainings.
const LONGEST_PICKLE: u64 = 64 << 20;

/// Where the archive lies.
trait Bytes: Read + Seek {}
impl<T: Read + Seek> Bytes for T {}

/// An open checkpoint.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<Box<dyn Bytes>>,
    /// Folder in the archive that everything lies in, with its slash.
    folder: String,
    length: u64,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, NnError> {
        let io = |source| NnError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Self::of(path, Box::new(BufReader::new(file)), length)
    }

    pub(super) fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, NnError> {
        let length = bytes.len() as u64;
        Self::of(path, Box::new(Cursor::new(bytes)), length)
    }

    fn of(path: &Path, bytes: Box<dyn Bytes>, length: u64) -> Result<Self, NnError> {
        let zip = ZipArchive::new(bytes).map_err(|e| {
            let reason = format!("not a whole PyTorch checkpoint (a zip archive, since PyTorch 1.6): {e}");
            NnError::checkpoint(path, reason)
        })?;
        let pickle = zip.file_names().flatten().find(|name| name.ends_with("/data.pkl"));
        let folder = pickle.and_then(|name| name.strip_suffix("data.pkl").map(str::to_owned));
        let folder = folder.ok_or_else(|| NnError::checkpoint(path, "the archive has no data.pkl"))?;
        let mut archive = Self { path: path.to_owned(), zip, folder, length };
        let order = format!("{}byteorder", archive.folder);
        if archive.zip.index_for_name(&order).is_some() && archive.read("byteorder", 16)? != b"little" {
            return Err(archive.wrong("its numbers are big-endian, expected little-endian"));
        }
        Ok(archive)
    }

    pub(super) fn pickle(&mut self) -> Result<Vec<u8>, NnError> {
        self.read("data.pkl", LONGEST_PICKLE)
    }

    /// The bytes of a storage, which must have this length.
    pub(super) fn storage(&mut self, name: &str, length: u64) -> Result<Vec<u8>, NnError> {
        let name = format!("data/{name}");
        let bytes = self.read(&name, length)?;
        if bytes.len() as u64 != length {
            return Err(self.wrong(format!("{name}: {} bytes, expected {length}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Length of the whole file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> NnError {
        NnError::checkpoint(&self.path, reason)
    }

    /// A whole entry. PyTorch does not compress, so none is longer than the file, whatever it says of itself.
    fn read(&mut self, name: &str, longest: u64) -> Result<Vec<u8>, NnError> {
        let (path, length) = (&self.path, self.length);
        let wrong = |reason: String| NnError::checkpoint(path, format!("{name}: {reason}"));
        let mut entry =
            self.zip.by_name(&format!("{}{name}", self.folder)).map_err(|e| wrong(e.to_string()))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(wrong(format!("compressed ({}), expected it stored", entry.compression())));
        }
        let size = entry.size();
        if size > longest || size > length {
            return Err(wrong(format!("{size} bytes, expected at most {}", longest.min(length))));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
        Ok(bytes)
    }
}
