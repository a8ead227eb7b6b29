//! RT Structure Set files, written about series in every plane and both orders, and read back.

use std::path::{Path, PathBuf};

use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use ndarray::{Array3, Axis};
use nnunet_image::{
    AxisCode, DicomSegment, DicomSource, DicomVolume, LabelMap, RoiOverlap, SegOptions, dicom_series,
    is_dicom_rtstruct, read_dicom_rtstruct, read_dicom_source, read_dicom_volume, reorient_labels,
    write_dicom_rtstruct,
};

use crate::seg::{PLANES, anterior, draw};

/// Rings with islands, holes side by side, pixels that touch at corners, single pixels, all up to the border; then nothing.
const DRAWN: [[&str; 6]; 4] = [
    ["1111122", "1...1.2", "1.1.12.", "1...1.2", "1111122", "3.....3"],
    ["1.1.1.2", ".1.1.2.", "1.1.2.2", ".3.3.1.", "3.3.1.1", ".3.3.1."],
    ["2222222", "2.2.2.2", "2222222", "22.1.22", "2.222.2", "2222222"],
    [".......", ".2.....", "..33...", "..33..1", "....1..", "1......"],
];

fn labels_on(source: &DicomSource) -> LabelMap {
    let data = Array3::from_shape_fn(source.shape(), |(z, y, x)| {
        let line = DRAWN.get(z).and_then(|slice| slice.get(y % 6));
        line.map_or(0, |line| match line.as_bytes()[x % 7] {
            b'.' => 0,
            digit => i16::from(digit - b'0'),
        })
    });
    LabelMap { data, geometry: source.geometry().clone() }
}

fn options() -> SegOptions {
    let mut second = DicomSegment::new(2, "Posterior");
    second.interpreted_type = "GTV".to_owned();
    SegOptions::new(vec![anterior(), second, DicomSegment::new(3, "Übrig"), DicomSegment::new(7, "empty")])
}

/// A place for files; with this variable they stay, for other tools to read (`tests/golden/check_rtstruct.py`).
fn place(temporary: &Path, name: &str) -> PathBuf {
    let kept = std::env::var_os("NNUNET_WRITTEN").map(PathBuf::from);
    let folder = kept.map_or(temporary.to_owned(), |kept| kept.join("rtstruct").join(name));
    std::fs::create_dir_all(folder.join("series")).unwrap();
    folder
}

fn back(path: &Path, source: &DicomSource) -> LabelMap {
    read_dicom_rtstruct(path).unwrap().to_labels(source, RoiOverlap::Refuse).unwrap()
}

fn write_reference(folder: &Path, labels: &LabelMap) {
    let reader = nnunet_image::reader_by_name("SimpleITKIO").unwrap();
    reader.write_labels(&folder.join("labels.nii.gz"), labels).unwrap();
}

/// Makes the slices of a series square, of 7 × 7 square pixels.
fn make_square(files: &[PathBuf]) {
    for file in files {
        let mut object = open_file(file).unwrap();
        object.put(DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(7u16)));
        object.put(DataElement::new(tags::PIXEL_SPACING, VR::DS, "0.75\\0.75"));
        let pixels = PrimitiveValue::U16((0..49).collect());
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
        object.write_to_file(file).unwrap();
    }
}

#[test]
fn labels_come_back_from_contours_in_every_plane_and_order() {
    for (plane, axes) in PLANES {
        for (order, against, square) in
            [("", false, false), ("_against", true, false), ("_square", true, true)]
        {
            let temporary = tempfile::tempdir().unwrap();
            let name = format!("{plane}{order}");
            let folder = place(temporary.path(), &name);
            let files = draw(&folder.join("series"), axes, against);
            if square {
                make_square(&files);
            }
            let DicomVolume { image, source } = read_dicom_volume(&files).unwrap();
            let labels = labels_on(&source);
            assert_eq!(image.geometry, labels.geometry, "{name}");
            // Labels whose axes are turned end in the same place.
            let turned = reorient_labels(labels.clone(), AxisCode::RAS).unwrap();
            let path = folder.join("rtstruct.dcm");
            write_dicom_rtstruct(&path, &turned, &source, &options()).unwrap();
            assert!(is_dicom_rtstruct(&path).unwrap() && !is_dicom_rtstruct(&files[0]).unwrap());
            assert_eq!(back(&path, &source), labels, "{name}");
            write_reference(&folder, &labels);
        }
    }
}

#[test]
fn frames_of_one_file_are_referred_to_by_number() {
    let files = vec![crate::golden("dicom/enhanced/frames.dcm")];
    let source = read_dicom_source(&files).unwrap();
    let labels = labels_on(&source);
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("rtstruct.dcm");
    write_dicom_rtstruct(&path, &labels, &source, &options()).unwrap();
    assert_eq!(back(&path, &source), labels);
    let object = open_file(&path).unwrap();
    let roi = &object.element(tags::ROI_CONTOUR_SEQUENCE).unwrap().items().unwrap()[0];
    let contours = roi.element(tags::CONTOUR_SEQUENCE).unwrap().items().unwrap();
    let frame = |contour: &InMemDicomObject| {
        let image = &contour.element(tags::CONTOUR_IMAGE_SEQUENCE).unwrap().items().unwrap()[0];
        image.element(tags::REFERENCED_FRAME_NUMBER).unwrap().to_int::<i32>().unwrap()
    };
    let frames: std::collections::BTreeSet<i32> = contours.iter().map(frame).collect();
    assert_eq!(frames.len(), labels.data.axis_iter(Axis(0)).filter(|s| s.iter().any(|&v| v == 1)).count());
}

#[test]
fn names_terms_colours_patient_and_references_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[3].1, false)).unwrap();
    let path = folder.path().join("rtstruct.dcm");
    let options = options();
    write_dicom_rtstruct(&path, &labels_on(&source), &source, &options).unwrap();
    let structures = read_dicom_rtstruct(&path).unwrap();
    let mut expected = options.segments.clone();
    expected[0].interpreted_type = "ORGAN".to_owned();
    let found: Vec<DicomSegment> = structures.rois.iter().map(|roi| roi.segment.clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(structures.rois.iter().map(|roi| roi.number).collect::<Vec<_>>(), [1, 2, 3, 7]);
    let object = open_file(&path).unwrap();
    let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim().to_owned();
    assert_eq!(text(tags::PATIENT_NAME), "Secret^Name");
    assert_eq!(text(tags::STUDY_INSTANCE_UID), "1.2.3.4");
    assert_eq!(text(tags::MODALITY), "RTSTRUCT");
    let referenced =
        &object.element(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE).unwrap().items().unwrap()[0];
    let below = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap()[0].clone();
    let study = below(referenced, tags::RT_REFERENCED_STUDY_SEQUENCE);
    assert_eq!(study.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap(), "1.2.3.4");
    let series = below(&study, tags::RT_REFERENCED_SERIES_SEQUENCE);
    assert_eq!(series.element(tags::SERIES_INSTANCE_UID).unwrap().to_str().unwrap(), "1.2.3.4.5");
    assert_eq!(series.element(tags::CONTOUR_IMAGE_SEQUENCE).unwrap().items().unwrap().len(), 5);
    assert!(!format!("{source:?} {structures:?}").contains("ecret"));
    // The same again is the same file.
    let again = folder.path().join("again.dcm");
    write_dicom_rtstruct(&again, &labels_on(&source), &source, &options).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn regions_are_chosen_by_name_and_number_and_overlaps_are_decided() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[0].1, false)).unwrap();
    let labels = labels_on(&source);
    let path = folder.path().join("rtstruct.dcm");
    write_dicom_rtstruct(&path, &labels, &source, &options()).unwrap();
    let read = read_dicom_rtstruct(&path).unwrap();
    let chosen = |wanted: &[(&str, Option<i16>)]| {
        let mut read = read.clone();
        let wanted: Vec<_> = wanted.iter().map(|(text, label)| ((*text).to_owned(), *label)).collect();
        read.choose(&wanted)?;
        read.to_labels(&source, RoiOverlap::Refuse).map(|labels| labels.data)
    };
    let mapped = |to: fn(i16) -> i16| labels.data.mapv(to);
    assert_eq!(chosen(&[("posterior", None)]).unwrap(), mapped(|v| if v == 2 { 2 } else { 0 }));
    assert_eq!(
        chosen(&[("3", Some(9)), ("*terior", Some(4))]).unwrap(),
        mapped(|v| [0, 4, 4, 9][v as usize])
    );
    let error = chosen(&[("1", None), ("liver", Some(1))]).unwrap_err().to_string();
    assert!(
        error.contains("(3006,0026)") && error.contains("\"liver\"") && error.contains("ROI 7"),
        "{error}"
    );
    assert!(chosen(&[]).unwrap_err().to_string().contains("(3006,0020)"));

    // The first region once more, as another.
    let mut object = open_file(&path).unwrap();
    for (sequence, number) in [
        (tags::STRUCTURE_SET_ROI_SEQUENCE, tags::ROI_NUMBER),
        (tags::ROI_CONTOUR_SEQUENCE, tags::REFERENCED_ROI_NUMBER),
    ] {
        let mut list = object.element(sequence).unwrap().items().unwrap().to_vec();
        let mut copy = list[0].clone();
        copy.put(DataElement::new(number, VR::IS, "8"));
        list.push(copy);
        put_items(&mut object, sequence, list);
    }
    object.write_to_file(&path).unwrap();
    let read = read_dicom_rtstruct(&path).unwrap();
    let error = read.to_labels(&source, RoiOverlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("ROI 1 \"Anterior\" and ROI 8 \"Anterior\" share the voxel"), "{error}");
    assert_eq!(read.to_labels(&source, RoiOverlap::First).unwrap(), labels);
    let last = read.to_labels(&source, RoiOverlap::Last).unwrap();
    assert_eq!(last.data, mapped(|v| if v == 1 { 8 } else { v }));
}

fn put_items(object: &mut InMemDicomObject, tag: Tag, list: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, Value::Sequence(DataSetSequence::new(list, Length::UNDEFINED))));
}

/// Changes the first contour of the first region.
fn first_contour(object: &mut InMemDicomObject, change: &dyn Fn(&mut InMemDicomObject)) {
    let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
    let mut rois = items(object, tags::ROI_CONTOUR_SEQUENCE);
    let mut contours = items(&rois[0], tags::CONTOUR_SEQUENCE);
    change(&mut contours[0]);
    put_items(&mut rois[0], tags::CONTOUR_SEQUENCE, contours);
    put_items(object, tags::ROI_CONTOUR_SEQUENCE, rois);
}

/// What is said of a structure set of [`DRAWN`] that has been changed.
fn refused(change: impl Fn(&mut InMemDicomObject)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[0].1, false)).unwrap();
    let path = folder.path().join("changed.dcm");
    write_dicom_rtstruct(&path, &labels_on(&source), &source, &options()).unwrap();
    let mut object = open_file(&path).unwrap();
    change(&mut object);
    object.write_to_file(&path).unwrap();
    let read = read_dicom_rtstruct(&path);
    let error = read.and_then(|read| read.to_labels(&source, RoiOverlap::Refuse)).unwrap_err().to_string();
    assert!(error.contains("changed.dcm") && !error.contains("ecret"), "{error}");
    error
}

#[test]
fn what_is_wrong_with_a_structure_set_is_said_without_the_patient() {
    for (tag, words) in [
        (tags::STRUCTURE_SET_ROI_SEQUENCE, "(3006,0020) Structure Set ROI Sequence: it is missing"),
        (tags::ROI_CONTOUR_SEQUENCE, "(3006,0039) ROI Contour Sequence: it is missing"),
        (tags::SOP_CLASS_UID, "(0008,0016)"),
    ] {
        let error = refused(|object| assert!(object.remove_element(tag)));
        assert!(error.contains(words), "{words}: {error}");
    }
    for (tag, value, words) in [
        (tags::ROI_NUMBER, "2", "(3006,0022) ROI Number: 2 is there twice"),
        (tags::ROI_NUMBER, "5", "(3006,0084) Referenced ROI Number: expected one of [5, 2, 3, 7], found 1"),
        (tags::ROI_NUMBER, "x", "(3006,0022) ROI Number: expected a whole number"),
        (
            tags::REFERENCED_FRAME_OF_REFERENCE_UID,
            "1.9",
            "(3006,0024) Referenced Frame of Reference UID: ROI 1",
        ),
    ] {
        let error = refused(|object| {
            let mut rois =
                object.element(tags::STRUCTURE_SET_ROI_SEQUENCE).unwrap().items().unwrap().to_vec();
            rois[0].put(DataElement::new(tag, VR::LO, value));
            put_items(object, tags::STRUCTURE_SET_ROI_SEQUENCE, rois);
        });
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_contour_is_said_with_its_region() {
    let put = |tag: Tag, vr: VR, value: &str, words: &str| {
        let error = refused(|object| {
            first_contour(object, &|contour| {
                if tag == tags::CONTOUR_DATA {
                    contour.remove_element(tags::NUMBER_OF_CONTOUR_POINTS);
                }
                contour.put(DataElement::new(tag, vr, value));
            });
        });
        assert!(error.contains(words) && error.contains("ROI 1 \"Anterior\", contour 1"), "{words}: {error}");
    };
    put(tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "POINT", "(3006,0042) Contour Geometric Type");
    put(tags::NUMBER_OF_CONTOUR_POINTS, VR::IS, "4000", "(3006,0046) Number of Contour Points is 4000");
    let data = "-20\\11\\40\\-19\\11\\40\\-19\\12\\40";
    for (value, words) in [
        ("1\\2\\3\\4", "expected three numbers per point, found 4"),
        ("1\\2\\nan", "expected finite numbers"),
        ("", "(3006,0050)"),
        (&data.replace("40", "41.2"), "lies on no slice"),
        (&data.replace("12\\40", "12\\42.5"), "lies on no slice"),
        (&data.replace("40", "52.5"), "above or below the 5 slices"),
        (&data.replace("40", "-1e300"), "above or below the 5 slices"),
    ] {
        put(tags::CONTOUR_DATA, VR::DS, value, words);
    }
    let error = refused(|object| {
        first_contour(object, &|contour| {
            let image = DataElement::new(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, "1.2.9");
            let image = InMemDicomObject::from_element_iter([image]);
            put_items(contour, tags::CONTOUR_IMAGE_SEQUENCE, vec![image]);
        });
    });
    assert!(
        error.contains("(0008,1155)") && error.contains("1.2.9 is no image of the series 1.2.3.4.5"),
        "{error}"
    );
}

#[test]
fn a_region_that_is_left_out_may_be_broken() {
    let folder = tempfile::tempdir().unwrap();
    let files = draw(folder.path(), PLANES[0].1, false);
    let source = read_dicom_source(&files).unwrap();
    let path = folder.path().join("rtstruct.dcm");
    write_dicom_rtstruct(&path, &labels_on(&source), &source, &options()).unwrap();
    let mut object = open_file(&path).unwrap();
    first_contour(&mut object, &|contour| {
        contour.put(DataElement::new(tags::CONTOUR_DATA, VR::DS, "1\\2"));
    });
    object.write_to_file(&path).unwrap();
    let mut read = read_dicom_rtstruct(&path).unwrap();
    assert!(read.to_labels(&source, RoiOverlap::Refuse).is_err());
    read.rois[0].chosen = false;
    let rest = read.to_labels(&source, RoiOverlap::Refuse).unwrap();
    assert_eq!(rest.data, labels_on(&source).data.mapv(|v| if v == 1 { 0 } else { v }));
    let error = read_dicom_rtstruct(&files[0]).unwrap_err().to_string();
    assert!(error.contains("expected an RT Structure Set"), "{error}");
}

#[test]
fn labels_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[0].1, false)).unwrap();
    let labels = labels_on(&source);
    let path = folder.path().join("rtstruct.dcm");
    let with = |change: &dyn Fn(&mut SegOptions)| {
        let mut options = options();
        change(&mut options);
        write_dicom_rtstruct(&path, &labels, &source, &options).unwrap_err().to_string()
    };
    for (error, words) in [
        (with(&|options| drop(options.segments.remove(2))), "label 3 of slice 0"),
        (with(&|options| options.segments.clear()), "at least one segment"),
        (with(&|options| options.segments[3].label = 2), "label 2 is that of two"),
        (with(&|options| options.segments[3].label = 0), "from 1 to 32767"),
    ] {
        assert!(error.contains(words) && !path.exists(), "{error}");
    }
    // Without foreground: regions without contours.
    let empty = LabelMap { data: Array3::zeros(source.shape()), geometry: source.geometry().clone() };
    write_dicom_rtstruct(&path, &empty, &source, &options()).unwrap();
    assert_eq!(back(&path, &source), empty);
}

#[test]
fn damaged_structure_sets_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = read_dicom_source(&draw(folder.path(), PLANES[3].1, false)).unwrap();
    let path = folder.path().join("rtstruct.dcm");
    let mut labels = labels_on(&source);
    labels.data.slice_mut(ndarray::s![1.., .., ..]).fill(0);
    write_dicom_rtstruct(&path, &labels, &source, &options()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.dcm");
    let read = || read_dicom_rtstruct(&damaged).and_then(|read| read.to_labels(&source, RoiOverlap::Refuse));
    let check = |at: usize, bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        if let Err(error) = read() {
            let error = error.to_string();
            assert!(error.contains("damaged.dcm") && !error.contains("ecret"), "{at}: {error}");
        }
    };
    for at in (132..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(1 + (at % 200) as u8);
        check(at, &bytes);
        check(at, &whole[..at]);
    }
}

#[test]
fn real_series_get_contours() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    for name in ["Study1/13_HCropVolume", "Study2/14_HCropVolume", "Study1/12-T1post-05670"] {
        let files = dicom_series(&data.join("data/dicom").join(name)).unwrap().remove(0).files;
        let DicomVolume { image, source } = read_dicom_volume(&files).unwrap();
        let most = image.data.iter().copied().fold(0.0, f32::max);
        let bright = image.data.index_axis(Axis(0), 0);
        let data = bright.mapv(|v| i16::from(v > 0.3 * most) + i16::from(v > 0.6 * most));
        let labels = LabelMap { data, geometry: image.geometry.clone() };
        let temporary = tempfile::tempdir().unwrap();
        let folder = place(temporary.path(), &name.replace('/', "_"));
        for (k, file) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("series/{k:03}.dcm")), std::fs::read(file).unwrap()).unwrap();
        }
        let path = folder.join("rtstruct.dcm");
        let options = SegOptions::new(vec![DicomSegment::new(1, "bright"), DicomSegment::new(2, "brighter")]);
        write_dicom_rtstruct(&path, &labels, &source, &options).unwrap();
        assert_eq!(back(&path, &source), labels, "{name}");
        write_reference(&folder, &labels);
    }
}
