//! DICOM SEG files that highdicom and dcmqi wrote (`tests/golden/make_dicom_seg.py`), damaged ones, and real series.

use std::path::PathBuf;

use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, Length, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject, open_file};
use ndarray::{Array3, s};
use nnunet_image::npz::read_npz_i16;
use nnunet_image::{
    DicomSegment, DicomVolume, LabelMap, SegOptions, dicom_series, read_dicom_seg, read_dicom_source,
    read_dicom_volume, write_dicom_seg,
};

use crate::golden;

fn file(name: &str) -> PathBuf {
    golden("dicom_seg").join(name)
}

fn labels() -> Array3<i16> {
    read_npz_i16(&file("labels.npz"), "labels").unwrap().into_dimensionality().unwrap()
}

#[test]
fn segmentations_of_other_programs_are_read_exactly() {
    let series = dicom_series(&file("series")).unwrap();
    let source = read_dicom_source(&series[0].files).unwrap();
    let labels = labels();
    for name in
        ["highdicom_whole", "highdicom_sparse", "highdicom_fractional", "dcmqi_binary", "dcmqi_labelmap"]
    {
        let seg = read_dicom_seg(&file(&format!("{name}.dcm"))).unwrap();
        let known: Vec<_> = seg.segments.iter().map(|s| (s.label, s.name.as_str())).collect();
        let known = if known[0].0 == 0 { &known[1..] } else { &known[..] };
        assert_eq!(known, [(1, "part 1"), (2, "part 2"), (3, "part 3")], "{name}");
        let last = seg.segments.last().unwrap();
        assert_eq!(last.kind.to_string(), "(5366008, SCT, \"Hippocampus\")", "{name}");
        assert_eq!(seg.to_labels_on(source.geometry(), source.shape()).unwrap().data, labels, "{name}");
        let own = seg.to_labels().unwrap();
        let first = source.shape()[0] - own.data.dim().0;
        // The first slice is empty; where it was left out, the label map begins with the second.
        assert_eq!(first, usize::from(name != "highdicom_whole"), "{name}");
        assert_eq!(own.data, labels.slice(s![first.., .., ..]), "{name}");
        assert_eq!(own.geometry.spacing, [2.5, 0.75, 0.5], "{name}");
    }
}

#[test]
fn segments_that_overlap_are_named() {
    let error = read_dicom_seg(&file("highdicom_overlap.dcm")).unwrap().to_labels().unwrap_err().to_string();
    assert!(error.contains("highdicom_overlap.dcm") && error.contains("labels 1 and 2 share"), "{error}");
    assert!(!error.to_lowercase().contains("secret"), "{error}");
}

type Object = FileDicomObject<InMemDicomObject>;

/// Changes the items of a sequence.
fn items(object: &mut InMemDicomObject, tag: dicom_core::Tag, change: impl Fn(usize, &mut InMemDicomObject)) {
    let mut list = object.get(tag).unwrap().items().unwrap().to_vec();
    list.iter_mut().enumerate().for_each(|(k, item)| change(k, item));
    object.put(DataElement::new(tag, VR::SQ, Value::Sequence(DataSetSequence::new(list, Length::UNDEFINED))));
}

/// Sets thickness and distance of slices.
fn measures(object: &mut Object, thickness: &str, between: Option<&str>) {
    items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, |_, shared| {
        items(shared, tags::PIXEL_MEASURES_SEQUENCE, |_, item| {
            item.put(DataElement::new(tags::SLICE_THICKNESS, VR::DS, thickness));
            item.remove_element(tags::SPACING_BETWEEN_SLICES);
            if let Some(between) = between {
                item.put(DataElement::new(tags::SPACING_BETWEEN_SLICES, VR::DS, between));
            }
        });
    });
}

#[test]
fn the_distance_of_slices_is_not_their_thickness() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let of = |thickness: &str, between: Option<&str>| {
        let mut object = open_file(file("highdicom_whole.dcm")).unwrap();
        measures(&mut object, thickness, between);
        object.write_to_file(&path).unwrap();
        read_dicom_seg(&path).unwrap().to_labels().unwrap()
    };
    // Half as thick as they are apart; a distance that cannot be.
    for (thickness, between) in [("1.25", None), ("1.25", Some("1.9"))] {
        let found = of(thickness, between);
        assert_eq!(found.data, labels(), "{between:?}");
        assert_eq!(found.geometry.spacing, [2.5, 0.75, 0.5], "{between:?}");
    }
    // Every second slice is left out, as the file says itself.
    assert_eq!(of("1.25", Some("1.25")).data.dim(), (7, 3, 5));
}

#[test]
fn a_frame_beyond_all_numbers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("far.dcm");
    for far in ["-1e300", "1e18", "1e308", "-1e12"] {
        let mut object = open_file(file("highdicom_whole.dcm")).unwrap();
        items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, |k, frame| {
            if k == 1 {
                items(frame, tags::PLANE_POSITION_SEQUENCE, |_, item| {
                    let position = format!("-20.5\\{far}\\40");
                    item.put(DataElement::new(tags::IMAGE_POSITION_PATIENT, VR::DS, position.as_str()));
                });
            }
        });
        object.write_to_file(&path).unwrap();
        let error = read_dicom_seg(&path).unwrap().to_labels().unwrap_err().to_string();
        assert!(error.contains("far.dcm") && error.contains("(0020,0032)"), "{far}: {error}");
    }
}

#[test]
fn damaged_segmentations_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.dcm");
    for name in ["highdicom_sparse.dcm", "highdicom_fractional.dcm", "dcmqi_labelmap.dcm"] {
        let whole = std::fs::read(file(name)).unwrap();
        for at in (132..whole.len()).step_by(11) {
            let mut bytes = whole.clone();
            bytes[at] = bytes[at].wrapping_add(1 + (at % 200) as u8);
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_dicom_seg(&path).and_then(|seg| seg.to_labels()) {
                let error = error.to_string();
                assert!(error.contains("damaged.dcm") && !error.contains("Secret"), "{at}: {error}");
            }
        }
    }
}

#[test]
fn real_series_get_segmentations() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    for name in ["Study1/13_HCropVolume", "Study2/14_HCropVolume", "Study1/12-T1post-05670"] {
        let mut files = dicom_series(&data.join("data/dicom").join(name)).unwrap().remove(0).files;
        files.reverse();
        let DicomVolume { image, source } = read_dicom_volume(&files).unwrap();
        let most = image.data.iter().copied().fold(0.0, f32::max);
        let bright = image.data.index_axis(ndarray::Axis(0), 0);
        let data = bright.mapv(|v| i16::from(v > 0.3 * most) + i16::from(v > 0.6 * most));
        let labels = LabelMap { data, geometry: image.geometry.clone() };
        let temporary = tempfile::tempdir().unwrap();
        // With this variable the files stay, for other tools to read (`tests/golden/check_seg.py`).
        let kept = std::env::var_os("NNUNET_WRITTEN").map(PathBuf::from);
        let place = kept.map_or(temporary.path().to_owned(), |kept| kept.join("seg"));
        let place = place.join(name.replace('/', "_"));
        std::fs::create_dir_all(place.join("series")).unwrap();
        for (k, file) in files.iter().enumerate() {
            std::fs::write(place.join(format!("series/{k:03}.dcm")), std::fs::read(file).unwrap()).unwrap();
        }
        let path = place.join("binary.dcm");
        let options = SegOptions::new(vec![DicomSegment::new(1, "bright"), DicomSegment::new(2, "brighter")]);
        write_dicom_seg(&path, &labels, &source, &options).unwrap();
        let back = read_dicom_seg(&path).unwrap().to_labels_on(source.geometry(), source.shape()).unwrap();
        assert_eq!(back, labels, "{name}");
        let reference = place.join("labels.nii.gz");
        nnunet_image::reader_by_name("SimpleITKIO").unwrap().write_labels(&reference, &labels).unwrap();
    }
}
