//! DICOM SEG files, written about series that are drawn here in every plane and both orders, and read back.

use std::path::{Path, PathBuf};

use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, open_file};
use ndarray::{Array3, Array4};
use nnunet_image::{
    AxisCode, DicomCode, DicomSegment, DicomSource, DicomVolume, LabelMap, SegOptions, dicom_series,
    read_dicom_seg, read_dicom_source, read_dicom_volume, reorient_labels, segment_terms, write_dicom_seg,
    write_dicom_seg_fractional,
};

/// Axial, coronal, sagittal, oblique: direction of rows and of columns.
pub(crate) const PLANES: [(&str, [f64; 6]); 4] = [
    ("axial", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    ("coronal", [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]),
    ("sagittal", [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]),
    ("oblique", [0.8, 0.6, 0.0, -0.36, 0.48, -0.8]),
];

/// Draws a series of 5 slices of 6 × 7 pixels, one file per slice, named along the normal or against it.
pub(crate) fn draw(folder: &Path, axes: [f64; 6], against: bool) -> Vec<PathBuf> {
    let [a, b, c, d, e, f] = axes;
    let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
    let mut files = Vec::new();
    for z in 0..5u32 {
        let at = f64::from(if against { 4 - z } else { z }) * 2.5;
        let position: Vec<String> =
            (0..3).map(|i| format!("{:.6}", [-20.5, 11.25, 40.0][i] + at * normal[i])).collect();
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, value);
        let axes: Vec<String> = axes.iter().map(f64::to_string).collect();
        let mut object = InMemDicomObject::from_element_iter([
            text(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.4"),
            text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.3.4.5.{}", z + 1)),
            text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.4"),
            text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4.5"),
            text(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.4.6"),
            text(tags::PATIENT_NAME, VR::PN, "Secret^Name"),
            text(tags::PATIENT_ID, VR::LO, "SECRET7"),
            text(tags::PATIENT_BIRTH_DATE, VR::DA, "19010203"),
            text(tags::STUDY_ID, VR::SH, "S1"),
            text(tags::MODALITY, VR::CS, "MR"),
            text(tags::SERIES_NUMBER, VR::IS, "3"),
            text(tags::IMAGE_POSITION_PATIENT, VR::DS, &position.join("\\")),
            text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &axes.join("\\")),
            text(tags::PIXEL_SPACING, VR::DS, "0.75\\0.5"),
            text(tags::SLICE_THICKNESS, VR::DS, "2.5"),
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        ]);
        let shorts = [
            (tags::ROWS, 6u16),
            (tags::COLUMNS, 7),
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 0),
        ];
        for (tag, value) in shorts {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        let pixels: Vec<u16> = (0..42).map(|i| (i * 3 + z as u16 * 100) % 977).collect();
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
        let path = folder.join(format!("{z:03}.dcm"));
        object.with_meta(meta).unwrap().write_to_file(&path).unwrap();
        files.push(path);
    }
    files
}

fn labels_on(source: &DicomSource) -> LabelMap {
    // The last slice stays empty.
    let data = Array3::from_shape_fn(source.shape(), |(z, y, x)| match (z, (3 * z + 5 * y + 7 * x) % 9) {
        (4, _) => 0,
        (0, n) if n > 6 => 0,
        (_, n) if n < 4 => n as i16,
        _ => 0,
    });
    LabelMap { data, geometry: source.geometry().clone() }
}

/// A segment of which everything is said.
pub(crate) fn anterior() -> DicomSegment {
    let mut segment = DicomSegment::new(1, "Anterior");
    segment.kind = DicomCode::new("5366008", "SCT", "Hippocampus");
    segment.category = DicomCode::new("123037004", "SCT", "Anatomical Structure");
    segment.modifier = Some(DicomCode::new("7771000", "SCT", "Left"));
    segment.colour = [10, 200, 30];
    segment.description = "front".to_owned();
    segment
}

fn options() -> SegOptions {
    SegOptions::new(vec![anterior(), DicomSegment::new(2, "Posterior"), DicomSegment::new(3, "Übrig")])
}

fn each(check: impl Fn(&str, &Path, DicomVolume)) {
    for (plane, axes) in PLANES {
        for against in [false, true] {
            // With this variable the files stay, for other tools to read.
            let kept = std::env::var_os("NNUNET_WRITTEN").map(PathBuf::from);
            let temporary = tempfile::tempdir().unwrap();
            let name = format!("{plane}{}", if against { "_against" } else { "" });
            let folder = kept.map_or(temporary.path().to_owned(), |kept| kept.join("seg").join(&name));
            let series = folder.join("series");
            std::fs::create_dir_all(&series).unwrap();
            check(&name, &folder, read_dicom_volume(&draw(&series, axes, against)).unwrap());
        }
    }
}

#[test]
fn labels_come_back_from_binary_segmentations_in_every_plane_and_order() {
    each(|name, folder, DicomVolume { image, source }| {
        let labels = labels_on(&source);
        assert_eq!(image.geometry, labels.geometry, "{name}");
        let path = folder.join("binary.dcm");
        // Labels whose axes are turned end in the same place.
        let turned = reorient_labels(labels.clone(), AxisCode::RAS).unwrap();
        write_dicom_seg(&path, &turned, &source, &options()).unwrap();
        let seg = read_dicom_seg(&path).unwrap();
        let back = seg.to_labels_on(source.geometry(), source.shape()).unwrap();
        assert_eq!(back, labels, "{name}");
        // Without the image, empty slices at the ends are not there.
        assert_eq!(seg.to_labels().unwrap().data.dim(), (4, 6, 7), "{name}");
        let reference = folder.join("labels.nii.gz");
        nnunet_image::reader_by_name("SimpleITKIO").unwrap().write_labels(&reference, &labels).unwrap();
    });
}

#[test]
fn fractions_come_back_as_the_most_likely_label() {
    each(|name, folder, DicomVolume { source, .. }| {
        let labels = labels_on(&source);
        let [z, y, x] = source.shape();
        let probabilities = Array4::from_shape_fn((3, z, y, x), |(segment, z, y, x)| {
            let label = labels.data[[z, y, x]] as usize;
            if label == segment + 1 {
                0.4
            } else if label == 0 {
                0.1
            } else {
                0.2
            }
        });
        let path = folder.join("fractional.dcm");
        write_dicom_seg_fractional(&path, probabilities.view(), &source, &options()).unwrap();
        let back = read_dicom_seg(&path).unwrap().to_labels_on(source.geometry(), source.shape()).unwrap();
        assert_eq!(back, labels, "{name}");
    });
}

#[test]
fn terms_colours_patient_and_references_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[3].1, false)).unwrap();
    let path = folder.path().join("seg.dcm");
    write_dicom_seg(&path, &labels_on(&source), &source, &options()).unwrap();
    let seg = read_dicom_seg(&path).unwrap();
    let mut expected = options().segments;
    for (found, expected) in seg.segments.iter().zip(&mut expected) {
        assert!(found.colour.iter().zip(expected.colour).all(|(a, b)| a.abs_diff(b) <= 1));
        expected.colour = found.colour;
    }
    assert_eq!(seg.segments, expected);
    let object = open_file(&path).unwrap();
    let text = |tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
    assert_eq!(text(tags::PATIENT_NAME), "Secret^Name");
    assert_eq!(text(tags::STUDY_INSTANCE_UID), "1.2.3.4");
    assert_eq!(text(tags::FRAME_OF_REFERENCE_UID), "1.2.3.4.6");
    let series = object.element(tags::REFERENCED_SERIES_SEQUENCE).unwrap().items().unwrap();
    let instances = series[0].element(tags::REFERENCED_INSTANCE_SEQUENCE).unwrap();
    assert_eq!(instances.items().unwrap().len(), 5);
    assert!(!format!("{source:?} {seg:?}").contains("ecret"));
}

#[test]
fn a_segmentation_without_foreground_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[0].1, false)).unwrap();
    let empty = LabelMap { data: Array3::zeros(source.shape()), geometry: source.geometry().clone() };
    let path = folder.path().join("seg.dcm");
    write_dicom_seg(&path, &empty, &source, &options()).unwrap();
    assert_eq!(read_dicom_seg(&path).unwrap().to_labels().unwrap().data, empty.data);
}

#[test]
fn what_is_wrong_with_a_segmentation_is_said_without_the_patient() {
    let folder = tempfile::tempdir().unwrap();
    let files = draw(folder.path(), PLANES[0].1, false);
    let source = read_dicom_source(&files).unwrap();
    let labels = labels_on(&source);
    let path = folder.path().join("seg.dcm");
    let mut few = options();
    few.segments.pop();
    let error = write_dicom_seg(&path, &labels, &source, &few).unwrap_err().to_string();
    assert!(error.contains("label 3") && !path.exists(), "{error}");
    write_dicom_seg(&path, &labels, &source, &options()).unwrap();
    let object = open_file(&path).unwrap();
    let change = |tag, vr, value: Option<PrimitiveValue>| {
        let mut object = object.clone();
        match value {
            Some(value) => drop(object.put(DataElement::new(tag, vr, Value::Primitive(value)))),
            None => drop(object.take(tag)),
        }
        let path = folder.path().join("changed.dcm");
        object.write_to_file(&path).unwrap();
        let error = read_dicom_seg(&path).and_then(|seg| seg.to_labels()).unwrap_err().to_string();
        assert!(error.contains("changed.dcm") && !error.contains("ecret"), "{error}");
        error
    };
    for (tag, vr, value, words) in [
        (tags::SOP_CLASS_UID, VR::UI, Some("1.2".into()), "(0008,0016)"),
        (tags::SEGMENTATION_TYPE, VR::CS, Some("OTHER".into()), "(0062,0001)"),
        (tags::SEGMENT_SEQUENCE, VR::SQ, None, "(0062,0002)"),
        (tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, None, "(5200,9230)"),
        (tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, None, "(0020,0037)"),
        (tags::PIXEL_DATA, VR::OB, Some(PrimitiveValue::U8([0, 0].as_slice().into())), "truncated"),
        (tags::BITS_ALLOCATED, VR::US, Some(8u16.into()), "(0028,0100)"),
        (tags::ROWS, VR::US, Some(60000u16.into()), "truncated"),
    ] {
        let error = change(tag, vr, value);
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = read_dicom_seg(&files[0]).unwrap_err().to_string();
    assert!(error.contains("expected a segmentation"), "{error}");
    let seg = read_dicom_seg(&path).unwrap();
    let mut elsewhere = source.geometry().clone();
    elsewhere.origin[1] += 0.3;
    let error = seg.to_labels_on(&elsewhere, source.shape()).unwrap_err().to_string();
    assert!(error.contains("seg.dcm") && error.contains("voxels off"), "{error}");
}

#[test]
fn a_segmentation_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[0].1, false)).unwrap();
    let path = folder.path().join("seg.dcm");
    write_dicom_seg(&path, &labels_on(&source), &source, &options()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let short = folder.path().join("short.dcm");
    for length in (0..whole.len()).step_by(31) {
        std::fs::write(&short, &whole[..length]).unwrap();
        let error = read_dicom_seg(&short).unwrap_err().to_string();
        assert!(error.contains("short.dcm") && !error.contains("ecret"), "{length}: {error}");
    }
}

#[test]
fn terms_are_read_from_json_and_missing_keys_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes.json");
    let code = |value: &str| {
        format!(r#"{{"CodeValue":"{value}","CodingSchemeDesignator":"SCT","CodeMeaning":"meaning"}}"#)
    };
    let item = |label: &str, rest: &str| {
        format!(r#"[{{"labelID":{label},"SegmentedPropertyCategoryCodeSequence":{}{rest}}}]"#, code("1"))
    };
    let kind = format!(r#","SegmentedPropertyTypeCodeSequence":{}"#, code("2"));
    let read = |items: &str| {
        std::fs::write(&path, format!(r#"{{"segmentAttributes":[{items}]}}"#)).unwrap();
        segment_terms(&path)
    };
    let named = format!(r#"{kind},"SegmentLabel":"Liver","recommendedDisplayRGBValue":[1,2,3]"#);
    let segments = read(&[item("2", &named), item("1", &kind)].join(",")).unwrap();
    assert_eq!((segments[0].label, segments[0].name.as_str(), segments[0].colour), (2, "Liver", [1, 2, 3]));
    assert_eq!((segments[1].name.as_str(), segments[1].kind.value.as_str()), ("label 1", "2"));
    for (items, words) in [
        (String::new(), "segmentAttributes"),
        (item("0", &kind), "labelID"),
        (item("1", ""), "SegmentedPropertyTypeCodeSequence is missing"),
        (
            item("1", &format!(r#"{kind},"recommendedDisplayRGBValue":[1,2,300]"#)),
            "recommendedDisplayRGBValue",
        ),
        (item("1", &kind.replace("SCT", "")), "CodingSchemeDesignator"),
        ([item("1", &kind), item("1", &kind)].join(","), "twice"),
    ] {
        let error = read(&items).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("codes.json"), "{error}");
    }
}

#[test]
fn a_slice_that_is_there_twice_counts_once_unless_its_values_differ() {
    let folder = tempfile::tempdir().unwrap();
    let files = draw(folder.path(), PLANES[0].1, false);
    let once = read_dicom_volume(&files).unwrap();
    let copy = folder.path().join("copy.dcm");
    std::fs::copy(&files[2], &copy).unwrap();
    let list = || dicom_series(folder.path()).unwrap().remove(0).files;
    assert_eq!(read_dicom_volume(&list()).unwrap().image, once.image);
    let mut object = open_file(&copy).unwrap();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16([7; 42].as_slice().into())));
    object.write_to_file(&copy).unwrap();
    let error = read_dicom_volume(&list()).unwrap_err().to_string();
    assert!(error.contains("(0008,0018)") && error.contains("values are others"), "{error}");
}
