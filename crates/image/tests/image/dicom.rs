//! DICOM series against SimpleITK (`tests/golden/make_dicom.py`), and series that are not sound.

use std::path::PathBuf;

use nnunet_image::npz::read_npz_f32;
use nnunet_image::{Geometry, dicom_series, read_dicom_files, read_dicom_series, write_image};

use crate::golden;
use crate::nifti::{Row, table};

fn folder(name: &str) -> PathBuf {
    golden("dicom").join(name)
}

/// How far values may be from SimpleITK's: decoders of lossy JPEG round differently.
fn tolerance(name: &str) -> f32 {
    if name == "jpeg_baseline" { 1.0 } else { 0.0 }
}

#[test]
fn series_are_read_as_simple_itk_reads_them() {
    let rows = table("dicom.tsv");
    assert_eq!(rows.len(), 17);
    let mut wrong = Vec::new();
    for Row { file, expected, .. } in rows {
        let (shape, geometry) = expected.unwrap();
        let image = match read_dicom_series(&folder(&file)) {
            Ok(image) => image,
            Err(_) if file == "jpeg_2000" && cfg!(not(feature = "dicom-jpeg2000")) => continue,
            Err(error) => {
                wrong.push(format!("{file}: {error}"));
                continue;
            }
        };
        let numbers = |g: &Geometry| [g.direction.as_flattened(), &g.origin, &g.spacing].concat();
        let far = numbers(&image.geometry).iter().zip(numbers(&geometry)).any(|(a, b)| (a - b).abs() > 2e-6);
        let theirs = read_npz_f32(&golden("dicom.npz"), &file).unwrap();
        if image.data.shape() != shape || far {
            wrong.push(format!(
                "{file}: {:?} {:?}, expected {shape:?} {geometry:?}",
                image.data.dim(),
                image.geometry
            ));
            continue;
        }
        let furthest = image.data.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        if furthest > tolerance(&file) {
            wrong.push(format!("{file}: values differ by {furthest}: {:?} {:?}", image.data, theirs));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_with_a_series_is_said_with_file_and_tag_and_without_the_patient() {
    for (name, words) in [
        ("bad_tilt", &["(0020,0032)", "tilted", "degrees", ".dcm"][..]),
        ("bad_missing", &["(0020,0032)", "5.0000 mm", "1 seem to be missing"]),
        ("bad_uneven", &["(0020,0032)", "3.4000 mm", "even spacing"]),
        ("bad_twice", &["(0020,0032)", "same place", ".dcm frame 1"]),
        ("bad_two_series", &["(0020,000E)", "found 2", "1.2.3.4.99", "1 files"]),
        ("bad_position", &["(0020,0032)", "missing", ".dcm"]),
        ("bad_orientation", &["(0020,0037)", ".dcm"]),
        ("bad_vectors", &["(0020,0037)", "right angles"]),
        ("bad_spacing", &["(0028,0030)", "above 0", "-0.5"]),
        ("bad_spacings", &["(0028,0030)", "0.6", "0.5"]),
        ("bad_size", &["(0028,0010)", "2 × 4", "3 × 4"]),
        ("bad_colour", &["(0028,0002)", "expected 1"]),
        ("bad_short", &["truncated", "24", "found 2"]),
        ("bad_pixels", &["(7FE0,0010)", "missing"]),
        ("bad_frames", &["(0028,0008)", "70000"]),
        ("bad_frame_groups", &["(5200,9230)", "expected one item per frame, 2"]),
        ("bad_jpeg_ls", &["(7FE0,0010)", "1.2.840.10008.1.2.4.80"]),
        ("bad_one_slice", &["(0018,0050)", "single slice"]),
        ("bad_rows", &["(0028,0010)"]),
        ("nothing_here", &["nothing_here"]),
    ] {
        let error = read_dicom_series(&folder(name)).unwrap_err().to_string();
        assert!(error.contains(name) && words.iter().all(|word| error.contains(word)), "{name}: {error}");
        assert!(!error.to_lowercase().contains("secret") && !error.contains("1901"), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("notes.txt"), "no image").unwrap();
    assert!(read_dicom_series(empty.path()).unwrap_err().to_string().contains("no DICOM image"));
    let mixed = [folder("explicit/03.dcm"), folder("bad_two_series/10.dcm")];
    assert!(read_dicom_files(&mixed).unwrap_err().to_string().contains("(0020,000E)"));
}

#[test]
fn the_series_of_a_folder_are_listed() {
    let list = dicom_series(&folder("bad_two_series")).unwrap();
    let found: Vec<_> = list.iter().map(|s| (s.uid.as_str(), s.number, s.files.len())).collect();
    assert_eq!(found, [("1.2.3.4.5", Some(3), 3), ("1.2.3.4.99", Some(3), 1)]);
    assert!(list.iter().all(|s| s.description == "drawn" && s.modality == "CT"));
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let whole = std::fs::read(folder("enhanced/frames.dcm")).unwrap();
    for length in (0..whole.len()).step_by(7) {
        let path = temporary.path().join("short.dcm");
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read_dicom_files(&[path]).unwrap_err().to_string();
        assert!(error.contains("short.dcm") && !error.contains("Secret"), "{length}: {error}");
    }
}

#[test]
fn real_series_are_read_and_handed_to_simple_itk() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    // Shape, spacing and largest voxel as SimpleITK reads them.
    for (name, shape, spacing) in [
        ("Study1/12-T1post-05670", (1, 22, 512, 512), [6.500003353140597, 0.4297, 0.4297]),
        ("Study1/13_HCropVolume", (1, 32, 51, 35), [1.0, 1.0, 1.0]),
        ("Study2/14-T1post-22014", (1, 24, 512, 512), [6.499996203717082, 0.4297, 0.4297]),
        ("Study2/14_HCropVolume", (1, 35, 48, 36), [1.0, 1.0, 1.0]),
    ] {
        let image = read_dicom_series(&data.join("data/dicom").join(name)).unwrap();
        assert_eq!(image.data.dim(), shape, "{name}");
        assert!(image.geometry.spacing.iter().zip(spacing).all(|(a, b)| (a - b).abs() < 1e-5), "{image:?}");
        if let Some(folder) = std::env::var_os("NNUNET_WRITTEN").map(PathBuf::from) {
            write_image(&folder.join(format!("series_{}.nrrd", name.replace('/', "__"))), &image).unwrap();
        }
    }
}

#[test]
fn a_compressed_frame_of_another_size_is_refused_before_it_is_decoded() {
    let place = tempfile::tempdir().unwrap();
    let mut found = 0;
    for entry in std::fs::read_dir(folder("jpeg_baseline")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(4).position(|part| part[..2] == [0xff, 0xc0] && part[2] == 0) {
            bytes[at + 5..at + 9].copy_from_slice(&[0xff; 4]);
            found += 1;
        }
        std::fs::write(place.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    assert!(found > 0);
    let error = read_dicom_series(place.path()).unwrap_err().to_string();
    assert!(error.contains("[65535, 65535]") && error.contains("(7FE0,0010)"), "{error}");
}

#[test]
fn a_value_that_is_no_whole_number_of_numbers_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("part.dcm");
    let mut bytes = std::fs::read(folder("enhanced/frames.dcm")).unwrap();
    // The sequence (0020,9111) becomes 64-bit numbers of 46 bytes: a parser that reads five of them goes on in their midst.
    let at = bytes.windows(6).position(|part| part == [0x20, 0, 0x11, 0x91, b'S', b'Q']).unwrap();
    bytes[at + 5] = b'V';
    std::fs::write(&path, bytes).unwrap();
    let error = read_dicom_files(&[path]).unwrap_err().to_string();
    assert!(error.contains("(0020,9111) SV has 46 bytes") && error.contains("part.dcm"), "{error}");
}
