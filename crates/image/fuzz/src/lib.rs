//! Bytes to files that the readers open.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::sync::Once;

use nnunet_image::reader_by_name;
use tempfile::TempDir;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static PLACE: RefCell<Option<(TempDir, PathBuf, File)>> = const { RefCell::new(None) };
}

/// Hands a file of this name with these bytes to `use_it`. There is one file per process, in memory where the system has a
/// place for that.
///
/// Panics of libraries that the readers catch are no findings; libFuzzer's own hook would end the process with them.
pub fn with_file(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path)) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        set_hook(Box::new(|panic| {
            PANIC.with_borrow_mut(|last| *last = panic.to_string());
        }));
    });
    if catch_unwind(AssertUnwindSafe(|| in_place(name, bytes, use_it))).is_err() {
        eprintln!("{}", PANIC.with_borrow(String::clone));
        std::process::abort();
    }
}

fn in_place(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path)) {
    PLACE.with_borrow_mut(|place| {
        let (_, path, file) = place.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
            let folder = folder.expect("a temporary folder");
            let path = folder.path().join(name);
            let file = File::create(&path).expect("a temporary file");
            (folder, path, file)
        });
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).expect("an empty file");
        file.write_all(bytes).expect("room for the bytes");
        use_it(path);
    });
}

/// Reads the bytes with readers of these names. What they say must be an error that names the file, or an image that the bytes
/// can hold.
pub fn read(name: &str, bytes: &[u8], readers: &[&str]) {
    with_file(name, bytes, |path| {
        for reader in readers {
            let reader = reader_by_name(reader).expect("a reader of this name");
            match reader.read_images(&[path.to_owned()]) {
                Ok(image) => assert!(image.data.len() <= (bytes.len() + 64) * 9000),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            if let Err(error) = reader.read_labels(path) {
                assert!(!error.to_string().is_empty());
            }
        }
    });
}
