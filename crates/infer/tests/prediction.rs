//! Predictions of small models: files that come out, and what happens when something is wrong.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use ndarray::{Array4, Axis};
use nnunet_fingerprint::Fold;
use nnunet_image::npz::read_npz_f32;
use nnunet_image::{Geometry, Image, reader_by_name, write_image};
use nnunet_infer::{Accumulator, BatchOptions, InferError, Predictor, PredictorOptions, export_logits};
use nnunet_nn::{Parameters, UNet};

struct Workplace {
    root: tempfile::TempDir,
}

impl Workplace {
    fn new(folds: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        common::write_model(root.path(), folds);
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn open(&self, folds: Option<&[Fold]>, options: PredictorOptions) -> Predictor {
        Predictor::open(self.root.path(), folds, None, options, Device::Cpu).unwrap()
    }

    /// Writes an image and returns it as a case.
    fn case(&self, id: &str, shape: [usize; 3]) -> (String, Vec<PathBuf>) {
        let path = self.path(&format!("{id}_0000.nii.gz"));
        write_image(&path, &image(shape)).unwrap();
        (id.to_owned(), vec![path])
    }
}

/// An image with an empty border, whose voxels are longer along one axis.
fn image([z, y, x]: [usize; 3]) -> Image {
    let inside = |i: usize, size: usize| i >= 2 && i + 1 < size;
    let data = Array4::from_shape_fn((1, z, y, x), |(_, k, j, i)| {
        let value = 3.0 + ((k * 7 + j * 3 + i * 5) as f32 * 0.37).sin();
        if inside(k, z) && inside(j, y) && inside(i, x) { value } else { 0.0 }
    });
    Image {
        data,
        geometry: Geometry { spacing: [1.0, 0.7, 1.3], origin: [5.0, -3.0, 2.0], ..Geometry::default() },
    }
}

fn quiet() -> PredictorOptions {
    PredictorOptions { use_mirroring: false, ..PredictorOptions::default() }
}

fn probabilities() -> BatchOptions {
    BatchOptions { save_probabilities: true, ..BatchOptions::default() }
}

fn expect_error(result: &Result<(), InferError>, parts: &[&str]) {
    let error = result.as_ref().expect_err("must fail").to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn files_hold_what_the_array_interface_returns() {
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    let cases = [place.case("a", [14, 15, 9]), place.case("b", [6, 20, 13])];
    let out = place.path("new/out");
    let seen = Mutex::new(Vec::new());
    let progress =
        |p: nnunet_image::Progress<'_>| seen.lock().unwrap().push((p.done, p.total, p.item.to_owned()));
    for (_, result) in predictor.predict_files(&cases, &out, &probabilities(), &progress) {
        result.unwrap();
    }
    let expected = [(0, 2, "a".to_owned()), (1, 2, "a".to_owned()), (2, 2, "b".to_owned())];
    assert_eq!(*seen.lock().unwrap(), expected);

    let reader = reader_by_name("SimpleITKIO").unwrap();
    for (id, files) in &cases {
        let image = reader.read_images(files).unwrap();
        let prediction = predictor.predict_image(image.clone(), true, &|_| {}).unwrap();
        let labels = reader.read_labels(&out.join(format!("{id}.nii.gz"))).unwrap();
        assert_eq!(labels.data, prediction.labels.data);
        assert_eq!(labels.data.dim(), image.data.index_axis(Axis(0), 0).dim());
        assert!(labels.geometry.same_spacing(&image.geometry) && labels.geometry.same_frame(&image.geometry));
        let expected = prediction.probabilities.unwrap();
        let probabilities = read_npz_f32(&out.join(format!("{id}.npz")), "probabilities").unwrap();
        assert_eq!(probabilities, expected.clone().into_dyn());
        // Labels are the largest probability, and the empty border is background.
        for ((z, y, x), &label) in labels.data.indexed_iter() {
            let here = expected.slice(ndarray::s![.., z, y, x]);
            assert!(here.iter().all(|&p| p <= here[label as usize]));
            if z < 2 {
                assert_eq!((label, here[0]), (0, 1.0));
            }
        }
        assert!(labels.data.iter().any(|&label| label != 0), "the network must say something");
        let properties: serde_json::Value =
            nnunet_fingerprint::json::read(&out.join(format!("{id}.json"))).unwrap();
        let [z, y, x] = [image.data.dim().1, image.data.dim().2, image.data.dim().3];
        assert_eq!(properties["shape_before_cropping"], serde_json::json!([x, z, y]));
        assert_eq!(properties["bbox_used_for_cropping"][0], serde_json::json!([2, x - 1]));
    }
}

#[test]
fn existing_files_are_kept_on_request() {
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    let cases = [place.case("a", [8, 9, 9]), place.case("b", [8, 9, 9])];
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("a.nii.gz"), "mine").unwrap();
    let keep = BatchOptions { keep_existing: true, ..BatchOptions::default() };
    let both = BatchOptions { keep_existing: true, ..probabilities() };
    assert!(predictor.predict_files(&cases, &out, &keep, &|_| {}).iter().all(|(_, r)| r.is_ok()));
    assert_eq!(std::fs::read(out.join("a.nii.gz")).unwrap(), b"mine");
    assert!(out.join("b.nii.gz").is_file());
    // With probabilities asked for, a segmentation alone is not enough.
    assert!(predictor.predict_files(&cases[..1], &out, &both, &|_| {})[0].1.is_ok());
    assert_ne!(std::fs::read(out.join("a.nii.gz")).unwrap(), b"mine");
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["a.json", "a.nii.gz", "a.npz", "a.pkl", "b.nii.gz"]);
}

#[test]
fn a_case_that_fails_does_not_stop_the_others() {
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    let good = place.case("good", [8, 9, 9]);
    let broken = place.path("broken_0000.nii.gz");
    std::fs::write(&broken, "not an image").unwrap();
    let two_channels = vec![good.1[0].clone(); 2];
    let missing = place.path("missing_0000.nii.gz");
    let cases = [
        ("broken".to_owned(), vec![broken]),
        ("double".to_owned(), two_channels),
        ("missing".to_owned(), vec![missing]),
        ("none".to_owned(), Vec::new()),
        good,
    ];
    let out = place.path("out");
    let results = predictor.predict_files(&cases, &out, &BatchOptions::default(), &|_| {});
    assert!(results.iter().map(|(id, _)| id).eq(cases.iter().map(|(id, _)| id)));
    expect_error(&results[0].1, &["broken_0000.nii.gz"]);
    expect_error(&results[1].1, &["2 channels", "trained with 1", "MRI"]);
    expect_error(&results[2].1, &["missing_0000.nii.gz"]);
    assert!(results[3].1.is_err());
    assert!(results[4].1.is_ok());
    assert!(out.join("good.nii.gz").is_file());
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn channels_that_lie_elsewhere_are_refused_or_accepted_on_request() {
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    let (id, mut files) = place.case("case", [8, 9, 9]);
    let mut second = |name: &str, origin: [f64; 3]| {
        let path = place.path(name);
        let mut moved = image([8, 9, 9]);
        moved.geometry.origin = origin;
        write_image(&path, &moved).unwrap();
        files.truncate(1);
        files.push(path);
        files.clone()
    };
    let far = vec![(id.clone(), second("far_0001.nii.gz", [5.0, -3.0, 3.5]))];
    let near = vec![(id, second("near_0001.nii.gz", [5.0, -3.0, 2.2]))];
    let run = |cases: &[_], allow_misplaced_channels| {
        let options = BatchOptions { allow_misplaced_channels, ..BatchOptions::default() };
        predictor.predict_files(cases, &place.path("out"), &options, &|_| {}).remove(0).1
    };
    expect_error(&run(&far, false), &["far_0001.nii.gz", "origin", "3.5", "case_0000.nii.gz"]);
    // What comes next: the model has one channel.
    expect_error(&run(&far, true), &["2 channels"]);
    expect_error(&run(&near, false), &["2 channels"]);
}

#[test]
fn an_output_folder_that_cannot_be_written_fails_every_case_at_once() {
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    let cases = [place.case("a", [8, 9, 9]), place.case("b", [8, 9, 9])];
    std::fs::write(place.path("file"), "").unwrap();
    let results = predictor.predict_files(&cases, &place.path("file/out"), &BatchOptions::default(), &|_| {});
    assert_eq!(results.len(), 2);
    results.iter().for_each(|(_, result)| expect_error(result, &["output folder", "file/out"]));
}

#[test]
fn folds_are_averaged() {
    let place = Workplace::new(2);
    let image = image([12, 13, 14]);
    let logits = |folds: Option<&[Fold]>, accumulator| {
        let predictor = place.open(folds, PredictorOptions { accumulator, ..quiet() });
        let data = image.data.mapv(|v| v - 2.0);
        predictor.predict_logits(data.view(), &|_| {}).unwrap()
    };
    let first = logits(Some(&[Fold::Index(0)]), Accumulator::F32);
    let second = logits(Some(&[Fold::Index(1)]), Accumulator::F32);
    assert!(first.iter().zip(&second).any(|(a, b)| (a - b).abs() > 0.1));
    for (accumulator, tolerance) in [(Accumulator::F32, 1e-5), (Accumulator::F16, 0.2)] {
        let both = logits(None, accumulator);
        for ((a, b), mean) in first.iter().zip(&second).zip(&both) {
            assert!(((a + b) / 2.0 - mean).abs() <= tolerance, "{a} {b} {mean}");
        }
    }
}

#[test]
fn mirroring_makes_the_prediction_indifferent_to_mirrored_images() {
    let place = Workplace::new(1);
    let predictor = place.open(None, PredictorOptions::default());
    let image = image([8, 8, 8]).data;
    let logits = predictor.predict_logits(image.view(), &|_| {}).unwrap();
    for axis in 1..4 {
        let mut turned = image.clone();
        turned.invert_axis(Axis(axis));
        let mut found = predictor.predict_logits(turned.view(), &|_| {}).unwrap();
        found.invert_axis(Axis(axis));
        let worst = (&found - &logits).iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(worst < 1e-4, "axis {axis}: {worst}");
    }
    let plain = place.open(None, quiet()).predict_logits(image.view(), &|_| {}).unwrap();
    assert!((&plain - &logits).iter().any(|v| v.abs() > 1e-2));
}

#[test]
fn parts_in_memory_predict_like_the_folder() {
    let place = Workplace::new(1);
    let opened = place.open(None, quiet());
    let plans = opened.plans().clone();
    let configuration = plans.configuration("3d_fullres").unwrap();
    let spec = configuration.architecture.resolve().unwrap();
    let parameters = Parameters::new(&spec, 1, 3, 0, &Device::Cpu).unwrap();
    let network = UNet::new(&spec, 1, 3, &parameters).unwrap();
    let make = |networks, axes| {
        let (plans, dataset) = (plans.clone(), opened.dataset().clone());
        Predictor::from_parts(plans, "3d_fullres", dataset, networks, axes, quiet())
    };
    let built = make(vec![network.clone()], None).unwrap();
    let image = image([9, 10, 11]);
    let expected = opened.predict_image(image.clone(), false, &|_| {}).unwrap();
    assert_eq!(built.predict_image(image.clone(), false, &|_| {}).unwrap(), expected);

    // The same in three steps.
    let case =
        nnunet_preprocess::preprocess_case(image, None, &plans, &configuration, built.label_rules()).unwrap();
    let logits = built.predict_logits(case.data.view(), &|_| {}).unwrap();
    let rules = built.label_rules();
    let exported =
        export_logits(logits.view(), &case.properties, &plans, &configuration, rules, false).unwrap();
    assert_eq!(exported, expected);
    let wrong = logits.slice(ndarray::s![..2, .., .., ..]);
    let error = export_logits(wrong, &case.properties, &plans, &configuration, rules, false).unwrap_err();
    assert!(error.to_string().contains("the logits"), "{error}");

    assert!(matches!(make(Vec::new(), None), Err(InferError::NoNetwork)));
    let error = make(vec![network], Some(vec![0, 3])).err().unwrap().to_string();
    assert!(error.contains("[0, 3]"), "{error}");
}

#[test]
fn tiles_leave_no_graph_behind() {
    let place = Workplace::new(1);
    let configuration = place.open(None, quiet()).plans().configuration("3d_fullres").unwrap();
    let spec = configuration.architecture.resolve().unwrap();
    let parameters = Parameters::new(&spec, 1, 3, 0, &Device::Cpu).unwrap();
    let network = UNet::new(&spec, 1, 3, &parameters).unwrap();
    let tile = Tensor::ones((1, 1, 8, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let gradients = network.forward_last(&tile).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(parameters.vars().iter().all(|var| gradients.get(var).is_none()));
}

#[test]
fn weights_of_another_network_are_refused_with_their_file() {
    let place = Workplace::new(1);
    let text = common::PLANS.replace("[4, 8]", "[6, 8]");
    std::fs::write(place.path("plans.json"), text).unwrap();
    let opened = Predictor::open(place.root.path(), None, None, quiet(), Device::Cpu);
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("checkpoint_final.safetensors") && error.contains("shape"), "{error}");
}

#[test]
fn predictors_are_shared_among_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let place = Workplace::new(1);
    let predictor = place.open(None, quiet());
    shared(&predictor);
    let image = image([9, 9, 9]);
    let expected = predictor.predict_image(image.clone(), false, &|_| {}).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert_eq!(predictor.predict_image(image.clone(), false, &|_| {}).unwrap(), expected)
            });
        }
    });
}

#[test]
fn a_store_is_predicted_like_its_files() {
    let place = Workplace::new(1);
    let (raw, store) = (place.path("Dataset001_Small"), place.path("preprocessed"));
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(raw.join(folder)).unwrap();
    }
    std::fs::write(raw.join("dataset.json"), common::DATASET).unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let image = image([10, 11, 12]);
    for id in ["a", "b", "c"] {
        write_image(&raw.join(format!("imagesTr/{id}_0000.nii.gz")), &image).unwrap();
        let data = image.data.index_axis(Axis(0), 0).mapv(|v| i16::from(v > 3.0));
        let labels = nnunet_image::LabelMap { data, geometry: image.geometry.clone() };
        reader.write_labels(&raw.join(format!("labelsTr/{id}.nii.gz")), &labels).unwrap();
    }
    let predictor = place.open(None, quiet());
    let dataset = nnunet_fingerprint::Dataset::open(&raw).unwrap();
    let (plans, quiet) = (predictor.plans(), &|_: nnunet_image::Progress<'_>| {});
    let store =
        nnunet_preprocess::preprocess_dataset(&dataset, reader.as_ref(), plans, "3d_fullres", &store, quiet)
            .unwrap();

    let out = place.path("validation");
    let cases = ["a".to_owned(), "nobody".to_owned()];
    let failed = predictor.predict_store(&store, &cases, &out, false, quiet);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, "nobody");
    let found = reader.read_labels(&out.join("a.nii.gz")).unwrap();
    let file: &Path = &raw.join("imagesTr/a_0000.nii.gz");
    let image = reader.read_images(&[file.to_owned()]).unwrap();
    assert_eq!(found.data, predictor.predict_image(image, false, quiet).unwrap().labels.data);
}

#[test]
fn a_device_predicts_what_the_cpu_predicts() {
    use nnunet_nn::cuda::Emulator;
    use nnunet_nn::{Accelerator, Precision};

    if !Emulator::is_there() {
        return println!("skipped: no C++ compiler, so no emulated device");
    }
    let place = Workplace::new(2);
    let image = image([13, 15, 11]).data;
    let options = |accumulator, accelerator| PredictorOptions {
        accumulator,
        accelerator,
        precision: Precision::F32,
        tile_step_size: 1.0,
        ..PredictorOptions::default()
    };
    let logits = |options| place.open(None, options).predict_logits(image.view(), &|_| {});
    let accelerator = |device: Emulator| Some(Accelerator::new(std::sync::Arc::new(device)));
    let largest = |a: &Array4<f32>| a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (accumulator, bound) in [(Accumulator::F32, 1e-4), (Accumulator::F16, 2e-3)] {
        let expected = logits(options(accumulator, None)).unwrap();
        let found = logits(options(accumulator, accelerator(Emulator::new()))).unwrap();
        assert!(largest(&(&found - &expected)) < bound * largest(&expected));
    }
    let mut broken = image.clone();
    broken[[0, 6, 7, 5]] = f32::NAN;
    let predictor = place.open(None, options(Accumulator::F32, accelerator(Emulator::new())));
    let error = predictor.predict_logits(broken.view(), &|_| {}).unwrap_err();
    assert!(matches!(error, InferError::NotFinite { .. }), "{error}");
}
