//! Every transform against what the reference makes of the same array with the same parameters
//! (`golden/make.py` writes `golden/golden.json`).

mod common;

use common::{config, labels, sample};
use ndarray::{Array4, s};
use nnunet_augment::{Parameters, Pipeline, PipelineConfig, deep_supervision_targets};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/golden.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn lengths<const N: usize>(value: &Value) -> [usize; N] {
    numbers(value).iter().map(|&v| v as usize).collect::<Vec<_>>().try_into().unwrap()
}

#[track_caller]
fn assert_close(found: &Array4<f32>, expected: &Value, tolerance: f64, what: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(a) - b).abs() < tolerance, "{what}: voxel {i} is {a} instead of {b}");
    }
}

#[track_caller]
fn assert_labels(found: &Array4<i16>, expected: &Value, what: &str) {
    let expected: Vec<i16> = numbers(expected).iter().map(|&v| v as i16).collect();
    let wrong = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!(
        found.len() == expected.len() && wrong == 0,
        "{what}: {wrong} of {} labels differ",
        expected.len()
    );
}

/// −1 is removed at the end of the pipeline, so expected labels lose it too.
fn without_outside(labels: &Value) -> Value {
    numbers(labels).iter().map(|v| v.max(0.0)).collect::<Vec<_>>().into()
}

#[test]
fn geometry_is_the_reference_s() {
    for case in golden()["spatial"].as_array().unwrap() {
        let (name, n) = (case["name"].as_str().unwrap(), case["n"].as_u64().unwrap() as usize);
        let (patch, loaded) = (lengths(&case["patch"]), lengths(&case["loaded"]));
        let parameters = Parameters {
            rotation: (!case["rotation"].is_null()).then(|| numbers(&case["rotation"]).try_into().unwrap()),
            scaling: case["scaling"].as_f64().map(|scale| [scale; 3]),
            ..Default::default()
        };
        let pipeline = Pipeline::training(config(patch, case["mode"] != "3d"));
        let found = pipeline.apply(sample(2, 2, loaded, n), &parameters).unwrap();
        assert_close(&found.image, &case["image"], 1e-5, name);
        assert_labels(&found.labels, &without_outside(&case["labels"]), name);
    }
}

#[test]
fn outside_voxels_are_told_from_background_until_the_end() {
    // Labels shifted by one, so that −1 outside the loaded patch becomes 0 and background 1.
    for case in golden()["spatial"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (patch, loaded): ([usize; 3], _) = (lengths(&case["patch"]), lengths(&case["loaded"]));
        let parameters = Parameters {
            rotation: (!case["rotation"].is_null()).then(|| numbers(&case["rotation"]).try_into().unwrap()),
            scaling: case["scaling"].as_f64().map(|scale| [scale; 3]),
            ..Default::default()
        };
        let mut source = sample(2, 2, loaded, case["n"].as_u64().unwrap() as usize);
        source.labels.map_inplace(|label| *label = if *label < 0 { -1 } else { *label + 1 });
        let found =
            Pipeline::training(config(patch, case["mode"] != "3d")).apply(source, &parameters).unwrap();
        let shifted: Vec<f64> = numbers(&case["labels"]).iter().map(|v| v + 1.0).collect();
        assert_labels(&found.labels, &shifted.into(), name);
    }
}

fn intensity_parameters(name: &str, values: &Value) -> Parameters {
    let mut parameters = Parameters::default();
    match name {
        "blur" => {
            let sigmas = values.as_array().unwrap().iter().map(|v| Some(numbers(v).try_into().unwrap()));
            parameters.blur = Some(sigmas.collect());
        }
        "low_resolution" => parameters.low_resolution = Some(numbers(values).into_iter().map(Some).collect()),
        "brightness" => parameters.brightness = Some(numbers(values)),
        "contrast" => parameters.contrast = Some(numbers(values)),
        "gamma" => parameters.gamma = Some(numbers(values)),
        "gamma_inverted" => parameters.gamma_inverted = Some(numbers(values)),
        other => panic!("unknown transform {other}"),
    }
    parameters
}

#[test]
fn intensities_are_the_reference_s() {
    let patch = [7, 9, 8];
    for case in golden()["intensity"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let parameters = intensity_parameters(name, &case["values"]);
        let found = Pipeline::training(config(patch, case["dummy"].as_bool().unwrap_or(false)))
            .apply(sample(2, 1, patch, 3), &parameters)
            .unwrap();
        assert_close(&found.image, &case["image"], 3e-6, name);
    }
}

#[test]
fn transforms_together_are_the_reference_s() {
    let golden = &golden()["pipeline"];
    let parameters = Parameters {
        rotation: Some([0.2, 0.1, -0.4]),
        scaling: Some([1.1; 3]),
        noise: None,
        blur: Some(vec![None, Some([0.7, 0.8, 0.9])]),
        brightness: Some(vec![1.1, 0.9]),
        contrast: Some(vec![0.9, 1.25]),
        low_resolution: Some(vec![Some(0.7), None]),
        gamma_inverted: Some(vec![1.3, 0.8]),
        gamma: Some(vec![0.9, 1.2]),
        mirror: [true, false, true],
        ..Default::default()
    };
    let config = PipelineConfig::nnunet(&lengths::<3>(&golden["patch"]), &[false, true]);
    let found =
        Pipeline::training(config).apply(sample(2, 1, lengths(&golden["loaded"]), 4), &parameters).unwrap();
    assert_close(&found.image, &golden["image"], 2e-5, "pipeline");
    assert_labels(&found.labels, &golden["labels"], "pipeline");
    assert!(found.image.slice(s![1, .., .., ..]).iter().any(|&v| v == 0.0), "the mask was not applied");
}

#[test]
fn targets_are_the_reference_s() {
    let golden = &golden()["deep_supervision"];
    let scales: Vec<[f64; 3]> =
        golden["scales"].as_array().unwrap().iter().map(|v| numbers(v).try_into().unwrap()).collect();
    let source = labels(lengths(&golden["shape"]), golden["n"].as_u64().unwrap() as usize);
    let found = deep_supervision_targets(source.view(), &scales);
    for (found, expected) in found.iter().zip(golden["targets"].as_array().unwrap()) {
        assert_eq!(found.shape(), lengths::<4>(&expected["shape"]));
        assert_labels(found, &expected["labels"], "deep supervision");
    }
    assert_eq!(found.len(), scales.len());
}

#[test]
fn nearest_voxels_are_the_reference_s_for_all_lengths() {
    let golden = numbers(&golden()["nearest"]);
    let mut expected = golden.iter();
    for source in 1..=160usize {
        let ramp = Array4::from_shape_fn((1, 1, 1, source), |(_, _, _, x)| x as i16);
        for target in 1..=source {
            let scale = [1.0, 1.0, target as f64 / source as f64];
            let found = &deep_supervision_targets(ramp.view(), &[scale])[0];
            let sum: usize = found.iter().enumerate().map(|(i, &v)| (i + 1) * v as usize).sum();
            assert_eq!(Some(&(sum as f64)), expected.next(), "{source} to {target}");
        }
    }
}
