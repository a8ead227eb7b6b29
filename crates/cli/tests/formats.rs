//! The command line on data sets in other formats than NIfTI.

mod common;

use std::path::Path;

use common::{NAME, Sandbox};
use ndarray::{Array3, s};
use nnunet::image::npz::{read_npz_f32, read_npz_i16};
use nnunet::image::{Geometry, LabelMap, reader_by_name, reader_for, write_image};
use serde_json::Value;

/// The drawn data set with its files in another format; images keep their values, up to what the format holds.
fn converted(ending: &str, flat: bool) -> Sandbox {
    let sandbox = Sandbox::new(5);
    let source = reader_for(".nii.gz", None).unwrap();
    for part in ["imagesTr", "labelsTr", "imagesTs", "labelsTs"] {
        for file in common::files(&sandbox.raw(part)) {
            let name = file.file_name().unwrap().to_string_lossy().replace(".nii.gz", ending);
            let target = file.with_file_name(name);
            if part.starts_with("labels") {
                let labels = source.read_labels(&file).unwrap();
                write_labels(&target, labels, flat);
            } else if flat || ending.starts_with(".tif") {
                // Readers of pictures write labels alone: intensities become 16 bits.
                let image = source.read_images(std::slice::from_ref(&file)).unwrap();
                let data = image.data.slice(s![0, .., .., ..]).mapv(|v| (v.abs() % 32000.0) as i16);
                write_labels(&target, LabelMap { data, geometry: image.geometry }, flat);
                move_sidecar(&target);
            } else {
                write_image(&target, &source.read_images(std::slice::from_ref(&file)).unwrap()).unwrap();
            }
            std::fs::remove_file(&file).unwrap();
        }
    }
    let path = sandbox.raw("dataset.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["file_ending"] = ending.into();
    std::fs::write(&path, json.to_string()).unwrap();
    sandbox
}

fn write_labels(path: &Path, labels: LabelMap, flat: bool) {
    let reader =
        if path.extension().is_some_and(|e| e == "tif") && !flat { "Tiff3DIO" } else { "SimpleITKIO" };
    let reader = if flat { "NaturalImage2DIO" } else { reader };
    let middle = labels.data.dim().0 / 2;
    let data: Array3<i16> =
        if flat { labels.data.slice(s![middle..=middle, .., ..]).to_owned() } else { labels.data };
    let geometry = if flat { Geometry { dims: 2, ..Geometry::default() } } else { labels.geometry };
    reader_by_name(reader).unwrap().write_labels(path, &LabelMap { data, geometry }).unwrap();
}

/// The spacing of `case_0000.tif` is looked for in `case.json`.
fn move_sidecar(image: &Path) {
    let written = image.with_extension("json");
    if written.is_file() {
        let name = written.file_name().unwrap().to_string_lossy().replace("_0000", "");
        std::fs::rename(&written, written.with_file_name(name)).unwrap();
    }
}

fn whole_method(ending: &str, flat: bool, reader: &str) {
    let sandbox = converted(ending, flat);
    assert!(sandbox.succeed(&["verify", "900"]).contains("sound"), "{ending}");
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "2d"]);
    let plans = sandbox.path(&format!("preprocessed/{NAME}/nnUNetPlans.json"));
    let json: Value = serde_json::from_slice(&std::fs::read(&plans).unwrap()).unwrap();
    assert_eq!(json["image_reader_writer"], reader, "{ending}");

    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let (dataset, image, labels, out) = (
        text(sandbox.raw("dataset.json")),
        text(sandbox.raw(&format!("imagesTr/case_000_0000{ending}"))),
        text(sandbox.raw(&format!("labelsTr/case_000{ending}"))),
        text(sandbox.path("case.npz")),
    );
    let plans = text(plans);
    sandbox.succeed(&[
        "preprocess-case",
        "--plans",
        &plans,
        "--dataset-json",
        &dataset,
        "-c",
        "2d",
        "--seg",
        &labels,
        "-o",
        &out,
        &image,
    ]);
    let (data, seg) =
        (read_npz_f32(out.as_ref(), "data").unwrap(), read_npz_i16(out.as_ref(), "seg").unwrap());
    assert_eq!(data.shape()[1..], seg.shape()[1..], "{ending}");

    sandbox.succeed(&[
        "train",
        NAME,
        "2d",
        "0",
        "--epochs",
        "1",
        "--iterations",
        "1",
        "--val-iterations",
        "1",
        "--batch-size",
        "2",
    ]);
    let model = text(sandbox.path(&format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__2d")));
    let (images, out) = (text(sandbox.raw("imagesTs")), sandbox.path("out"));
    sandbox.succeed(&["predict", "-i", &images, "-o", &text(out.clone()), "-m", &model]);
    let io = reader_by_name(reader).unwrap();
    let found = io.read_labels(&out.join(format!("case_005{ending}"))).unwrap();
    let given = io.read_images(&[sandbox.raw(&format!("imagesTs/case_005_0000{ending}"))]).unwrap();
    assert_eq!(found.data.shape(), &given.data.shape()[1..], "{ending}");
    assert!(
        found.geometry.same_spacing(&given.geometry) && found.geometry.same_frame(&given.geometry),
        "{ending}"
    );
}

#[test]
fn nrrd_files() {
    whole_method(".nrrd", false, "SimpleITKIO");
}

#[test]
fn metaimage_files() {
    whole_method(".mha", false, "SimpleITKIO");
}

#[test]
fn tiff_stacks_with_their_spacing() {
    whole_method(".tif", false, "Tiff3DIO");
}

#[test]
fn pictures() {
    whole_method(".png", true, "NaturalImage2DIO");
}
