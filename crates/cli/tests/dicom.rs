//! DICOM series from the command line.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::text;
use ndarray::Axis;
use nnunet::image::{read_dicom_seg, read_dicom_source, read_dicom_volume, reader_by_name, write_image};

fn run(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nnunet")).args(arguments).output().unwrap()
}

fn succeed(arguments: &[&Path]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a Path> {
    words.iter().map(|word| Path::new(*word)).collect()
}

/// Drawn series, each in a folder; see `crates/image/tests/golden/make_dicom.py`.
fn drawn(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/tests/golden/dicom").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    common::files(folder)
}

#[test]
fn series_are_listed_chosen_and_converted_without_naming_the_patient() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("mixed");
    std::fs::create_dir(&folder).unwrap();
    let whole = files(&drawn("explicit"));
    for file in &whole {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    std::fs::copy(drawn("bad_two_series").join("10.dcm"), folder.join("other.dcm")).unwrap();
    let listed = succeed(&[words(&["dicom", "list"]), vec![&folder]].concat());
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["3\tCT\tdrawn\t5\t1.2.3.4.5", "3\tCT\tdrawn\t1\t1.2.3.4.99"]
    );
    let image = home.path().join("image.nii.gz");
    let convert = |series: &[&str]| {
        let source =
            [words(&["dicom", "convert", "--source"]), vec![&folder], words(&["-o"]), vec![&image]].concat();
        run(&[source, words(series)].concat())
    };
    for series in [&[][..], &["--series", "drawn"], &["--series", "7"]] {
        let output = convert(series);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("1.2.3.4.99") && !said.to_lowercase().contains("secret"), "{said}");
    }
    let output = convert(&["--series", "1.2.3.4.5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written = reader_by_name("SimpleITKIO").unwrap().read_images(&[image]).unwrap();
    assert_eq!(written.data, read_dicom_volume(&whole).unwrap().image.data);
}

#[test]
fn labels_become_contours_and_come_back_by_number_name_and_choice() {
    let home = tempfile::tempdir().unwrap();
    let names = ["labels.nii.gz", "rtstruct.dcm", "back.nii.gz", "dataset.json"];
    let [labels, structures, back, dataset] = names.map(|name| home.path().join(name));
    let folder = drawn("reversed");
    let mut image = read_dicom_volume(&files(&folder)).unwrap().image;
    image.data.indexed_iter_mut().for_each(|((_, z, y, x), v)| *v = ((z * 3 + y * 5 + x) % 4) as f32);
    write_image(&labels, &image).unwrap();
    let json = |labels: &str| {
        format!(
            r#"{{"channel_names": {{"0": "CT"}}, "labels": {labels}, "numTraining": 1, "file_ending": ".nii.gz"}}"#
        )
    };
    std::fs::write(&dataset, json(r#"{"background": 0, "liver": 1, "spleen": 2, "kidney": 3}"#)).unwrap();
    let source = [words(&["--source"]), vec![&*folder, Path::new("-o")]].concat();
    let named = [words(&["--dataset-json"]), vec![&*dataset]].concat();
    let written =
        [words(&["dicom", "rtstruct"]), vec![&*labels], source.clone(), vec![&*structures]].concat();
    succeed(&[written, named.clone()].concat());
    let read = |more: &[&Path]| {
        let command =
            [words(&["dicom", "labels"]), vec![&*structures], source.clone(), vec![&*back]].concat();
        let output = run(&[command, more.to_vec()].concat());
        let said = text(&output.stderr);
        if !output.status.success() {
            return (said, None);
        }
        (said, Some(reader_by_name("SimpleITKIO").unwrap().read_labels(&back).unwrap().data))
    };
    let expected = image.data.index_axis(Axis(0), 0).mapv(|v| v as i16);
    assert_eq!(read(&[]), (String::new(), Some(expected.clone())));
    // Other labels by the same names; a region without one is left out.
    std::fs::write(&dataset, json(r#"{"background": 0, "Kidney": 1, "liver": 7}"#)).unwrap();
    let (said, found) = read(&named);
    assert_eq!(said, "left out: spleen\n");
    let other = |label| match label {
        3 => 1,
        1 => 7,
        _ => 0,
    };
    assert_eq!(found.unwrap(), expected.mapv(other));
    let (_, found) = read(&words(&["--roi", "SPL*=5", "3"]));
    assert_eq!(found.unwrap(), expected.mapv(|label| [0, 0, 5, 3][label as usize]));
    for (roi, expected) in [("heart", "liver"), ("liver=0", "NAME=LABEL")] {
        let (said, found) = read(&words(&["--roi", roi]));
        assert!(found.is_none() && said.contains(expected) && said.contains(roi), "{said}");
    }
    std::fs::write(&dataset, json(r#"{"background": 0, "heart": 1}"#)).unwrap();
    let (said, found) = read(&named);
    assert!(found.is_none() && said.contains("heart") && said.contains("spleen"), "{said}");
}

#[test]
fn labels_become_a_segmentation_and_come_back() {
    let home = tempfile::tempdir().unwrap();
    let [labels, seg, back] = ["labels.nii.gz", "seg.dcm", "back.nii.gz"].map(|name| home.path().join(name));
    let folder = drawn("reversed");
    let mut image = read_dicom_volume(&files(&folder)).unwrap().image;
    image.data.indexed_iter_mut().for_each(|((_, z, y, x), v)| *v = ((z * 3 + y * 5 + x) % 4) as f32);
    write_image(&labels, &image).unwrap();
    let source = [words(&["--source"]), vec![&*folder, Path::new("-o")]].concat();
    succeed(&[words(&["dicom", "seg"]), vec![&*labels], source.clone(), vec![&*seg]].concat());
    succeed(&[words(&["dicom", "labels"]), vec![&*seg], source, vec![&*back]].concat());
    let back = reader_by_name("SimpleITKIO").unwrap().read_labels(&back).unwrap();
    assert_eq!(back.data.mapv(f32::from), image.data.index_axis(Axis(0), 0));
}

#[test]
fn a_series_is_predicted_to_a_segmentation_that_overlays_it() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let model = model(&data.join("models/Dataset004_Hippocampus"));
    let output = home.path().join("out");
    let options =
        ["--series", "HippoCrop", "--output-format", "nifti", "dicom-seg", "-f", "0", "--no-mirroring"];
    let folder = data.join("data/dicom");
    let places = vec![Path::new("-i"), &folder, Path::new("-o"), &output, Path::new("-m"), &model];
    succeed(&[words(&["predict"]), places, words(&options)].concat());
    for (study, series) in [("Study1", "13_HCropVolume"), ("Study2", "14_HCropVolume")] {
        let source = read_dicom_source(&files(&folder.join(study).join(series))).unwrap();
        let name = output.join(format!("{study}_{series}"));
        let nifti = reader_by_name("SimpleITKIO").unwrap();
        let labels = nifti.read_labels(&name.with_extension("nii.gz")).unwrap();
        let seg = read_dicom_seg(&name.with_extension("dcm")).unwrap();
        let back = seg.to_labels_on(source.geometry(), source.shape()).unwrap();
        assert_eq!(back.data, labels.data, "{study}");
        assert!((1..=2).all(|label| labels.data.iter().filter(|&&v| v == label).count() > 500), "{study}");
        assert_eq!(seg.segments[0].name, "Anterior");
    }
}

/// The first model folder below a folder.
fn model(folder: &Path) -> PathBuf {
    let mut places = vec![folder.to_owned()];
    while let Some(place) = places.pop() {
        if place.join("plans.json").is_file() && place.join("fold_0").is_dir() {
            return place;
        }
        places.extend(
            std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir()),
        );
    }
    panic!("{}: no model", folder.display());
}
