//! Cascades, regions of interest, limits of memory, cancellation and iterators.

mod common;

use std::path::Path;
use std::sync::Mutex;

use candle_core::Device;
use ndarray::{Array3, Array4, Axis, s};
use nnunet_image::npz::read_npz_f32;
use nnunet_image::{BoundingBox, Geometry, Image, LabelMap, reader_by_name, write_image};
use nnunet_infer::{
    Accumulator, BatchOptions, CancelToken, CaseInput, InferError, Predictor, PredictorOptions,
};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::Plans;

fn image([z, y, x]: [usize; 3], seed: usize) -> Image {
    let data = Array4::from_shape_fn((1, z, y, x), |(_, k, j, i)| {
        let inside = k >= 1 && j >= 2 && i + 1 < x;
        if inside { 3.0 + ((k * 7 + j * 3 + i * 5 + seed) as f32 * 0.37).sin() } else { 0.0 }
    });
    Image {
        data,
        geometry: Geometry { spacing: [1.0, 0.7, 1.3], origin: [5.0, -3.0, 2.0], ..Geometry::default() },
    }
}

fn options() -> PredictorOptions {
    PredictorOptions::fast()
}

fn open(folder: &Path, options: PredictorOptions) -> Predictor {
    Predictor::open(folder, None, None, options, Device::Cpu).unwrap()
}

#[test]
fn predictors_and_their_inputs_go_from_thread_to_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<Predictor>();
    shared::<CancelToken>();
    shared::<CaseInput>();
}

#[test]
fn a_region_has_the_labels_of_the_whole_and_nothing_around_it() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 1);
    let predictor = open(root.path(), options());
    let image = image([14, 19, 17], 0);
    let whole = predictor.predict_image(image.clone(), true, &|_| {}).unwrap();
    assert!(whole.labels.data.iter().any(|label| *label > 0));
    for region in [
        BoundingBox { start: [3, 4, 5], end: [9, 12, 8] },
        BoundingBox { start: [0, 0, 0], end: [14, 19, 17] },
        BoundingBox { start: [13, 18, 0], end: [14, 19, 1] },
        // Wholly in the empty border.
        BoundingBox { start: [0, 0, 0], end: [1, 2, 17] },
        BoundingBox { start: [2, 2, 2], end: [100, 100, 3] },
    ] {
        let tiles = Mutex::new(0);
        let case = CaseInput { region: Some(region), ..image.clone().into() };
        let part = predictor.predict_image(case, true, &|p| *tiles.lock().unwrap() = p.total).unwrap();
        let (found, expected) = (part.probabilities.unwrap(), whole.probabilities.as_ref().unwrap());
        for (voxel, &label) in part.labels.data.indexed_iter() {
            let at = [voxel.0, voxel.1, voxel.2];
            let inside = (0..3).all(|axis| (region.start[axis]..region.end[axis]).contains(&at[axis]));
            assert_eq!(label, if inside { whole.labels.data[voxel] } else { 0 }, "{voxel:?}");
            let here = s![.., at[0], at[1], at[2]];
            if inside {
                assert_eq!(found.slice(here), expected.slice(here));
            } else {
                assert_eq!(found[[0, at[0], at[1], at[2]]], 1.0);
            }
        }
        assert!(*tiles.lock().unwrap() <= 100);
    }
}

#[test]
fn a_limit_of_memory_changes_nothing_or_is_an_error_that_says_what_is_needed() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 2);
    let image = image([40, 22, 20], 3);
    for accumulator in [Accumulator::F32, Accumulator::F16] {
        let with = |memory_gb| open(root.path(), PredictorOptions { accumulator, memory_gb, ..options() });
        let expected = with(None).predict_image(image.clone(), false, &|_| {}).unwrap();
        let (mut in_blocks, mut refused) = (0, 0);
        for kb in [5000, 300, 260, 240, 220, 200, 180, 120, 10] {
            let starts = Mutex::new(0);
            let count = |p: nnunet_image::Progress<'_>| *starts.lock().unwrap() += usize::from(p.done == 1);
            match with(Some(f64::from(kb) * 1e-6)).predict_image(image.clone(), false, &count) {
                Ok(found) => assert_eq!(found, expected, "{kb} kB"),
                Err(InferError::MemoryLimit { bytes, limit, .. }) => {
                    assert!(bytes > limit && limit == 1000 * kb as usize);
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
            // With two folds, half precision reports the tiles of both as one row.
            in_blocks += usize::from(*starts.lock().unwrap() > 1);
        }
        assert!(in_blocks > 0 && refused > 0, "{in_blocks} {refused}");
    }
    for memory_gb in [0.0, -1.0, f64::NAN] {
        let options = PredictorOptions { memory_gb: Some(memory_gb), ..options() };
        let error = Predictor::open(root.path(), None, None, options, Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("memory_gb"), "{error}");
    }
}

/// The network's blocks are cut along its own axes, the file has the image's.
#[test]
fn probabilities_are_the_same_from_blocks_and_from_one_piece() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 1);
    let file = root.path().join("case_0000.nii.gz");
    write_image(&file, &image([40, 22, 20], 3)).unwrap();
    let cases = [("case".to_owned(), vec![file])];
    let options = |accumulator, memory_gb| PredictorOptions { accumulator, memory_gb, ..options() };
    for accumulator in [Accumulator::F32, Accumulator::F16] {
        let predict = |name: &str, memory_gb| {
            let out = root.path().join(name);
            let batch = BatchOptions {
                save_probabilities: true,
                probabilities_as_nifti: true,
                ..BatchOptions::default()
            };
            let predictor = open(root.path(), options(accumulator, memory_gb));
            let results = predictor.predict_files(&cases, &out, &batch, &|_| {});
            results.into_iter().next().unwrap().1.map(|()| out)
        };
        let probabilities = |out: &Path| read_npz_f32(&out.join("case.npz"), "probabilities").unwrap();
        let labels = |out: &Path| {
            reader_by_name("SimpleITKIO").unwrap().read_labels(&out.join("case.nii.gz")).unwrap()
        };
        let whole = predict("whole", None).unwrap();
        let expected = probabilities(&whole);
        let nifti = whole.join("case_probabilities_2.nii.gz");
        let nifti = reader_by_name("SimpleITKIO").unwrap().read_images(&[nifti]).unwrap();
        assert_eq!(nifti.data.index_axis(Axis(0), 0).into_dyn(), expected.index_axis(Axis(0), 2));
        assert_eq!(nifti.geometry.spacing, labels(&whole).geometry.spacing);
        let Err(InferError::MemoryLimit { bytes, .. }) = predict("limited", Some(1e-6)) else {
            panic!("a kilobyte is enough?");
        };
        // The smallest blocks, and fewer.
        for part in [1.0, 1.02, 1.1] {
            let out = predict("limited", Some(bytes as f64 * part * 1e-9)).unwrap();
            assert_eq!(probabilities(&out), expected, "{part}");
            assert_eq!(labels(&out), labels(&whole), "{part}");
        }
    }
}

#[test]
fn a_cancelled_case_fails_and_so_do_those_after_it() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 1);
    let predictor = open(root.path(), options());
    let case = CaseInput::from(image([9, 9, 30], 0));
    let cancel = case.cancel.clone();
    let error = predictor.predict_image(case, false, &|_| cancel.cancel()).unwrap_err();
    assert!(matches!(error, InferError::Cancelled));

    let out = root.path().join("out");
    let mut cases = Vec::new();
    for id in ["a", "b", "c"] {
        let file = root.path().join(format!("{id}_0000.nii.gz"));
        write_image(&file, &image([9, 9, 9], 0)).unwrap();
        cases.push((id.to_owned(), vec![file]));
    }
    let options = BatchOptions::default();
    options.cancel.cancel();
    let results = predictor.predict_files(&cases, &out, &options, &|_| {});
    assert!(results.iter().all(|(_, result)| matches!(result, Err(InferError::Cancelled))));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn images_of_an_iterator_are_predicted_in_turn() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 1);
    for memory_gb in [None, Some(1.0)] {
        let predictor = open(root.path(), PredictorOptions { memory_gb, ..options() });
        let images = (0..5).map(|i| {
            let input = match i {
                2 => Err(InferError::NoNetwork),
                3 => Ok(Image { data: Array4::zeros((2, 4, 4, 4)), geometry: Geometry::default() }.into()),
                _ => Ok(image([9, 10, 11], i).into()),
            };
            (format!("case {i}"), input)
        });
        let mut seen = Vec::new();
        predictor.predict_each(images, false, &mut |name, result| seen.push((name, result)));
        assert!(seen.iter().enumerate().all(|(i, (name, _))| *name == format!("case {i}")));
        assert_eq!(seen.len(), 5);
        for (i, (_, result)) in seen.into_iter().enumerate() {
            match (i, result) {
                (2, Err(InferError::NoNetwork)) | (3, Err(InferError::Channels { found: 2, .. })) => {}
                (i, Ok(found)) => {
                    let alone = predictor.predict_image(image([9, 10, 11], i), false, &|_| {}).unwrap();
                    assert_eq!(found, alone);
                }
                (i, other) => panic!("{i}: {other:?}"),
            }
        }
    }
}

/// A cascade: one channel, two labels, so three channels for the network.
fn cascade() -> Predictor {
    let folder = tempfile::tempdir().unwrap();
    common::write_descriptions(folder.path());
    let mut plans: serde_json::Value = serde_json::from_str(common::PLANS).unwrap();
    plans["configurations"]["3d_cascade_fullres"] =
        serde_json::json!({"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"});
    let plans: Plans = serde_json::from_value(plans).unwrap();
    let dataset = nnunet_fingerprint::DatasetJson::read(&folder.path().join("dataset.json")).unwrap();
    let spec = plans.configuration("3d_cascade_fullres").unwrap().architecture.resolve().unwrap();
    let parameters = Parameters::new(&spec, 3, 3, 5, &Device::Cpu).unwrap();
    let network = UNet::new(&spec, 3, 3, &parameters).unwrap();
    Predictor::from_parts(plans, "3d_cascade_fullres", dataset, vec![network], None, options()).unwrap()
}

#[test]
fn a_cascade_sees_the_previous_segmentation_as_channels() {
    let predictor = cascade();
    assert_eq!(predictor.previous_stage(), Some("3d_lowres"));
    let image = image([12, 13, 11], 1);
    let data = Array3::from_shape_fn((12, 13, 11), |(z, y, x)| ((z / 3 + y / 4 + x / 5) % 3) as i16);
    let previous = LabelMap { data: data.clone(), geometry: image.geometry.clone() };
    let case = CaseInput { previous: Some(previous.clone()), ..image.clone().into() };
    let found = predictor.predict_image(case, false, &|_| {}).unwrap();

    // The same from preprocessed arrays.
    let plans = predictor.plans().clone();
    let configuration = plans.configuration("3d_cascade_fullres").unwrap();
    let rules = predictor.label_rules();
    let prepared =
        nnunet_preprocess::preprocess_case(image.clone(), Some(previous), &plans, &configuration, rules)
            .unwrap();
    let one_hot = [1, 2].map(|label| prepared.seg.mapv(|here| f32::from(u8::from(here == label))));
    let views = [prepared.data.index_axis(Axis(0), 0), one_hot[0].view(), one_hot[1].view()];
    let stacked = ndarray::stack(Axis(0), &views).unwrap();
    assert!(stacked.index_axis(Axis(0), 1).sum() > 0.0 && stacked.index_axis(Axis(0), 2).sum() > 0.0);
    let logits = predictor.predict_logits(stacked.view(), &|_| {}).unwrap();
    let properties = &prepared.properties;
    let expected =
        nnunet_infer::export_logits(logits.view(), properties, &plans, &configuration, rules, false).unwrap();
    assert_eq!(found, expected);

    let error = predictor.predict_image(image.clone(), false, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("3d_cascade_fullres") && error.contains("3d_lowres"), "{error}");
    let small = LabelMap { data: data.slice(s![..5, .., ..]).to_owned(), geometry: image.geometry.clone() };
    let case = CaseInput { previous: Some(small), ..image.clone().into() };
    let error = predictor.predict_image(case, false, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("[5, 13, 11]") && error.contains("[12, 13, 11]"), "{error}");
    let error = predictor.predict_logits(prepared.data.view(), &|_| {}).unwrap_err().to_string();
    assert!(error.contains("1 channels") && error.contains('3'), "{error}");
}

#[test]
fn the_previous_stage_is_read_from_files() {
    let predictor = cascade();
    let root = tempfile::tempdir().unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let image = image([10, 9, 11], 1);
    let data = Array3::from_shape_fn((10, 9, 11), |(z, y, x)| ((z + y / 2 + x) % 3) as i16);
    let previous = LabelMap { data, geometry: image.geometry.clone() };
    let mut cases = Vec::new();
    for id in ["a", "b"] {
        let file = root.path().join(format!("{id}_0000.nii.gz"));
        write_image(&file, &image).unwrap();
        cases.push((id.to_owned(), vec![file]));
    }
    let folder = root.path().join("previous");
    std::fs::create_dir(&folder).unwrap();
    reader.write_labels(&folder.join("a.nii.gz"), &previous).unwrap();
    let options = BatchOptions { previous_stage: Some(folder), ..BatchOptions::default() };
    let out = root.path().join("out");
    let results = predictor.predict_files(&cases, &out, &options, &|_| {});
    assert!(results[0].1.is_ok());
    let error = results[1].1.as_ref().unwrap_err().to_string();
    assert!(error.contains("previous/b.nii.gz") && error.contains("not found"), "{error}");
    let found = reader.read_labels(&out.join("a.nii.gz")).unwrap();
    let image = reader.read_images(&cases[0].1).unwrap();
    let case = CaseInput { previous: Some(previous), ..image.into() };
    assert_eq!(found.data, predictor.predict_image(case, false, &|_| {}).unwrap().labels.data);
}

#[test]
fn probabilities_are_written_as_images_on_request() {
    let root = tempfile::tempdir().unwrap();
    common::write_model(root.path(), 1);
    let predictor = open(root.path(), options());
    let file = root.path().join("a_0000.nii.gz");
    write_image(&file, &image([9, 9, 9], 0)).unwrap();
    let out = root.path().join("out");
    let options = BatchOptions { probabilities_as_nifti: true, ..BatchOptions::default() };
    for (_, result) in
        predictor.predict_files(&[("a".to_owned(), vec![file.clone()])], &out, &options, &|_| {})
    {
        result.unwrap();
    }
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let files: Vec<_> = (0..3).map(|i| out.join(format!("a_probabilities_{i}.nii.gz"))).collect();
    let found = reader.read_images(&files).unwrap();
    let image = reader.read_images(&[file]).unwrap();
    let expected = predictor.predict_image(image, true, &|_| {}).unwrap();
    assert_eq!(found.data, expected.probabilities.unwrap());
    assert!(found.geometry.same_frame(&expected.labels.geometry));
    assert!(!out.join("a.npz").exists());
}
