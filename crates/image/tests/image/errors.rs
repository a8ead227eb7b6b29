//! Broken files: every one gives an error that names it, none takes memory that its size does not justify.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ndarray::{Array3, Array4};
use nnunet_image::{CaseReader, Geometry, Image, ImageError, LabelMap, reader_by_name, write_image};
use proptest::prelude::*;

use crate::golden;

fn reader() -> std::sync::Arc<dyn CaseReader> {
    reader_by_name("SimpleITKIO").unwrap()
}

/// A sound uncompressed file.
fn sound() -> Vec<u8> {
    std::fs::read(golden("nifti/u8.nii")).unwrap()
}

/// The error of reading these bytes, which must name the file.
fn refused(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = reader().read_images(&[path]).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
    error
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = sound();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn each_kind_of_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let case = |bytes: &[u8]| refused(folder.path(), "case_0000.nii", bytes);
    let holds = |error: String, words: &[&str]| {
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    holds(case(b""), &["empty"]);
    holds(case(b"x"), &["one byte"]);
    holds(case(&sound()[..200]), &["truncated", "348", "200"]);
    holds(case(&sound()[..370]), &["truncated", "24", "18"]);
    holds(
        case(b"this is a text file, and long enough to hold a header".repeat(9).as_slice()),
        &["not a NIfTI header"],
    );
    holds(case(&patched(344, b"ni1\0")), &["magic", "ni1", "n+1"]);
    holds(case(&patched(70, &1536i16.to_le_bytes())), &["data type 1536", "not supported"]);
    holds(case(&patched(40, &9i16.to_le_bytes())), &["dim[0]", "1 to 7"]);
    holds(case(&patched(42, &0i16.to_le_bytes())), &["dim", "1 to 32767"]);
    holds(case(&patched(42, &(-4i16).to_le_bytes())), &["dim", "1 to 32767"]);
    holds(case(&patched(42, &[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f])), &["too many voxels"]);
    holds(case(&patched(42, &[0xff, 0x3f, 0xff, 0x3f, 0x10, 0x00])), &["truncated", "4294443024", "24"]);
    holds(case(&patched(108, &f32::NAN.to_le_bytes())), &["vox_offset"]);
    holds(case(&patched(108, &1e8f32.to_le_bytes())), &["truncated"]);
    holds(case(&patched(76 + 8, &f32::INFINITY.to_le_bytes())), &["pixdim"]);
    holds(refused(folder.path(), "case.nii.gz", &sound()), &["not gzip"]);
    let missing = reader().read_images(&[folder.path().join("gone.nii.gz")]).unwrap_err().to_string();
    holds(missing, &["gone.nii.gz", "No such file"]);
    let directory = reader().read_images(&[folder.path().to_owned()]).unwrap_err().to_string();
    holds(directory, &[&folder.path().display().to_string(), "irectory"]);
    assert!(reader().read_images(&[]).is_err());
}

#[test]
fn a_compressed_header_that_promises_gigabytes_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(&patched(42, &[0xff, 0x3f, 0xff, 0x3f, 0x10, 0x00])).unwrap();
    let error = refused(folder.path(), "lie.nii.gz", &gz.finish().unwrap());
    assert!(
        error.contains("truncated") && error.contains("4294443024") && error.contains("found 24"),
        "{error}"
    );
}

#[test]
fn every_shortened_gzip_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(golden("nifti/oblique_i16.nii.gz")).unwrap();
    for length in 0..whole.len() {
        refused(folder.path(), "short.nii.gz", &whole[..length]);
    }
}

#[test]
fn a_wrong_checksum_is_seen_and_bytes_behind_the_data_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(golden("nifti/oblique_i16.nii.gz")).unwrap();
    let mut damaged = whole.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    assert!(refused(folder.path(), "damaged.nii.gz", &damaged).contains("checksum"));
    let path = folder.path().join("padded.nii.gz");
    std::fs::write(&path, [whole.as_slice(), &[0; 100]].concat()).unwrap();
    assert!(reader().read_images(&[path]).is_ok());
}

#[test]
fn a_file_in_two_gzip_members_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = Vec::new();
    let whole = golden("nifti/oblique_i16.nii.gz");
    GzDecoder::new(std::fs::File::open(&whole).unwrap()).read_to_end(&mut content).unwrap();
    let zip = |part: &[u8]| {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(part).unwrap();
        gz.finish().unwrap()
    };
    let path = folder.path().join("members.nii.gz");
    std::fs::write(&path, [zip(&content[..360]), zip(&content[360..])].concat()).unwrap();
    let (a, b) = (reader().read_images(&[path]).unwrap(), reader().read_images(&[whole]).unwrap());
    assert_eq!(a, b);
}

fn image(shape: [usize; 3], spacing: [f64; 3]) -> Image {
    let [z, y, x] = shape;
    Image { data: Array4::ones((1, z, y, x)), geometry: Geometry { spacing, ..Geometry::default() } }
}

fn written(folder: &Path, name: &str, image: &Image) -> PathBuf {
    let path = folder.join(name);
    write_image(&path, image).unwrap();
    path
}

#[test]
fn channels_that_do_not_fit_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let first = written(folder.path(), "a_0000.nii.gz", &image([2, 3, 4], [1.0; 3]));
    let larger = written(folder.path(), "a_0001.nii.gz", &image([2, 3, 5], [1.0; 3]));
    let coarser = written(folder.path(), "a_0002.nii.gz", &image([2, 3, 4], [2.0, 1.0, 1.0]));
    let nearly = written(folder.path(), "a_0003.nii.gz", &image([2, 3, 4], [1.000005, 1.0, 1.0]));
    let error =
        |other: &PathBuf| reader().read_images(&[first.clone(), other.clone()]).unwrap_err().to_string();
    let shape = error(&larger);
    assert!(
        ["a_0000", "a_0001", "shape", "(1, 2, 3, 4)", "(1, 2, 3, 5)"].iter().all(|w| shape.contains(w)),
        "{shape}"
    );
    let spacing = error(&coarser);
    assert!(
        ["a_0000", "a_0002", "spacing", "[2.0, 1.0, 1.0]"].iter().all(|w| spacing.contains(w)),
        "{spacing}"
    );
    assert_eq!(reader().read_images(&[first.clone(), nearly]).unwrap().data.dim().0, 2);
}

#[test]
fn a_value_that_is_no_label_is_shown_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for value in [0.5, f32::NAN, f32::INFINITY, 40000.0] {
        let mut image = image([2, 3, 4], [1.0; 3]);
        image.data[[0, 1, 0, 3]] = value;
        let path = written(folder.path(), "seg.nii.gz", &image);
        assert!(reader().read_segmentation(&path).is_ok());
        match reader().read_labels(&path) {
            Err(ImageError::NotALabel { path: named, value: found, voxel }) => {
                assert_eq!((named, found.to_bits(), voxel), (path, value.to_bits(), [1, 0, 3]));
            }
            other => panic!("{value}: {other:?}"),
        }
    }
    let four = reader().read_labels(&golden("nifti/four_axes.nii.gz")).unwrap_err().to_string();
    assert!(four.contains("one channel") && four.contains('3'), "{four}");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let labels = LabelMap { data: Array3::zeros((1, 2, 2)), geometry: Geometry::default() };
    let nowhere = folder.path().join("no/such/folder/a.nii.gz");
    let error = reader().write_labels(&nowhere, &labels).unwrap_err().to_string();
    assert!(error.contains("no/such/folder"), "{error}");
    let blocked = folder.path().join("taken.nii.gz");
    std::fs::create_dir(&blocked).unwrap();
    assert!(reader().write_labels(&blocked, &labels).is_err());
    let long = LabelMap { data: Array3::zeros((40000, 1, 1)), geometry: Geometry::default() };
    assert!(
        reader()
            .write_labels(&folder.path().join("long.nii"), &long)
            .unwrap_err()
            .to_string()
            .contains("32767")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_header_brings_the_reader_down(
        changes in prop::collection::vec((0usize..352, any::<u8>()), 1..12),
        nibabel: bool,
    ) {
        let mut bytes = sound();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.nii");
        std::fs::write(&path, &bytes).unwrap();
        let reader = reader_by_name(if nibabel { "NibabelIO" } else { "SimpleITKIO" }).unwrap();
        match reader.read_images(&[path]) {
            Ok(image) => prop_assert!(image.data.len() <= bytes.len()),
            Err(error) => prop_assert!(error.to_string().contains("damaged.nii")),
        }
    }
}
