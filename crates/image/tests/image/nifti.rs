//! Reading and writing NIfTI files.

use std::path::Path;

use ndarray::{Array3, Array4};
use nnunet_image::{Geometry, Image, ImageError, LabelMap, reader_by_name, reader_for, write_image};
use proptest::prelude::*;

use crate::golden;

/// One line of a golden table: file, reader, shape, then spacing, origin and direction, or `None` where it is refused.
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) reader: String,
    pub(crate) expected: Option<(Vec<usize>, Geometry)>,
    /// What follows the geometry.
    pub(crate) rest: Vec<f64>,
}

pub(crate) fn table(name: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (file, reader) = (fields[0].to_owned(), fields[1].to_owned());
        if fields[2] == "refused" {
            return Row { file, reader, expected: None, rest: Vec::new() };
        }
        let shape = fields[2..6].iter().map(|n| n.parse().unwrap()).collect();
        let numbers: Vec<f64> = fields[6..].iter().map(|n| n.parse().unwrap()).collect();
        let geometry = Geometry {
            spacing: numbers[..3].try_into().unwrap(),
            origin: numbers[3..6].try_into().unwrap(),
            direction: std::array::from_fn(|row| numbers[6 + 3 * row..9 + 3 * row].try_into().unwrap()),
            dims: if file.starts_with("flat") { 2 } else { 3 },
            file_axes: None,
        };
        Row { file, reader, expected: Some((shape, geometry)), rest: numbers[15..].to_vec() }
    };
    text.lines().map(parse).collect()
}

#[test]
fn shapes_and_frames_are_those_of_the_reference_readers() {
    let rows = table("geometry.tsv");
    assert_eq!(rows.len(), 44);
    for Row { file, reader, expected, .. } in rows {
        let read = reader_by_name(&reader).unwrap().read_images(&[golden("nifti").join(&file)]);
        let Some((shape, geometry)) = expected else {
            assert!(read.is_err(), "{reader} refuses {file}");
            continue;
        };
        let image = read.unwrap();
        assert_eq!(image.data.shape(), shape, "{file} {reader}");
        assert_eq!(image.geometry.spacing, geometry.spacing, "{file} {reader}");
        assert_eq!(image.geometry.dims, geometry.dims, "{file} {reader}");
        let numbers = |g: &Geometry| [g.direction.as_flattened(), g.origin.as_slice()].concat();
        for (found, expected) in numbers(&image.geometry).iter().zip(numbers(&geometry)) {
            // Single precision in the file; the order of a few operations differs.
            assert!((found - expected).abs() <= 1e-7 * expected.abs().max(1.0), "{file} {reader}: {image:?}");
        }
    }
}

#[test]
#[cfg(feature = "npz")]
fn values_are_those_of_the_reference_readers_to_the_bit() {
    let mut compared = 0;
    for Row { file, reader, expected, .. } in table("geometry.tsv") {
        if expected.is_some() {
            let image = reader_by_name(&reader).unwrap().read_images(&[golden("nifti").join(&file)]).unwrap();
            let values =
                nnunet_image::npz::read_npz_f32(&golden("values.npz"), &format!("{reader}_{file}")).unwrap();
            assert_eq!(image.data.into_dyn(), values, "{file} {reader}");
            compared += 1;
        }
    }
    assert_eq!(compared, 41);
}

/// The labels that the golden writers were given.
fn labels() -> LabelMap {
    let data = Array3::from_shape_fn((2, 3, 4), |(z, y, x)| ((z + 2 * y + 3 * x) % 4) as i16);
    LabelMap { data, geometry: Geometry::default() }
}

#[test]
fn written_labels_have_the_header_of_the_reference_writers() {
    let folder = tempfile::tempdir().unwrap();
    for (name, theirs) in [("SimpleITKIO", "written_by_itk.nii.gz"), ("NibabelIO", "written_by_nibabel.nii")]
    {
        let reader = reader_by_name(name).unwrap();
        let geometry = reader.read_segmentation(&golden("nifti/oblique_i16.nii.gz")).unwrap().geometry;
        let ours = folder.path().join(theirs);
        reader.write_labels(&ours, &LabelMap { geometry, ..labels() }).unwrap();
        let (a, b) = (header(&ours), header(&golden(theirs)));
        assert_eq!(
            (a.dim[..4].to_vec(), a.datatype, a.bitpix),
            (b.dim[..4].to_vec(), b.datatype, b.bitpix),
            "{name}"
        );
        assert_eq!(
            (a.sform_code, a.qform_code, a.xyzt_units),
            (b.sform_code, b.qform_code, b.xyzt_units),
            "{name}"
        );
        let numbers = |h: &::nifti::NiftiHeader| {
            let quaternion =
                [h.quatern_b, h.quatern_c, h.quatern_d].map(|v| if h.qform_code > 0 { v } else { 0.0 });
            [&h.srow_x[..], &h.srow_y, &h.srow_z, &h.pixdim[..4], &quaternion].concat()
        };
        for (a, b) in numbers(&a).into_iter().zip(numbers(&b)) {
            assert!((a - b).abs() <= 3e-7 * b.abs().max(1.0), "{name}: {a} {b}");
        }
        assert_eq!(reader.read_labels(&ours).unwrap().data, labels().data);
        assert_eq!(reader.read_labels(&golden(theirs)).unwrap().data, labels().data);
    }
}

fn header(path: &Path) -> ::nifti::NiftiHeader {
    ::nifti::NiftiHeader::from_file(path).unwrap()
}

#[test]
fn labels_are_stored_in_8_bits_up_to_254() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii.gz");
    let reader = reader_by_name("SimpleITKIO").unwrap();
    for (largest, bits) in [(0, 8), (254, 8), (255, 16), (30000, 16)] {
        let mut map = labels();
        map.data[[1, 2, 3]] = largest;
        reader.write_labels(&path, &map).unwrap();
        assert_eq!(header(&path).bitpix, bits);
        assert_eq!(reader.read_labels(&path).unwrap().data, map.data);
    }
    let mut map = labels();
    map.data[[0, 0, 0]] = -1;
    assert!(reader.write_labels(&path, &map).unwrap_err().to_string().contains("-1"));
}

#[test]
fn every_frame_survives_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.nii.gz");
    for Row { file, reader, expected, .. } in table("geometry.tsv") {
        let Some((shape, _)) = expected else { continue };
        let io = reader_by_name(&reader).unwrap();
        let geometry = io.read_segmentation(&golden("nifti").join(&file)).unwrap().geometry;
        let data = Array3::ones((shape[1], shape[2], shape[3]));
        io.write_labels(&copy, &LabelMap { data, geometry: geometry.clone() }).unwrap();
        let back = io.read_segmentation(&copy).unwrap().geometry;
        // nibabel itself replaces a spacing that contradicts the affine.
        if file != "forms_differ.nii.gz" && file != "sheared.nii.gz" {
            close(&back, &geometry);
        }
        close(&grid(&back), &grid(&geometry));
    }
}

/// The same place in space with unit spacing, so that only the affine counts.
fn grid(g: &Geometry) -> Geometry {
    let [z, y, x] = g.spacing;
    let depth = if g.dims == 2 { 1.0 } else { z };
    let direction = g.direction.map(|row| [row[0] * x, row[1] * y, row[2] * depth]);
    Geometry { spacing: [1.0; 3], direction, ..g.clone() }
}

fn close(a: &Geometry, b: &Geometry) {
    let numbers = |g: &Geometry| [g.direction.as_flattened(), &g.origin, &g.spacing].concat();
    let same = numbers(a).iter().zip(numbers(b)).all(|(a, b)| (a - b).abs() <= 2e-7 * b.abs().max(1.0));
    assert!(same && a.dims == b.dims, "{a:?}\n{b:?}");
}

#[test]
fn readers_are_chosen_as_the_method_does() {
    let file = |name: &str| golden("nifti").join(name);
    assert_eq!(reader_for(".nii.gz", None).unwrap().name(), "SimpleITKIO");
    assert_eq!(reader_for(".NII.GZ", Some(&file("flat.nii.gz"))).unwrap().name(), "SimpleITKIO");
    assert_eq!(reader_for(".nii", Some(&file("u8.nii"))).unwrap().name(), "NibabelIO");
    assert_eq!(reader_for(".nii.gz", Some(&file("sheared.nii.gz"))).unwrap().name(), "NibabelIO");
    let error = reader_for(".dcm", None).err().unwrap().to_string();
    assert!(error.contains(".dcm") && error.contains("SimpleITKIO (.nii.gz"), "{error}");
    assert!(reader_by_name("DicomIO").is_err());
}

#[test]
fn channels_are_stacked_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|c| folder.path().join(format!("a_000{c}.nii.gz"))).collect();
    for (channel, path) in paths.iter().enumerate() {
        let data = Array4::from_elem((1, 2, 3, 4), channel as f32);
        write_image(path, &Image { data, geometry: Geometry::default() }).unwrap();
    }
    let image = reader_by_name("SimpleITKIO").unwrap().read_images(&paths).unwrap();
    assert_eq!(image.data.dim(), (3, 2, 3, 4));
    assert!(image.data.outer_iter().enumerate().all(|(c, data)| data.iter().all(|&v| v == c as f32)));
    let two = Image { data: Array4::zeros((2, 1, 1, 1)), geometry: Geometry::default() };
    assert!(matches!(write_image(&paths[0], &two), Err(ImageError::Format { .. })));
}

#[test]
fn bytes_in_memory_are_files_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let direction = turned([0.3, -0.2, 0.4], true);
    for name in ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"] {
        let reader = reader_by_name(name).unwrap();
        for ending in ["nii", "nii.gz"] {
            let geometry = Geometry { spacing: [3.0, 0.5, 2.0], direction, ..Geometry::default() };
            let paths = [0, 1].map(|channel| {
                let data =
                    Array4::from_shape_fn((1, 2, 3, 4), |(_, z, y, x)| (z * 12 + y * 4 + x + channel) as f32);
                let path = folder.path().join(format!("{channel}.{ending}"));
                write_image(&path, &Image { data, geometry: geometry.clone() }).unwrap();
                path
            });
            let files = paths.each_ref().map(|path| std::fs::read(path).unwrap());
            let named = [("a.nii", files[0].as_slice()), ("b.nii", files[1].as_slice())];
            let image = reader.read_bytes(&named).unwrap();
            assert_eq!(image, reader.read_images(&paths).unwrap(), "{name}");

            let data = image.data.index_axis(ndarray::Axis(0), 0).mapv(|v| v as i16);
            let labels = LabelMap { data, geometry: image.geometry.clone() };
            let path = folder.path().join(format!("labels.{ending}"));
            reader.write_labels(&path, &labels).unwrap();
            let bytes = reader.labels_to_bytes(&format!("labels.{ending}"), &labels).unwrap();
            assert_eq!(bytes, std::fs::read(path).unwrap(), "{name}");
        }
        let error = reader.read_bytes(&[("a.nii", &b"no image"[..])]).unwrap_err().to_string();
        assert!(error.contains("a.nii") && error.contains("header"), "{error}");
    }
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let error = reader.read_bytes(&[("a.nrrd", &b"NRRD0004"[..])]).unwrap_err().to_string();
    assert!(error.contains("a.nrrd"), "{error}");
}

/// A rotation from three angles, with or without a mirror.
fn turned([a, b, c]: [f64; 3], mirror: bool) -> [[f64; 3]; 3] {
    let turn = |m: [[f64; 3]; 3], angle: f64, i: usize, j: usize| {
        let (s, c) = angle.sin_cos();
        let mut out = m;
        for row in 0..3 {
            out[row][i] = c * m[row][i] + s * m[row][j];
            out[row][j] = c * m[row][j] - s * m[row][i];
        }
        out
    };
    let start = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, if mirror { -1.0 } else { 1.0 }]];
    turn(turn(turn(start, a, 0, 1), b, 1, 2), c, 0, 2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_and_frames_survive_writing_and_reading(
        shape in prop::array::uniform3(1usize..6),
        angles in prop::array::uniform3(-3.2f64..3.2),
        mirror: bool,
        spacing in prop::array::uniform3(0.05f64..20.0),
        origin in prop::array::uniform3(-500.0f64..500.0),
        seed: u32,
        zip: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if zip { "a.nii.gz" } else { "a.nii" });
        let direction = turned(angles, mirror);
        let geometry = Geometry { spacing, origin, direction, ..Geometry::default() };
        let data = Array4::from_shape_fn((1, shape[0], shape[1], shape[2]), |(_, z, y, x)| {
            ((seed as usize + 31 * z + 7 * y + x) % 1009) as f32 / 7.0
        });
        let image = Image { data, geometry };
        write_image(&path, &image).unwrap();
        let back = reader_by_name("SimpleITKIO").unwrap().read_images(&[path]).unwrap();
        prop_assert_eq!(&back.data, &image.data);
        close(&back.geometry, &image.geometry);
    }
}
