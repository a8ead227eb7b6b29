//! Predictions of DICOM series with a small model, and what is said when they fail.

mod common;

use std::path::{Path, PathBuf};

use common::{NAME, Sandbox, assert_clean, files, text};
use ndarray::{Array3, ArrayD, Axis};
use nnunet::embedded_label_table;
use nnunet::image::npz::read_npz_f32;
use nnunet::image::{
    LabelMap, RoiOverlap, read_dicom_rtstruct, read_dicom_seg, read_dicom_source, reader_by_name,
};
use nnunet::infer::{Predictor, PredictorOptions};
use nnunet::nn::{Compute, DeviceSpec, device};

/// What the patient module of the drawn series holds, in lower case.
const PATIENT: [&str; 2] = ["secret", "19010203"];

const CODES: &str = r#"{"liver": {"label": 1, "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
    "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}, "colour": [221, 130, 101]}}"#;

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/tests/golden").join(folder)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in files(from) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A data set with a model that has hardly been trained.
fn trained() -> (Sandbox, String) {
    let sandbox = Sandbox::new(5);
    sandbox.succeed(&["plan-and-preprocess", "900", "-c", "3d_fullres"]);
    let short = ["--epochs", "1", "--iterations", "1", "--val-iterations", "1", "--batch-size", "1"];
    sandbox.succeed(&[&["train", "900", "3d_fullres", "0"][..], &short].concat());
    let model = sandbox.path(&format!("results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres"));
    let model = model.to_string_lossy().into_owned();
    (sandbox, model)
}

fn succeed(sandbox: &Sandbox, command: &str) -> String {
    let words = sandbox.words(command);
    sandbox.succeed(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs a command that must fail and not tell who the patient is; what it says.
fn refused(sandbox: &Sandbox, command: &str) -> String {
    let words = sandbox.words(command);
    let output = sandbox.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{command}: {said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{command}: {said}");
    let lower = said.to_lowercase();
    assert!(PATIENT.iter().all(|word| !lower.contains(word)), "{command}: {said}");
    said
}

fn labels(path: &Path) -> LabelMap {
    reader_by_name("SimpleITKIO").unwrap().read_labels(path).unwrap()
}

/// The label of each voxel as a reader of fractions in steps of 1/255 finds it.
fn most_likely(probabilities: &ArrayD<f32>) -> Array3<i16> {
    let steps = probabilities.mapv(|p| (p.clamp(0.0, 1.0) * 255.0).round() as i32);
    let shape = [1, 2, 3].map(|axis| steps.shape()[axis]);
    Array3::from_shape_fn(shape, |(z, y, x)| {
        let of = |channel: usize| steps[[channel, z, y, x]];
        let mut best = 1;
        for channel in 2..steps.shape()[0] {
            best = if of(channel) > of(best) { channel } else { best };
        }
        let left = 255 - (1..steps.shape()[0]).map(of).sum::<i32>();
        if left >= of(best) { 0 } else { best as i16 }
    })
}

#[test]
fn probabilities_ensembles_and_codes_of_series() {
    let (sandbox, model) = trained();
    copy(&golden("dicom/reversed"), &sandbox.path("series/a"));
    std::fs::write(sandbox.path("codes.json"), CODES).unwrap();
    let predict = |out: &str, more: &str| {
        let command = format!("predict -i @series -o @{out} -m {model} --no-mirroring {more}");
        succeed(&sandbox, &command)
    };
    let all = "--output-format nifti dicom-seg --fractional --save-probabilities --save-probabilities-nifti";
    predict("one", &format!("{all} --codes @codes.json"));
    predict("two", "--save-probabilities");
    let one = sandbox.path("one");
    let mut found: Vec<String> =
        files(&one).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    found.retain(|name| name.starts_with("a"));
    let expected = [
        "a.dcm",
        "a.json",
        "a.nii.gz",
        "a.npz",
        "a.pkl",
        "a_probabilities.dcm",
        "a_probabilities_0.nii.gz",
        "a_probabilities_1.nii.gz",
        "a_probabilities_2.nii.gz",
        "a_probabilities_3.nii.gz",
        "a_probabilities_4.nii.gz",
    ];
    assert_eq!(found, expected);
    let source = read_dicom_source(&files(&sandbox.path("series/a"))).unwrap();
    let on_series = |path: &Path| {
        read_dicom_seg(path).unwrap().to_labels_on(source.geometry(), source.shape()).unwrap().data
    };
    let written = labels(&one.join("a.nii.gz"));
    assert_eq!(on_series(&one.join("a.dcm")), written.data);
    assert!(written.geometry.largest_distance(source.geometry(), source.shape()) < 1e-4);
    let stored = read_npz_f32(&one.join("a.npz"), "probabilities").unwrap();
    // Exclusive labels have no fraction of the background.
    let fractions = read_dicom_seg(&one.join("a_probabilities.dcm")).unwrap();
    assert_eq!(fractions.segments.len(), 4);
    assert_eq!(on_series(&one.join("a_probabilities.dcm")), most_likely(&stored));
    // Names, codes and colours are in both.
    let seg = read_dicom_seg(&one.join("a.dcm")).unwrap();
    assert_eq!((seg.segments[0].name.as_str(), seg.segments[0].kind.value.as_str()), ("liver", "10200004"));
    assert!(seg.segments[0].colour.iter().zip([221, 130, 101]).all(|(a, b)| a.abs_diff(b) <= 1));
    let table = embedded_label_table(&one.join("a.nii.gz")).unwrap().unwrap();
    assert_eq!(table.labels[0].terms.kind.as_ref().unwrap().meaning, "Liver");
    assert_eq!(embedded_label_table(&sandbox.path("two/a.nii.gz")).unwrap(), None);
    // An ensemble of the same model twice says the same, and becomes a SEG file.
    succeed(&sandbox, "ensemble -i @one @two -o @both");
    assert_eq!(labels(&sandbox.path("both/a.nii.gz")).data, written.data);
    succeed(
        &sandbox,
        "dicom seg @both/a.nii.gz --source @series/a --dataset-json @one/dataset.json --codes @codes.json -o @both.dcm",
    );
    assert_eq!(on_series(&sandbox.path("both.dcm")), written.data);
    same_numbers_and_pictures(&sandbox);
    library_agrees(&sandbox, &model);
    // What is there is left alone.
    let when = || std::fs::metadata(one.join("a.dcm")).unwrap().modified().unwrap();
    let before = when();
    predict("one", &format!("{all} --continue"));
    assert_eq!(when(), before);
    assert_clean(&sandbox.path(""));
}

/// The library gives the same labels and probabilities, on the grid of the series, also where the model's images are turned.
fn library_agrees(sandbox: &Sandbox, model: &str) {
    let turned = sandbox.path("turned_model");
    std::fs::create_dir_all(turned.join("fold_0")).unwrap();
    for file in files(Path::new(model)) {
        let rest = file.strip_prefix(model).unwrap();
        if rest.components().count() == 1 || rest.ends_with("checkpoint_final.safetensors") {
            std::fs::copy(&file, turned.join(rest)).unwrap();
        }
    }
    let plans = std::fs::read_to_string(turned.join("plans.json")).unwrap();
    let other = plans.replace("SimpleITKIO", "NibabelIOWithReorient");
    assert_ne!(plans, other);
    std::fs::write(turned.join("plans.json"), other).unwrap();
    let series = files(&sandbox.path("series/a"));
    for (model, out) in [(Path::new(model), "straight"), (&turned, "turned")] {
        let shown = model.display();
        succeed(
            sandbox,
            &format!(
                "predict -i @series -o @{out} -m {shown} --no-mirroring --output-format dicom-seg rtstruct --fractional"
            ),
        );
        let options = PredictorOptions { use_mirroring: false, ..PredictorOptions::default() };
        let Compute { device, .. } = device(&DeviceSpec::Cpu).unwrap();
        let predictor = Predictor::open(model, None, None, options, device).unwrap();
        let found = predictor.predict_dicom(std::slice::from_ref(&series), None, true, &|_| {}).unwrap();
        let (geometry, shape) = (found.source.geometry(), found.source.shape());
        let written = |name: &str| {
            let path = sandbox.path(&format!("{out}/{name}"));
            read_dicom_seg(&path).unwrap().to_labels_on(geometry, shape).unwrap()
        };
        assert_eq!(written("a.dcm"), found.labels, "{out}");
        let structures = read_dicom_rtstruct(&sandbox.path(&format!("{out}/a_rtstruct.dcm"))).unwrap();
        let contours = structures.to_labels(&found.source, RoiOverlap::Refuse).unwrap();
        assert_eq!(contours, found.labels, "{out}");
        let fractions = most_likely(&found.probabilities.unwrap().into_dyn());
        assert_eq!(written("a_probabilities.dcm").data, fractions, "{out}");
        let far = predictor.predict_dicom(&[], None, false, &|_| {}).unwrap_err().to_string();
        assert!(far.contains("no file given"), "{far}");
    }
}

/// Statistics and pictures of a SEG file and its series are those of the image files.
fn same_numbers_and_pictures(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path("images")).unwrap();
    succeed(sandbox, "dicom convert --source @series/a -o @images/a_0000.nii.gz");
    for (name, labels, image) in [
        ("nifti", "@one/a.nii.gz", "--image @images/a_0000.nii.gz"),
        ("seg", "@one/a.dcm", "--image @series/a"),
        ("mixed", "@one/a.nii.gz", "--image @series"),
        ("found", "@one/a.dcm", "--images @series"),
        ("folder", "@one", "--images @images"),
    ] {
        let command = format!("statistics {labels} {image} --dataset-json @one/dataset.json -o @{name}.json");
        succeed(sandbox, &command);
    }
    let measured = |name: &str| {
        let bytes = std::fs::read(sandbox.path(&format!("{name}.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report["cases"].as_array().unwrap().len(), 1, "{name}");
        let case = &report["cases"][0];
        assert_eq!(case["case"], "a", "{name}");
        case["labels"].clone()
    };
    let near = |a: &serde_json::Value, b: &serde_json::Value| match (a.as_f64(), b.as_f64()) {
        // NIfTI keeps places in 32 bits.
        (Some(a), Some(b)) => (a - b).abs() <= 1e-5 * a.abs().max(1.0),
        _ => a == b,
    };
    let nifti = measured("nifti");
    assert_eq!(measured("folder"), nifti);
    for name in ["seg", "mixed", "found"] {
        let found = measured(name);
        for (label, values) in nifti.as_object().unwrap() {
            for key in ["voxels", "volume_ml"] {
                assert!(near(&values[key], &found[label][key]), "{name} {label} {key}: {values} {found}");
            }
            for key in ["mean", "sd", "median"] {
                let of = |v: &serde_json::Value| v["intensities"][0][key].clone();
                assert!(near(&of(values), &of(&found[label])), "{name} {label} {key}");
            }
        }
    }
    succeed(sandbox, "preview @images/a_0000.nii.gz @one/a.nii.gz -o @nifti.png");
    succeed(sandbox, "preview @series/a @one/a.nii.gz -o @mixed.png");
    let picture = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert_eq!(picture("nifti.png"), picture("mixed.png"));
    succeed(sandbox, "preview @series/a @one/a.dcm -o @seg.png");
    assert!(picture("seg.png").starts_with(b"\x89PNG"));
}

#[test]
fn broken_series_fail_alone_and_without_the_patient() {
    let (sandbox, model) = trained();
    // Series of their own studies, as the drawn ones all belong to one.
    copy(&golden("dicom_more/bad_half_pixels"), &sandbox.path("studies/half"));
    copy(&golden("dicom_more/few_tags"), &sandbox.path("studies/whole"));
    let output = sandbox.run(&[
        "predict",
        "-i",
        sandbox.path("studies").to_str().unwrap(),
        "-o",
        sandbox.path("out").to_str().unwrap(),
        "-m",
        &model,
        "--no-mirroring",
    ]);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(said.contains("case half") && said.contains("(7FE0,0010)"), "{said}");
    assert!(said.contains("1 cases predicted") && sandbox.path("out/whole.nii.gz").is_file(), "{said}");
    let mut checked = 0;
    for kind in ["dicom", "dicom_more"] {
        for entry in std::fs::read_dir(golden(kind)).unwrap() {
            let folder = entry.unwrap().path();
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("bad_") {
                continue;
            }
            let shown = folder.display();
            refused(&sandbox, &format!("dicom convert --source {shown} -o @x.nii.gz"));
            refused(&sandbox, &format!("dicom seg @none.nii.gz --source {shown} -o @x.dcm"));
            let said = refused(&sandbox, &format!("predict -i {shown} -o @p/{name} -m {model} --verbose"));
            assert!(said.contains(&name), "{said}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
    assert!(!sandbox.path("x.nii.gz").exists() && !sandbox.path("x.dcm").exists());
    let half = golden("dicom_more/bad_half_pixels");
    let said = refused(&sandbox, &format!("dicom list {}", half.display()));
    assert!(said.contains("3\tCT\tdrawn\t3\t1.2.3.4.5"), "{said}");
}

#[test]
fn broken_segmentations_are_refused_without_the_patient() {
    let sandbox = Sandbox::empty();
    let series = golden("dicom/explicit");
    let source = read_dicom_source(&files(&series)).unwrap();
    let data = Array3::from_shape_fn(source.shape(), |(z, y, x)| ((z + y + x) % 3) as i16);
    let drawn = LabelMap { data, geometry: source.geometry().clone() };
    reader_by_name("SimpleITKIO").unwrap().write_labels(&sandbox.path("labels.nii.gz"), &drawn).unwrap();
    let shown = series.display();
    succeed(&sandbox, &format!("dicom seg @labels.nii.gz --source {shown} -o @seg.dcm"));
    let whole = std::fs::read(sandbox.path("seg.dcm")).unwrap();
    // The patient is in the file.
    assert!(whole.windows(11).any(|part| part == b"Secret^Name"));
    for length in (200..whole.len()).step_by(whole.len() / 12) {
        std::fs::write(sandbox.path("short.dcm"), &whole[..length]).unwrap();
        let said = refused(&sandbox, &format!("dicom labels @short.dcm --source {shown} -o @x.nii.gz"));
        assert!(said.contains("short.dcm"), "{said}");
    }
    let other = golden("dicom_more/narrow");
    let said = refused(&sandbox, &format!("dicom labels @seg.dcm --source {} -o @x.nii.gz", other.display()));
    assert!(said.contains("seg.dcm"), "{said}");
    let said = refused(&sandbox, &format!("dicom labels {shown}/03.dcm --source {shown} -o @x.nii.gz"));
    assert!(said.contains("(0008,0016)"), "{said}");
    let said = refused(&sandbox, &format!("dicom seg @labels.nii.gz --source {} -o @x.dcm", other.display()));
    assert!(said.contains("other voxels"), "{said}");
    assert_eq!(drawn.data.len_of(Axis(0)), 5);
}
