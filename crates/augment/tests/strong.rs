//! The transforms beyond the default ones and those of cascades against what the reference makes of the same array with
//! the same parameters (`golden/make_strong.py` writes `golden/strong.json`).

mod common;

use common::{config, image, labels, sample};
use ndarray::{Array4, s};
use nnunet_augment::{
    Bump, Cascade, CascadeParameters, LeftRight, Operation, Operator, Parameters, Pipeline, PipelineConfig,
    Rectangle, Removal, Sample, StrongParameters,
};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/strong.json")).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    list(value).iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>().try_into().unwrap()
}

fn lengths<const N: usize>(value: &Value) -> [usize; N] {
    numbers(value).map(|v| v as usize)
}

#[track_caller]
fn assert_close(found: &Array4<f32>, expected: &Value, tolerance: f64, what: &str) {
    let expected = list(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&a, b)) in found.iter().zip(expected).enumerate() {
        let b = b.as_f64().unwrap();
        assert!((f64::from(a) - b).abs() < tolerance, "{what}: voxel {i} is {a} instead of {b}");
    }
}

#[test]
fn nearest_neighbours_and_factors_per_axis_are_the_reference_s() {
    for case in list(&golden()["grid"]) {
        let name = case["name"].as_str().unwrap();
        let patch = lengths(&case["patch"]);
        let parameters = Parameters {
            rotation: Some(numbers(&case["rotation"])),
            scaling: Some(numbers(&case["scaling"])),
            ..Default::default()
        };
        let config = PipelineConfig {
            nearest_image: case["nearest"][0].as_bool().unwrap(),
            nearest_labels: case["nearest"][1].as_bool().unwrap(),
            ..config(patch, case["planar"].as_bool().unwrap())
        };
        let n = case["n"].as_u64().unwrap() as usize;
        let found = Pipeline::training(config).apply(sample(2, 2, lengths(&case["loaded"]), n), &parameters);
        let found = found.unwrap();
        assert_close(&found.image, &case["image"], 1e-5, name);
        let expected: Vec<i16> =
            list(&case["labels"]).iter().map(|v| v.as_i64().unwrap().max(0) as i16).collect();
        assert!(found.labels.iter().eq(&expected), "{name}: labels differ");
    }
}

fn apply(patch: [usize; 3], strong: StrongParameters, image: Array4<f32>) -> Array4<f32> {
    let (_, z, y, x) = image.dim();
    let sample = Sample { image, labels: Array4::zeros((1, z, y, x)) };
    let parameters = Parameters { strong: Some(Box::new(strong)), ..Default::default() };
    Pipeline::training(config(patch, false)).apply(sample, &parameters).unwrap().image
}

#[test]
fn quarter_turns_and_permutations_are_the_reference_s() {
    for case in list(&golden()["orientation"]) {
        let mut strong = StrongParameters::default();
        match case.get("turns") {
            Some(turns) => strong.quarter_turns = Some(lengths::<3>(turns).into()),
            None => strong.axis_order = Some(lengths(&case["order"])),
        }
        let what = format!("{strong:?}");
        let found = apply([4; 3], strong, image([1, 4, 4, 4]));
        assert_close(&found, &case["image"], 1e-6, &what);
    }
}

/// A value for each channel.
fn each<T>(values: &Value, value: impl Fn(&Value) -> T) -> Vec<Option<T>> {
    list(values).iter().map(|v| (!v.is_null()).then(|| value(v))).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn bump(value: &Value) -> (Bump, f64) {
    (Bump { centre: numbers(&value[0]), sigma: numbers(&value[1]) }, number(&value[2]))
}

fn rectangles(value: &Value) -> Vec<Rectangle> {
    let rectangle = |v: &Value| Rectangle { start: lengths(&v[0]), size: lengths(&v[1]) };
    list(value).iter().map(rectangle).collect()
}

fn channel_parameters(case: &Value) -> StrongParameters {
    let mut strong = StrongParameters::default();
    let values = &case["values"];
    match case["kind"].as_str().unwrap() {
        "median" => strong.median = Some(each(values, |v| v.as_u64().unwrap() as usize)),
        "shift" => strong.shift = Some(each(values, number)),
        "contrast" => {
            strong.contrast = Some(each(values, number));
            strong.contrast_keeps_range = case["keeps_range"].as_bool().unwrap();
        }
        "rectangles" => strong.rectangles = Some(list(values).iter().map(rectangles).collect()),
        "gradient" => strong.gradient = Some(each(values, bump)),
        "local_gamma" => strong.local_gamma = Some(each(values, bump)),
        "sharpen" => strong.sharpen = Some(each(values, number)),
        other => panic!("unknown transform {other}"),
    }
    strong
}

/// Within 1e-5, the reference computing in f32.
#[test]
fn transforms_of_channels_are_the_reference_s() {
    let golden = golden();
    let mut kinds = std::collections::BTreeSet::new();
    for case in list(&golden["channels"]) {
        kinds.insert(case["kind"].as_str().unwrap());
        let shape: [usize; 4] = lengths(&case["shape"]);
        let found = apply([shape[1], shape[2], shape[3]], channel_parameters(case), image(shape));
        assert_close(&found, &case["image"], 1e-5, &format!("{} of {shape:?}", case["kind"]));
    }
    assert_eq!(kinds.len(), 7);
}

fn cascade_pipeline(patch: [usize; 3]) -> Pipeline {
    let cascade = Some(Cascade::nnunet(vec![1, 2, 3]));
    Pipeline::training(PipelineConfig { cascade, ..config(patch, false) })
}

#[test]
fn channels_of_the_previous_stage_are_the_reference_s() {
    for case in list(&golden()["cascade"]) {
        let [c, z, y, x]: [usize; 4] = lengths(&case["shape"]);
        let operation = |v: &Value| Operation {
            channel: v[0].as_u64().unwrap() as usize,
            operator: match v[1].as_str().unwrap() {
                "dilate" => Operator::Dilate,
                "erode" => Operator::Erode,
                "close" => Operator::Close,
                _ => Operator::Open,
            },
            radius: number(&v[2]),
        };
        let operations: Vec<_> = list(&case["operations"]).iter().map(operation).collect();
        let cascade = Some(CascadeParameters { operations, removals: Vec::new() });
        let parameters = Parameters { cascade, ..Default::default() };
        let source = Sample { image: image([1, z, y, x]), labels: labels([c, z, y, x], 5) };
        let found = cascade_pipeline([z, y, x]).apply(source.clone(), &parameters).unwrap();
        assert_eq!(found.labels.dim(), (1, z, y, x));
        assert_eq!(found.image.slice(s![..1, .., .., ..]), source.image);
        let channels: Vec<f32> = list(&case["channels"]).iter().map(|v| number(v) as f32).collect();
        assert!(
            found.image.slice(s![1.., .., .., ..]).iter().eq(&channels),
            "{:?} of {:?} differs",
            case["operations"],
            [z, y, x]
        );
    }
}

#[test]
fn one_of_the_small_components_vanishes() {
    let golden = &golden()["removal"];
    let [_, z, y, x]: [usize; 4] = lengths(&golden["shape"]);
    let mut found = std::collections::BTreeSet::new();
    for i in 0..40 {
        let removal = Removal { channel: 0, choice: f64::from(i) / 40.0 };
        let cascade = Some(CascadeParameters { operations: Vec::new(), removals: vec![removal] });
        let mut source = Sample { image: Array4::zeros((1, z, y, x)), labels: Array4::zeros((2, z, y, x)) };
        let channel = labels([1, z, y, x], 5).mapv(|label| i16::from(label == 2));
        source.labels.slice_mut(s![1.., .., .., ..]).assign(&channel);
        let parameters = Parameters { cascade, ..Default::default() };
        let out = cascade_pipeline([z, y, x]).apply(source, &parameters).unwrap();
        found.insert(out.image.slice(s![1, .., .., ..]).sum() as u64);
    }
    let expected: Vec<u64> = list(&golden["rest"]).iter().map(|v| v.as_u64().unwrap()).collect();
    assert!(found.iter().eq(&expected), "{found:?} instead of {expected:?}");
}

#[test]
fn a_cascade_needs_the_labels_of_the_previous_stage() {
    let pipeline = cascade_pipeline([4, 5, 6]);
    let error = pipeline.apply(sample(1, 1, [4, 5, 6], 4), &Parameters::default()).unwrap_err();
    assert!(error.to_string().contains("previous stage"), "{error}");
    let operation = Operation { channel: 3, operator: Operator::Open, radius: 1.0 };
    let cascade = Some(CascadeParameters { operations: vec![operation], removals: Vec::new() });
    let parameters = Parameters { cascade, ..Default::default() };
    assert!(pipeline.apply(sample(1, 2, [4, 5, 6], 4), &parameters).is_err());
}

#[test]
fn labels_of_pairs_are_exchanged_where_left_becomes_right() {
    let left_right = Some(LeftRight { axis: 2, pairs: vec![[1, 2]] });
    let pipeline = Pipeline::training(PipelineConfig { left_right, ..config([4, 5, 6], false) });
    let source = sample(1, 1, [4, 5, 6], 5);
    let run = |mirror| {
        let parameters = Parameters { mirror, ..Default::default() };
        pipeline.apply(source.clone(), &parameters).unwrap().labels
    };
    let plain = run([false; 3]);
    let mut expected = plain.slice(s![.., .., .., ..;-1]).mapv(|label| match label {
        1 => 2,
        2 => 1,
        other => other,
    });
    assert_eq!(run([false, false, true]), expected);
    expected = plain.slice(s![.., .., ..;-1, ..]).to_owned();
    assert_eq!(run([false, true, false]), expected);
}

#[test]
fn impossible_strong_parameters_are_refused() {
    let broken = [
        StrongParameters { quarter_turns: Some((0, 1, 1)), ..Default::default() },
        StrongParameters { axis_order: Some([1, 0, 2]), ..Default::default() },
        StrongParameters { median: Some(vec![None]), ..Default::default() },
        StrongParameters { shift: Some(vec![None, Some(f64::NAN)]), ..Default::default() },
        StrongParameters {
            rectangles: Some(vec![vec![Rectangle { start: [3, 0, 0], size: [2, 1, 1] }], vec![]]),
            ..Default::default()
        },
    ];
    for strong in broken {
        let what = format!("{strong:?}");
        let parameters = Parameters { strong: Some(Box::new(strong)), ..Default::default() };
        let result =
            Pipeline::training(config([4, 5, 6], false)).apply(sample(2, 1, [4, 5, 6], 3), &parameters);
        assert!(result.is_err(), "{what}");
    }
}
