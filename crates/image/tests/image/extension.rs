//! Header extensions of NIfTI files.

use std::path::Path;

use nnunet_image::{NiftiExtension, nifti_extensions, reader_by_name, set_nifti_extensions};

use crate::golden;

/// Bytes of a file, unpacked.
fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut out).unwrap();
    out
}

#[test]
fn extensions_come_back_and_voxels_stay() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = [
        NiftiExtension { code: 4, data: b"<AFNI_attributes/>".to_vec() },
        NiftiExtension::comment("Lebergröße: 1 ≈ liver"),
    ];
    let mut names: Vec<_> =
        std::fs::read_dir(golden("nifti")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/nifti");
    names.extend(["version_2.nii", "version_2_big.nii"].map(|name| seeds.join(name)));
    assert!(names.len() > 20);
    for from in names {
        let name = from.file_name().unwrap().to_str().unwrap();
        let path = folder.path().join(name);
        std::fs::copy(&from, &path).unwrap();
        let before = unpacked(&path);
        let own = nifti_extensions(&path).unwrap();
        set_nifti_extensions(&path, &drawn).unwrap();
        let found = nifti_extensions(&path).unwrap();
        assert_eq!(found.len(), 2, "{name}");
        assert!(found.iter().zip(&drawn).all(|(a, b)| a.code == b.code && a.data.starts_with(&b.data)));
        assert_eq!(found[1].text(), drawn[1].text(), "{name}");
        assert_eq!(found[0].text(), None);
        for reader in ["SimpleITKIO", "NibabelIO"] {
            let reader = reader_by_name(reader).unwrap();
            let read =
                |path: &Path| reader.read_images(&[path.to_owned()]).map_err(|error| error.to_string());
            match (read(&from), read(&path)) {
                // Values that are not a number are not equal to themselves.
                (Ok(a), Ok(b)) => assert_eq!(format!("{a:?}"), format!("{b:?}"), "{name}"),
                (a, b) => assert_eq!(a.is_err(), b.is_err(), "{name}"),
            }
        }
        // Without them, the file is as it was.
        set_nifti_extensions(&path, &own).unwrap();
        assert_eq!(unpacked(&path), before, "{name}");
    }
}

#[test]
fn broken_extensions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.nii");
    std::fs::copy(golden("nifti/u8.nii"), &path).unwrap();
    set_nifti_extensions(&path, &[NiftiExtension::comment("text")]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for (size, words) in [(7i32, "7 bytes"), (-1, "-1 bytes"), (4096, "4096 bytes")] {
        let mut bytes = whole.clone();
        bytes[352..356].copy_from_slice(&size.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = nifti_extensions(&path).unwrap_err().to_string();
        assert!(error.contains("broken.nii") && error.contains(words), "{error}");
    }
    for length in 0..368 {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(nifti_extensions(&path).is_err(), "{length}");
        assert!(set_nifti_extensions(&path, &[]).is_err(), "{length}");
        assert_eq!(std::fs::read(&path).unwrap(), whole[..length]);
    }
    std::fs::write(&path, "no NIfTI").unwrap();
    assert!(set_nifti_extensions(&path, &[]).is_err());
}
