//! Every reader against the reference's readers, on files in every format (`tests/golden/make_formats.py`).

use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};
use nnunet_image::npz::read_npz_f32;
use nnunet_image::{AxisCode, Geometry, Image, LabelMap, reader_by_name, reader_for, write_image};

use crate::golden;
use crate::nifti::{Row, table};

fn file(name: &str) -> PathBuf {
    let path = golden("formats").join(name);
    if path.exists() { path } else { golden("nifti").join(name) }
}

/// Files that are refused although the reference reads them: a compression that needs C code.
const FEWER: [&str; 1] = ["zstd.tif"];

#[test]
fn arrays_and_frames_are_those_of_the_reference_readers() {
    let rows = table("formats.tsv");
    assert!(rows.len() > 390, "{}", rows.len());
    let mut wrong = Vec::new();
    for Row { file: name, reader, expected, .. } in rows {
        let read = reader_by_name(&reader).unwrap().read_images(&[file(&name)]);
        match (read, expected) {
            (Err(error), None) => {
                let text = error.to_string();
                let stem = name.split('.').next().unwrap();
                if !text.contains(stem) && name != "missing.mhd" && name != "raw_0000.tif" {
                    wrong.push(format!("{name} {reader}: the error names no file: {text}"));
                }
            }
            (Err(_), Some(_)) if FEWER.contains(&name.as_str()) => {}
            (Err(error), Some(_)) => wrong.push(format!("{name} {reader}: {error}")),
            (Ok(image), None) => wrong.push(format!("{name} {reader}: read as {:?}", image.data.dim())),
            (Ok(image), Some((shape, geometry))) => {
                if let Some(text) = differs(&name, &reader, &image, &shape, &geometry) {
                    wrong.push(format!("{name} {reader}: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn differs(name: &str, reader: &str, image: &Image, shape: &[usize], geometry: &Geometry) -> Option<String> {
    let found = &image.geometry;
    if image.data.shape() != shape {
        return Some(format!("shape {:?}, expected {shape:?}", image.data.shape()));
    }
    // Spacings are taken as they are; NRRD and sheared NIfTI files give them as the length of a vector.
    let near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
    if !found.spacing.iter().zip(geometry.spacing).all(|(a, b)| near(*a, b, 1e-15)) {
        return Some(format!("spacing {:?}, expected {:?}", found.spacing, geometry.spacing));
    }
    let numbers = |g: &Geometry| [g.direction.as_flattened(), g.origin.as_slice()].concat();
    if !numbers(found).iter().zip(numbers(geometry)).all(|(a, b)| near(*a, b, 2e-7)) {
        return Some(format!("frame {found:?}, expected {geometry:?}"));
    }
    let values = read_npz_f32(&golden("formats.npz"), &format!("{reader}_{name}")).unwrap();
    (image.data.view().into_dyn() != values).then(|| format!("values {:?}, expected {values:?}", image.data))
}

/// Writer, the file whose geometry it gets, and the ending of the file that it writes.
const WRITERS: [(&str, &str, &str); 12] = [
    ("SimpleITKIO", "itk_int16.nrrd", "nrrd"),
    ("SimpleITKIO", "itk_int16.nrrd", "mha"),
    ("SimpleITKIO", "itk_int16.nrrd", "gipl"),
    ("SimpleITKIO", "itk_flat.mha", "flat.nrrd"),
    ("SimpleITKIO", "itk_flat.mha", "flat.mha"),
    ("SimpleITKIOWithReorient", "itk_int16.nrrd", "turned.nrrd"),
    ("SimpleITKIOWithReorient", "itk_int16.nrrd", "turned.mha"),
    ("NibabelIOWithReorient", "version_2.nii", "turned.nii.gz"),
    ("Tiff3DIO", "stack_0000.tif", "tif"),
    ("NaturalImage2DIO", "mode_L.png", "png"),
    ("NaturalImage2DIO", "mode_L.png", "bmp"),
    ("NaturalImage2DIO", "mode_L.png", "flat.tif"),
];

fn labels(image: &Image) -> LabelMap {
    let (_, z, y, x) = image.data.dim();
    let data = Array3::from_shape_fn((z, y, x), |(z, y, x)| ((z + 2 * y + 3 * x) % 4) as i16);
    LabelMap { data, geometry: image.geometry.clone() }
}

/// Where written files go: a temporary folder, or one that `make_formats.py check` looks at.
fn written(folder: &tempfile::TempDir) -> PathBuf {
    std::env::var_os("NNUNET_WRITTEN").map_or(folder.path().to_owned(), PathBuf::from)
}

#[test]
fn written_labels_are_read_as_those_that_the_reference_wrote() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = written(&temporary);
    for (writer, source, ending) in WRITERS {
        let io = reader_by_name(writer).unwrap();
        let image = io.read_images(&[file(source)]).unwrap();
        let name = format!("labels.{ending}");
        io.write_labels(&folder.join(&name), &labels(&image)).unwrap();
        let ours = io.read_labels(&folder.join(&name)).unwrap();
        let theirs = io.read_labels(&golden("written").join(&name)).unwrap();
        assert_eq!(ours.data, labels(&image).data, "{writer} {ending}");
        assert_eq!(theirs.data, ours.data, "{writer} {ending}");
        let numbers = |g: &Geometry| [g.direction.as_flattened(), &g.origin, &g.spacing].concat();
        for (a, b) in numbers(&ours.geometry).iter().zip(numbers(&theirs.geometry)) {
            assert!((a - b).abs() <= 2e-7 * b.abs().max(1.0), "{ending}: {ours:?} {theirs:?}");
        }
        assert_eq!(ours.geometry.file_axes, theirs.geometry.file_axes, "{ending}");
        if !ending.ends_with("gipl") {
            let same =
                ours.geometry.same_frame(&image.geometry) && ours.geometry.same_spacing(&image.geometry);
            assert!(same && ours.geometry.dims == image.geometry.dims, "{ending}: {ours:?} {image:?}");
        }
    }
}

#[test]
fn written_headers_say_what_itk_says() {
    let folder = tempfile::tempdir().unwrap();
    let io = reader_by_name("SimpleITKIO").unwrap();
    for (source, ending) in
        [("itk_int16.nrrd", "nrrd"), ("itk_int16.nrrd", "mha"), ("itk_flat.mha", "flat.nrrd")]
    {
        let path = folder.path().join(format!("labels.{ending}"));
        io.write_labels(&path, &labels(&io.read_images(&[file(source)]).unwrap())).unwrap();
        let header = |path: &Path| -> Vec<Vec<String>> {
            let bytes = std::fs::read(path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines = text.lines().take_while(|line| line.is_ascii() && !line.is_empty());
            let kept = lines
                .filter(|l| !l.starts_with("AnatomicalOrientation") && !l.starts_with("CompressedDataSize"));
            // Numbers are compared as numbers: ITK writes 17 digits.
            let word = |w: &str| w.parse::<f64>().map_or(w.to_owned(), |v| format!("{:.12}", v + 0.0));
            kept.map(|l| l.split([' ', ',', '(', ')']).map(word).collect()).collect()
        };
        assert_eq!(header(&path), header(&golden("written").join(format!("labels.{ending}"))));
    }
}

#[test]
fn images_are_written_in_the_format_that_their_name_says() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = written(&temporary);
    let io = reader_by_name("SimpleITKIO").unwrap();
    let geometry = io.read_images(&[file("itk_int16.nrrd")]).unwrap().geometry;
    let data = Array4::from_shape_fn((1, 2, 3, 4), |(_, z, y, x)| (z + 2 * y + 3 * x) as f32 / 7.0);
    let image = Image { data, geometry };
    for ending in ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd", "gipl", "gipl.gz"] {
        let path = folder.join(format!("image.{ending}"));
        write_image(&path, &image).unwrap();
        let back = io.read_images(&[path]).unwrap();
        assert_eq!(back.data, image.data, "{ending}");
        assert!(back.geometry.same_spacing(&image.geometry), "{ending}");
        assert!(ending.starts_with("gipl") || back.geometry.same_frame(&image.geometry), "{ending}");
    }
    let error = write_image(&folder.join("image.xyz"), &image).unwrap_err().to_string();
    assert!(error.contains("image.xyz") && error.contains(".nrrd"), "{error}");
}

#[test]
fn labels_take_8_bits_up_to_254_and_16_above() {
    let folder = tempfile::tempdir().unwrap();
    let size = |path: &Path, large: i16| {
        let reader = reader_for(&format!(".{}", path.extension().unwrap().display()), None).unwrap();
        let mut data = Array3::zeros((1, 40, 30));
        data[[0, 39, 29]] = large;
        let map = LabelMap { data, geometry: Geometry { dims: 2, ..Geometry::default() } };
        reader.write_labels(path, &map).map(|()| {
            assert_eq!(reader.read_labels(path).unwrap().data, map.data, "{path:?}");
            std::fs::metadata(path).unwrap().len()
        })
    };
    for ending in ["gipl", "tif"] {
        let path = folder.path().join(format!("a.{ending}"));
        let (small, large) = (size(&path, 254).unwrap(), size(&path, 255).unwrap());
        assert!((1200..1300).contains(&(large - small)), "{ending}: {small} {large}");
    }
    for ending in ["nrrd", "mha", "png"] {
        let path = folder.path().join(format!("a.{ending}"));
        assert!(size(&path, 254).unwrap() < size(&path, 32767).unwrap(), "{ending}");
    }
    let bmp = folder.path().join("a.bmp");
    assert!(size(&bmp, 254).is_ok());
    assert!(size(&bmp, 255).unwrap_err().to_string().contains("254"));
}

#[test]
fn readers_are_chosen_in_the_order_of_the_reference() {
    let chosen = |ending: &str, example: Option<&str>| {
        reader_for(ending, example.map(file).as_deref()).map(|reader| reader.name())
    };
    for (ending, example, name) in [
        (".nrrd", Some("itk_int16.nrrd"), "SimpleITKIO"),
        (".mha", Some("itk_int16.mha"), "SimpleITKIO"),
        (".gipl", None, "SimpleITKIO"),
        (".nii.gz", Some("version_2.nii.gz"), "NibabelIO"),
        (".nii.gz", Some("one_time.nii.gz"), "SimpleITKIO"),
        (".nii.gz", Some("five_axes.nii.gz"), "refused"),
        (".tif", None, "NaturalImage2DIO"),
        (".tif", Some("flat.tif"), "NaturalImage2DIO"),
        (".tif", Some("stack_0000.tif"), "Tiff3DIO"),
        (".tif", Some("thin.tif"), "NaturalImage2DIO"),
        (".tif", Some("colour.tif"), "NaturalImage2DIO"),
        (".tif", Some("colour_stack.tif"), "refused"),
        (".tiff", Some("stack_0000.tif"), "Tiff3DIO"),
        (".PNG", Some("mode_RGB.png"), "NaturalImage2DIO"),
        (".png", Some("mode_LA.png"), "refused"),
        (".bmp", Some("mode_L.bmp"), "NaturalImage2DIO"),
        (".dcm", None, "refused"),
    ] {
        match chosen(ending, example) {
            Ok(found) => assert_eq!(found, name, "{ending} {example:?}"),
            Err(error) => assert_eq!("refused", name, "{ending} {example:?}: {error}"),
        }
    }
}

#[test]
fn turned_images_go_back_to_the_axes_of_their_file() {
    for (reader, name, axes) in [
        ("SimpleITKIOWithReorient", "itk_int16.nrrd", "PIR"),
        ("SimpleITKIOWithReorient", "oblique_i16.nii.gz", "PSL"),
        ("NibabelIOWithReorient", "oblique_i16.nii.gz", "PSL"),
    ] {
        let image = reader_by_name(reader).unwrap().read_images(&[file(name)]).unwrap();
        assert_eq!(AxisCode::of(&image.geometry).unwrap(), AxisCode::RAS);
        assert_eq!(image.geometry.file_axes.unwrap().to_string(), axes);
    }
    let folder = tempfile::tempdir().unwrap();
    let io = reader_by_name("SimpleITKIOWithReorient").unwrap();
    let image = io.read_images(&[file("itk_int16.nrrd")]).unwrap();
    let mut map = labels(&image);
    map.data[[0, 0, 0]] = 255;
    io.write_labels(&folder.path().join("a.nrrd"), &map).unwrap();
    map.data[[0, 0, 0]] = 256;
    let error = io.write_labels(&folder.path().join("a.nrrd"), &map).unwrap_err().to_string();
    assert!(error.contains("8 bits"), "{error}");
}

#[test]
fn a_colour_image_has_one_channel_per_colour_and_channels_must_fit() {
    let io = reader_by_name("NaturalImage2DIO").unwrap();
    let image = io.read_images(&[file("mode_RGB.png"), file("mode_RGB.bmp")]).unwrap();
    assert_eq!(image.data.dim(), (6, 1, 5, 6));
    assert_eq!(image.geometry.spacing, [999.0, 1.0, 1.0]);
    let error = io.read_images(&[file("mode_RGB.png"), file("mode_L.png")]).unwrap_err().to_string();
    assert!(error.contains("mode_RGB.png") && error.contains("mode_L.png"), "{error}");
}

#[test]
fn the_spacing_of_a_stack_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let io = reader_by_name("Tiff3DIO").unwrap();
    let stack = file("stack_0000.tif");
    let spacing = io.read_images(&[stack.clone(), stack.clone()]).unwrap().geometry.spacing;
    assert_eq!(spacing, [3.0, 0.5, 0.75]);
    // As a segmentation, the same file looks for another name.
    assert_eq!(io.read_segmentation(&stack).unwrap().geometry.spacing, [1.0; 3]);
    let error = io.read_images(&[file("raw_0000.tif")]).unwrap_err().to_string();
    assert!(error.contains("raw.json") && error.contains("three numbers"), "{error}");
    let copy = folder.path().join("case.tif");
    let map =
        LabelMap { data: Array3::ones((1, 2, 3)), geometry: Geometry { spacing, ..Geometry::default() } };
    io.write_labels(&copy, &map).unwrap();
    assert_eq!(io.read_labels(&copy).unwrap(), map);
}
