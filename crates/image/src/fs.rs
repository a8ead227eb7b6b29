//! Files that are whole or absent.

use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file beside its place and renames it when it is complete and on the disk.
///
/// A file that was there before stays until then; nothing is left behind if `write` fails.
///
/// # Errors
/// What `write` returns, or what the system says about the folder.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    write_beside(path, write, true)
}

/// As [`write_atomic`], without waiting for the disk.
///
/// For the many files of a folder that gets its name, or its list of contents, when all are there: [`sync_folder`] waits for
/// them together, which takes a thousandth of the time. If the system crashes before, a file may be empty or damaged.
///
/// # Errors
/// What `write` returns, or what the system says about the folder.
pub fn write_unsynced(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    write_beside(path, write, false)
}

/// Waits until all files of a folder are on the disk.
///
/// # Errors
/// What the system says about the folder or one of its files.
#[cfg(target_os = "linux")]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(std::fs::File::open(folder)?)?)
}

/// Waits until all files of a folder are on the disk.
///
/// # Errors
/// What the system says about the folder or one of its files.
#[cfg(not(target_os = "linux"))]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::OpenOptions::new().write(true).open(path)?.sync_all()?;
        }
    }
    Ok(())
}

fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    sync: bool,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".part");
    // Temporary files are private by default; results are to be as readable as other files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(|e| {
        io::Error::new(e.kind(), format!("cannot create a file in {}: {}", folder.display(), reason(&e)))
    })?;
    let mut buffer = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    write(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    if sync {
        file.as_file().sync_all()?;
    }
    file.persist(path)
        .map_err(|e| io::Error::new(e.error.kind(), format!("cannot name it {name}: {}", e.error)))?;
    Ok(())
}

/// The system's words without the temporary name that nobody knows.
fn reason(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.source()) {
        Some(source) => source.to_string(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("no space left"))
        });
        assert!(failed.unwrap_err().to_string().contains("no space left"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_files_is_synced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            write_unsynced(&folder.path().join(name), |out| out.write_all(b"x")).unwrap();
        }
        sync_folder(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(sync_folder(&folder.path().join("c")).is_err());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_atomic(Path::new("/nowhere/at/all/a.json"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
