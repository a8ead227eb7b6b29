//! The command line on data sets in other formats than NIfTI.

mod common;

use std::path::Path;

use common::{NAME, Sandbox};
use ndarray::{Array3, s};
use nnunet::image::npz::{read_npz_f32, read_npz_i16};
use nnunet::image::{Geometry, LabelMap, reader_by_name, reader_for, write_image};
use nnunet::preprocess::Store;
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

/// One picture of three channels per case.
#[test]
fn pictures_in_colour() {
    let sandbox = Sandbox::empty();
    for part in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(sandbox.raw(part)).unwrap();
    }
    let (height, width) = (48usize, 40usize);
    for case in 0..5usize {
        let inside = |y: usize, x: usize| (y / 2 + case).abs_diff(20) + x.abs_diff(18) < 12;
        let pixel = |at: usize| {
            let (y, x) = (at / width, at % width);
            [40 + 30 * u8::from(inside(y, x)), (3 * y + x) as u8, 200 - 5 * case as u8]
        };
        let colours: Vec<u8> = (0..height * width).flat_map(pixel).collect();
        let grey: Vec<u8> = (0..height * width).map(|at| u8::from(inside(at / width, at % width))).collect();
        for (name, colour, data) in [
            (format!("imagesTr/case_{case}_0000.png"), png::ColorType::Rgb, colours),
            (format!("labelsTr/case_{case}.png"), png::ColorType::Grayscale, grey),
        ] {
            let file = std::fs::File::create(sandbox.raw(&name)).unwrap();
            let mut encoder = png::Encoder::new(file, width as u32, height as u32);
            encoder.set_color(colour);
            encoder.write_header().unwrap().write_image_data(&data).unwrap();
        }
    }
    let json = serde_json::json!({"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "thing": 1},
        "numTraining": 5, "file_ending": ".png"});
    std::fs::write(sandbox.raw("dataset.json"), json.to_string()).unwrap();

    assert!(sandbox.succeed(&["verify", "900"]).contains("sound"));
    sandbox.succeed(&["plan-and-preprocess", "900", "--verify"]);
    let folder = sandbox.path(&format!("preprocessed/{NAME}"));
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let plans = read(&folder.join("nnUNetPlans.json"));
    assert_eq!(plans["image_reader_writer"], "NaturalImage2DIO");
    assert_eq!(plans["configurations"]["2d"]["normalization_schemes"].as_array().unwrap().len(), 3);
    let fingerprint = read(&folder.join("dataset_fingerprint.json"));
    let channels = &fingerprint["foreground_intensity_properties_per_channel"];
    assert_eq!((channels["0"]["min"].as_f64(), channels["0"]["max"].as_f64()), (Some(70.0), Some(70.0)));
    assert_eq!(channels["2"]["min"].as_f64(), Some(180.0));
    let store = Store::open(&folder.join("nnUNetPlans_2d")).unwrap();
    assert_eq!(store.shape("case_0").unwrap(), [3, 1, height, width]);

    // A picture without one of its colours is a finding.
    let file = std::fs::File::create(sandbox.raw("imagesTr/case_3_0000.png")).unwrap();
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&vec![7; height * width]).unwrap();
    let output = sandbox.run(&["verify", "900"]);
    let said = common::text(&output.stdout) + &common::text(&output.stderr);
    assert!(!output.status.success() && said.contains("case_3") && said.contains("1 channels"), "{said}");
}

#[test]
fn a_compressed_store_is_trained_from() {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres", "--store", "zarr"]);
    let folder = sandbox.path(&format!("preprocessed/{NAME}/nnUNetPlans_3d_fullres"));
    assert!(folder.join("case_000.zarr/zarr.json").is_file());
    let store = Store::open(&folder).unwrap();
    store.identifiers().iter().for_each(|id| store.verify(id).unwrap());
    let short = ["--epochs", "1", "--iterations", "1", "--val-iterations", "1", "--batch-size", "2"];
    sandbox.succeed(&[&["train", NAME, "3d_fullres", "0"][..], &short].concat());
    let output = sandbox.run(&["preprocess", "900", "--store", "zip"]);
    assert!(!output.status.success() && common::text(&output.stderr).contains("npy or zarr"));
}
