//! Properties of whole samples: shape, determinism, replay, windows, errors, and the distribution of what is drawn.

mod common;

use std::collections::HashSet;

use common::{config, sample};
use ndarray::{Array4, Axis};
use nnunet_augment::{
    AugmentError, Noise, Parameters, Pipeline, PipelineConfig, Sample, Window, Workspace, sample_rng,
};
use proptest::prelude::*;

/// A pipeline that does something to nearly every sample.
fn eager(patch: [usize; 3], in_plane: bool) -> Pipeline {
    let mut config = config(patch, in_plane);
    (config.p_rotation, config.p_scaling) = (0.5, 0.5);
    for chance in [&mut config.noise, &mut config.blur, &mut config.brightness, &mut config.contrast] {
        chance.probability = 0.6;
    }
    for chance in [&mut config.low_resolution, &mut config.gamma, &mut config.gamma_inverted] {
        chance.probability = 0.6;
    }
    Pipeline::training(config)
}

fn part(sample: &Sample, window: &Window) -> Sample {
    let mut part = sample.clone();
    for k in 0..3 {
        let range = ndarray::Slice::from(window.start[k]..window.start[k] + window.shape[k]);
        part.image = part.image.slice_axis(Axis(k + 1), range).to_owned();
        part.labels = part.labels.slice_axis(Axis(k + 1), range).to_owned();
    }
    part
}

fn shapes() -> impl Strategy<Value = ([usize; 3], bool)> {
    let lengths = (2usize..9, 2usize..9, 2usize..9).prop_map(|(z, y, x)| [z, y, x]);
    prop_oneof![
        lengths.clone().prop_map(|patch| (patch, false)),
        lengths.clone().prop_map(|patch| (patch, true)),
        lengths.prop_map(|[_, y, x]| ([1, y, x], true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn samples_keep_their_promises((patch, in_plane) in shapes(), n in 1usize..6, seed: u64, larger in 0usize..4) {
        let pipeline = eager(patch, in_plane);
        let mut loaded = pipeline.config().initial_patch_size();
        loaded[1] += larger;
        let source = sample(2, 2, loaded, n);
        let found = pipeline.run(source.clone(), &mut sample_rng(seed, 1, 2)).unwrap();

        // Shape and labels.
        prop_assert_eq!(found.image.shape(), [&[2], &patch[..]].concat());
        prop_assert_eq!(found.labels.shape(), [&[2], &patch[..]].concat());
        let known: HashSet<i16> = source.labels.iter().copied().chain([0]).collect();
        prop_assert!(found.labels.iter().all(|label| *label >= 0 && known.contains(label)));
        prop_assert!(found.image.iter().all(|v| v.is_finite()));

        // The same key gives the same sample, and so do its parameters replayed.
        prop_assert_eq!(&found, &pipeline.run(source.clone(), &mut sample_rng(seed, 1, 2)).unwrap());
        let parameters = pipeline.draw(2, &mut sample_rng(seed, 1, 2));
        prop_assert_eq!(&found, &pipeline.apply(source.clone(), &parameters).unwrap());

        // And so does the part of the sample that is needed.
        let window = pipeline.source_window(&parameters, loaded).unwrap();
        let mut target = Sample { image: Array4::zeros((1, 1, 1, 1)), labels: Array4::zeros((1, 1, 1, 1)) };
        let mut workspace = Workspace::default();
        for _ in 0..2 {
            pipeline.apply_window(&part(&source, &window), &window, &parameters, &mut workspace, &mut target).unwrap();
            prop_assert_eq!(&found, &target);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn resampling_is_interpolation_voxel_by_voxel((patch, in_plane) in shapes(), seed: u64) {
        let mut config = config(patch, in_plane);
        (config.p_rotation, config.p_scaling) = (1.0, 1.0);
        let parameters = Pipeline::training(config.clone()).draw(1, &mut sample_rng(seed, 0, 0));
        let geometry = Parameters { rotation: parameters.rotation, scaling: parameters.scaling, ..Default::default() };
        let source = sample(1, 1, config.initial_patch_size(), 4);
        let found = Pipeline::training(config.clone()).apply(source.clone(), &geometry).unwrap();
        for ((c, z, y, x), &value) in found.image.indexed_iter() {
            let at = coordinate(&config, &geometry, source.image.shape(), [z, y, x]);
            let expected = interpolate(&source.image, c, at);
            prop_assert!((f64::from(value) - expected).abs() < 1e-5, "{value} instead of {expected} at {at:?}");
        }
        for ((c, z, y, x), &label) in found.labels.indexed_iter() {
            let at = coordinate(&config, &geometry, source.image.shape(), [z, y, x]);
            let [best, second] = best_labels(&source.labels, c, at);
            // Where two labels are nearly as strong, rounding and the nearest voxel decide; golden values cover that.
            let clear = best.1 - second.1 > 1e-3;
            prop_assert!(!clear || label == best.0.max(0), "{label} instead of {best:?} at {at:?}");
        }
    }
}

/// Where patch voxel `voxel` lies in the loaded patch, by rotating the vector about one axis after the other.
fn coordinate(
    config: &PipelineConfig,
    parameters: &Parameters,
    loaded: &[usize],
    voxel: [usize; 3],
) -> [f64; 3] {
    let mut v = [0, 1, 2].map(|k| voxel[k] as f64 - (config.patch_size[k] as f64 - 1.0) / 2.0);
    let scale = parameters.scaling.unwrap()[0];
    let first = usize::from(config.in_plane());
    v[first..].iter_mut().for_each(|c| *c *= scale);
    let [a, b, c] = parameters.rotation.unwrap();
    let turn = |(p, q): (f64, f64), angle: f64| {
        (p * angle.cos() - q * angle.sin(), p * angle.sin() + q * angle.cos())
    };
    (v[1], v[2]) = turn((v[1], v[2]), a);
    (v[2], v[0]) = turn((v[2], v[0]), b);
    (v[0], v[1]) = turn((v[0], v[1]), c);
    [0, 1, 2].map(|k| v[k] + (loaded[k + 1] as f64 - 1.0) / 2.0)
}

/// Trilinear interpolation with zeros outside.
fn interpolate(image: &Array4<f32>, channel: usize, at: [f64; 3]) -> f64 {
    let mut sum = 0.0;
    for ((c, z, y, x), &v) in image.indexed_iter() {
        let weight: f64 =
            [z, y, x].iter().zip(at).map(|(&i, at)| (1.0 - (i as f64 - at).abs()).max(0.0)).product();
        sum += if c == channel { weight * f64::from(v) } else { 0.0 };
    }
    sum
}

/// The two strongest labels with their interpolated indicators; what lies outside counts as −1.
fn best_labels(labels: &Array4<i16>, channel: usize, at: [f64; 3]) -> [(i16, f64); 2] {
    let mut strengths: Vec<(i16, f64)> = (0..8)
        .map(|label| {
            let indicator = labels.mapv(|l| f32::from(u8::from(l == label)));
            (label, interpolate(&indicator, channel, at))
        })
        .collect();
    let inside: f64 = strengths.iter().map(|s| s.1).sum();
    strengths.push((-1, 1.0 - inside));
    strengths.sort_by(|a, b| b.1.total_cmp(&a.1));
    [strengths[0], strengths[1]]
}

#[test]
fn noise_is_part_of_the_parameters() {
    let pipeline = Pipeline::training(config([4, 5, 6], false));
    let with = |seed| {
        let noise = Some(Noise { standard_deviation: 0.1, seed });
        pipeline.apply(sample(2, 1, [4, 5, 6], 3), &Parameters { noise, ..Default::default() }).unwrap()
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1).image, with(2).image);
}

#[test]
fn validation_only_turns_outside_into_background() {
    let pipeline = Pipeline::validation(config([4, 5, 6], false));
    let source = sample(2, 2, [4, 5, 6], 4);
    let found = pipeline.run(source.clone(), &mut sample_rng(0, 0, 0)).unwrap();
    assert_eq!(found.image, source.image);
    assert_eq!(found.labels, source.labels.mapv(|label| label.max(0)));
    assert!(source.labels.iter().any(|&label| label == -1));
}

#[test]
fn masked_channels_are_zero_where_the_label_is_negative() {
    let config = PipelineConfig::nnunet(&[4, 5, 6], &[true, false]);
    let source = sample(2, 1, [4, 5, 6], 4);
    let found = Pipeline::training(config).apply(source.clone(), &Parameters::default()).unwrap();
    for ((c, z, y, x), &v) in found.image.indexed_iter() {
        let masked = c == 0 && source.labels[[0, z, y, x]] < 0;
        assert_eq!(v, if masked { 0.0 } else { source.image[[c, z, y, x]] });
    }
}

#[test]
fn arrays_in_other_layouts_give_the_same() {
    let source = sample(2, 1, [8, 9, 7], 4);
    let fortran = |a: &Array4<f32>| {
        let mut other = Array4::zeros(ndarray::ShapeBuilder::f(a.dim()));
        other.assign(a);
        other
    };
    let other = Sample { image: fortran(&source.image), labels: source.labels.clone() };
    assert!(!other.image.is_standard_layout());
    for patch in [[6, 6, 6], [8, 9, 7]] {
        let pipeline = eager(patch, false);
        let draw = || sample_rng(3, 0, 0);
        let expected = pipeline.run(source.clone(), &mut draw()).unwrap();
        assert_eq!(pipeline.run(other.clone(), &mut draw()).unwrap(), expected);
    }
}

#[test]
fn bad_input_is_an_error_that_names_what_is_wrong() {
    let run = |config: PipelineConfig, sample: Sample| {
        Pipeline::training(config).run(sample, &mut sample_rng(0, 0, 0)).unwrap_err().to_string()
    };
    let small = run(config([4, 6, 5], false), sample(1, 1, [4, 5, 5], 2));
    assert_eq!(small, "image of the sample, axis 1: found 5 voxels, expected at least 6, the patch size");
    let deep = run(config([4, 6, 5], true), sample(1, 1, [5, 6, 5], 2));
    assert_eq!(deep, "image of the sample, axis 0: found 5 voxels, expected 4, the patch size");
    let empty = run(config([4, 4, 4], false), sample(1, 1, [0, 4, 4], 2));
    assert_eq!(empty, "image of the sample, axis 0: found 0 voxels, expected at least 1");
    let mut unequal = sample(1, 1, [4, 4, 4], 2);
    unequal.labels = Array4::zeros((1, 4, 4, 3));
    assert_eq!(
        run(config([4, 4, 4], false), unequal),
        "labels of the sample, axis 2: found 3 voxels, expected 4 as the image has"
    );
    let mask = run(PipelineConfig::nnunet(&[4, 4, 4], &[true]), sample(2, 1, [4, 4, 4], 2));
    assert_eq!(mask, "mask_channels: found 1 entries, expected 2, one for each image channel");
    let none = run(config([4, 4, 4], false), sample(0, 1, [4, 4, 4], 2));
    assert_eq!(none, "image channels: found 0 entries, expected at least 1");
    let flat = run(PipelineConfig::nnunet(&[4], &[]), sample(1, 1, [4, 4, 4], 2));
    assert_eq!(flat, "augmentation setting `dims`: found 1, expected 2 or 3");
}

#[test]
fn edited_parameters_are_checked() {
    let key = |parameters: Parameters| {
        let pipeline = Pipeline::training(config([4, 4, 4], false));
        match pipeline.apply(sample(1, 1, [4, 4, 4], 2), &parameters) {
            Err(AugmentError::Parameter { key, .. } | AugmentError::Channels { what: key, .. }) => key,
            other => panic!("unexpected {other:?}"),
        }
    };
    let default = Parameters::default;
    assert_eq!(key(Parameters { scaling: Some([f64::INFINITY; 3]), ..default() }), "scaling");
    assert_eq!(key(Parameters { rotation: Some([0.0, f64::NAN, 0.0]), ..default() }), "rotation");
    assert_eq!(key(Parameters { brightness: Some(vec![1.0, 1.0]), ..default() }), "brightness");
    assert_eq!(key(Parameters { contrast: Some(vec![f64::NAN]), ..default() }), "contrast");
    assert_eq!(key(Parameters { gamma: Some(vec![-1.0]), ..default() }), "gamma");
    assert_eq!(key(Parameters { gamma_inverted: Some(vec![]), ..default() }), "gamma_inverted");
    assert_eq!(key(Parameters { blur: Some(vec![Some([1.0, 1e9, 1.0])]), ..default() }), "blur");
    assert_eq!(key(Parameters { low_resolution: Some(vec![Some(0.0)]), ..default() }), "low_resolution");
    let noise = Some(Noise { standard_deviation: -1.0, seed: 0 });
    assert_eq!(key(Parameters { noise, ..default() }), "noise");
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let pipeline = Pipeline::training(config([4, 4, 4], false));
    let parameters = Parameters { scaling: Some([1.2; 3]), ..Default::default() };
    let loaded = [9, 9, 9];
    let needed = pipeline.source_window(&parameters, loaded).unwrap();
    assert!(Window::whole(loaded).contains(&needed) && needed != Window::whole(loaded));
    let try_window = |window: Window, shape: [usize; 3]| {
        let mut target = sample(1, 1, [4, 4, 4], 2);
        let source = sample(1, 1, shape, 2);
        pipeline.apply_window(&source, &window, &parameters, &mut Workspace::default(), &mut target)
    };
    assert_eq!(try_window(needed, needed.shape), Ok(()));
    assert!(try_window(needed, [9, 9, 9]).is_err());
    let shifted = Window { start: needed.start.map(|s| s + 1), ..needed };
    assert!(try_window(shifted, needed.shape).is_err());
    let outside = Window { start: [usize::MAX; 3], ..needed };
    assert!(try_window(outside, needed.shape).is_err());
}
