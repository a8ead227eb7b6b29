//! DICOM series as archives hand them out (`tests/golden/make_dicom_more.py`): the voxels and places of SimpleITK and pydicom, or an
//! error that names file and tag and keeps the patient to itself.

use std::path::{Path, PathBuf};

use nnunet_image::npz::read_npz_f32;
use nnunet_image::{DicomFolder, DicomSelector, Geometry, dicom_series, read_dicom_series};

use crate::golden;
use crate::nifti::{Row, table};

fn folder(name: &str) -> PathBuf {
    golden("dicom_more").join(name)
}

#[test]
fn sound_series_have_the_voxels_of_other_readers() {
    let rows = table("dicom_more.tsv");
    assert_eq!(rows.len(), 23);
    let mut wrong = Vec::new();
    for Row { file, expected, .. } in rows {
        let (shape, geometry) = expected.unwrap();
        let image = match read_dicom_series(&folder(&file)) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{file}: {error}"));
                continue;
            }
        };
        let numbers = |g: &Geometry| [g.direction.as_flattened(), &g.origin, &g.spacing].concat();
        let far = numbers(&image.geometry).iter().zip(numbers(&geometry)).any(|(a, b)| (a - b).abs() > 2e-6);
        let theirs = read_npz_f32(&golden("dicom_more.npz"), &file).unwrap();
        if image.data.shape() != shape || far {
            let (found, place) = (image.data.dim(), image.geometry);
            wrong.push(format!("{file}: {found:?} {place:?}, expected {shape:?} {geometry:?}"));
        } else if !image.data.iter().eq(theirs.iter()) {
            wrong.push(format!("{file}: other values"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsound_series_are_refused_with_file_and_tag() {
    let expected: &[(&str, &[&str])] = &[
        ("bad_half_pixels", &["(7FE0,0010)", "truncated", ".dcm"]),
        ("bad_half_header", &["broken DICOM file", ".dcm"]),
        ("bad_empty", &["not a DICOM file", ".dcm"]),
        ("bad_no_preamble", &["not a DICOM file", ".dcm"]),
        ("bad_copied", &["(0020,0032)", "1 seem to be missing", ".dcm"]),
        ("bad_no_positions", &["(0020,0032)", "it is missing", ".dcm"]),
        ("bad_no_orientations", &["(0020,0037)", "it is missing", ".dcm"]),
        ("bad_no_spacings", &["(0028,0030)", "it is missing", ".dcm"]),
        ("bad_no_rows", &["(0028,0010)", "it is missing", ".dcm"]),
        ("bad_no_bits", &["(0028,0100)", ".dcm"]),
        ("bad_no_sign", &["(0028,0103)", ".dcm"]),
        ("bad_no_samples", &["(0028,0002)", ".dcm"]),
        ("bad_no_series", &["(0020,000E)", "found 2"]),
        ("bad_table", &["(0028,3000)", ".dcm"]),
        ("bad_word", &["(0020,0032)", ".dcm"]),
        ("bad_slope_word", &["(0028,1053)", ".dcm"]),
        ("bad_slope_endless", &["(0028,1053)", "inf", ".dcm"]),
        ("bad_slope_nought", &["(0028,1053)", "found 0", ".dcm"]),
        ("bad_steps", &["(0020,0032)", "mm", ".dcm"]),
        ("bad_creeping", &["(0020,0032)", "even spacing", ".dcm"]),
        ("bad_echoes", &["(0020,0032)", "same place", ".dcm"]),
        ("bad_floats", &["(7FE0,0010)", "missing", ".dcm"]),
        ("bad_frame_position", &["(0020,0032)", "frames.dcm"]),
        ("bad_frame_count", &["(5200,9230)", "expected one item per frame, 3, found 4", "frames.dcm"]),
        ("bad_frame_pixels", &["truncated", "frames.dcm"]),
        ("bad_deflated", &["(0002,0010)", "1.2.840.10008.1.2.1.99", "00.dcm"]),
    ];
    let drawn = std::fs::read_dir(golden("dicom_more")).unwrap();
    let bad = drawn.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("bad_"));
    assert_eq!(bad.count(), expected.len());
    let mut wrong = Vec::new();
    for (name, words) in expected {
        match read_dicom_series(&folder(name)) {
            Ok(image) => wrong.push(format!("{name}: read as {:?}", image.data.dim())),
            Err(error) => {
                let text = error.to_string();
                if !text.contains(name) || !words.iter().all(|word| text.contains(word)) {
                    wrong.push(format!("{name}: {text}"));
                }
                let lower = format!("{error:?} {text}").to_lowercase();
                assert!(!lower.contains("secret") && !lower.contains("1901"), "{name}: {text}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_broken_file_stands_for_the_series_beside_it_alone() {
    let home = tempfile::tempdir().unwrap();
    copy(&folder("private"), &home.path().join("good"));
    copy(&folder("bad_half_pixels"), &home.path().join("half"));
    copy(&golden("dicom/bad_two_series"), &home.path().join("two"));
    // What does not look like DICOM is passed over, hidden files too.
    for name in ["good/notes.txt", "good/._03.dcm", "good/DICOMDIR"] {
        std::fs::write(home.path().join(name), "no image").unwrap();
    }
    let found = DicomFolder::read_below(home.path()).unwrap();
    assert_eq!(found.broken.len(), 1);
    let of = |uid: &str| DicomSelector(uid.to_owned());
    assert!(found.choose(Some(&of("1.2.3.4.99")), home.path()).is_ok());
    let error = found.choose(Some(&of("1.2.3.4.5")), home.path()).unwrap_err().to_string();
    assert!(error.contains("half") && error.contains("(7FE0,0010)"), "{error}");
    assert!(dicom_series(&home.path().join("half")).is_err());
    assert_eq!(dicom_series(&home.path().join("good")).unwrap()[0].files.len(), 4);
    let alone = home.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::write(alone.join("a.dcm"), "").unwrap();
    let error = DicomFolder::read_below(&alone).unwrap().choose(None, &alone).unwrap_err().to_string();
    assert!(error.contains("a.dcm: not a DICOM file"), "{error}");
}

#[test]
fn a_wrong_length_of_the_meta_information_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let whole = std::fs::read(golden("dicom/explicit/03.dcm")).unwrap();
    let path = place.path().join("a.dcm");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        nnunet_image::read_dicom_files(std::slice::from_ref(&path)).map(|image| image.data)
    };
    let expected = read(&whole).unwrap();
    for length in [0u32, 20, 500, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[140..144].copy_from_slice(&length.to_le_bytes());
        assert_eq!(read(&bytes).unwrap(), expected, "{length}");
    }
}

/// What a fuzzer found, and where it began.
#[test]
fn files_that_a_fuzzer_found_are_read_or_refused() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for kind in ["dicom", "seg"] {
        for entry in std::fs::read_dir(seeds.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let results = [
                nnunet_image::read_dicom_files(std::slice::from_ref(&path)).map(drop),
                nnunet_image::read_dicom_seg(&path).and_then(|seg| seg.to_labels()).map(drop),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
            }
        }
    }
    // A kind that nobody knows, whose length the parser takes for 774 MB.
    let unknown = nnunet_image::read_dicom_files(&[seeds.join("dicom/unknown_kind.dcm")]).unwrap_err();
    assert!(unknown.to_string().contains("(0002,xxxx)"), "{unknown}");
    let outside = nnunet_image::read_dicom_seg(&seeds.join("seg/item_outside.dcm")).unwrap_err().to_string();
    assert!(outside.contains("cannot be told apart"), "{outside}");
}
