//! The distribution of drawn parameters over many draws.

use nnunet_augment::{Parameters, Pipeline, PipelineConfig, sample_rng};

const DRAWS: u64 = 40_000;

fn draws(patch: &[usize]) -> Vec<Parameters> {
    let pipeline = Pipeline::training(PipelineConfig::nnunet(patch, &[false, false]));
    (0..DRAWS).map(|i| pipeline.draw(2, &mut sample_rng(7, i / 100, i % 100))).collect()
}

/// A share within five standard errors of `p`.
#[track_caller]
fn assert_share(what: &str, hits: usize, of: usize, p: f64) {
    let (share, error) = (hits as f64 / of as f64, (p * (1.0 - p) / of as f64).sqrt());
    assert!((share - p).abs() < 5.0 * error, "{what}: {share} instead of {p}");
}

/// Uniform values: inside the range, and the mean within five standard errors.
#[track_caller]
fn assert_uniform(what: &str, values: &[f64], low: f64, high: f64) {
    assert!(values.iter().all(|v| (low..high).contains(v)), "{what}: a value is outside");
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let error = (high - low) / (12.0 * values.len() as f64).sqrt();
    assert!((mean - (low + high) / 2.0).abs() < 5.0 * error, "{what}: mean {mean}");
}

/// Half below 1 and half above, uniform on each side.
#[track_caller]
fn assert_around_one(what: &str, values: &[f64], low: f64, high: f64) {
    let (below, above): (Vec<f64>, Vec<f64>) = values.iter().partition(|&&v| v < 1.0);
    assert_share(what, below.len(), values.len(), 0.5);
    assert_uniform(what, &below, low, 1.0);
    assert_uniform(what, &above, 1.0, high);
}

#[test]
fn gates_have_the_reference_s_probabilities() {
    let all = draws(&[64, 64, 64]);
    let share = |what, p, has: &dyn Fn(&Parameters) -> bool| {
        assert_share(what, all.iter().filter(|d| has(d)).count(), all.len(), p);
    };
    share("rotation", 0.2, &|d| d.rotation.is_some());
    share("scaling", 0.2, &|d| d.scaling.is_some());
    share("crop only", 0.64, &|d| d.rotation.is_none() && d.scaling.is_none());
    share("noise", 0.1, &|d| d.noise.is_some());
    share("blur", 0.2, &|d| d.blur.is_some());
    share("brightness", 0.15, &|d| d.brightness.is_some());
    share("contrast", 0.15, &|d| d.contrast.is_some());
    share("low resolution", 0.25, &|d| d.low_resolution.is_some());
    share("inverted gamma", 0.1, &|d| d.gamma_inverted.is_some());
    share("gamma", 0.3, &|d| d.gamma.is_some());
    for axis in 0..3 {
        share("mirror", 0.5, &|d| d.mirror[axis]);
    }
    share("all axes mirrored", 0.125, &|d| d.mirror == [true; 3]);
}

#[test]
fn magnitudes_have_the_reference_s_ranges() {
    let all = draws(&[64, 64, 64]);
    let limit = 30f64.to_radians();
    for axis in 0..3 {
        let angles: Vec<f64> = all.iter().filter_map(|d| d.rotation).map(|r| r[axis]).collect();
        assert_uniform("angle", &angles, -limit, limit);
    }
    assert_uniform("scale", &all.iter().filter_map(|d| d.scaling).collect::<Vec<_>>(), 0.7, 1.4);
    let noise: Vec<f64> = all.iter().filter_map(|d| d.noise).map(|n| n.standard_deviation).collect();
    assert_uniform("noise", &noise, 0.0, 0.1);

    let blurred: Vec<_> = all.iter().filter_map(|d| d.blur.clone()).flatten().collect();
    assert_share("blurred channels", blurred.iter().flatten().count(), blurred.len(), 0.5);
    for axis in 0..3 {
        assert_uniform("sigma", &blurred.iter().flatten().map(|s| s[axis]).collect::<Vec<_>>(), 0.5, 1.0);
    }
    let coarse: Vec<_> = all.iter().filter_map(|d| d.low_resolution.clone()).flatten().collect();
    assert_share("coarse channels", coarse.iter().flatten().count(), coarse.len(), 0.5);
    assert_uniform("factor", &coarse.iter().flatten().copied().collect::<Vec<_>>(), 0.5, 1.0);

    let values =
        |pick: fn(&Parameters) -> Option<Vec<f64>>| all.iter().filter_map(pick).flatten().collect::<Vec<_>>();
    assert_around_one("brightness", &values(|d| d.brightness.clone()), 0.75, 1.25);
    assert_around_one("contrast", &values(|d| d.contrast.clone()), 0.75, 1.25);
    assert_around_one("inverted gamma", &values(|d| d.gamma_inverted.clone()), 0.7, 1.5);
    assert_around_one("gamma", &values(|d| d.gamma.clone()), 0.7, 1.5);
}

#[test]
fn channels_are_drawn_one_by_one() {
    let all = draws(&[64, 64, 64]);
    let pairs: Vec<_> = all.iter().filter_map(|d| d.brightness.clone()).collect();
    assert!(pairs.iter().all(|pair| pair.len() == 2 && pair[0] != pair[1]));
}

#[test]
fn two_dimensional_patches_rotate_in_their_plane() {
    for (patch, limit) in [(&[512, 512][..], 180.0f64), (&[320, 192], 15.0), (&[16, 64, 48], 180.0)] {
        let all = draws(patch);
        let rotations: Vec<[f64; 3]> = all.iter().filter_map(|d| d.rotation).collect();
        assert!(rotations.iter().all(|r| r[1..] == [0.0, 0.0]));
        let angles: Vec<f64> = rotations.iter().map(|r| r[0]).collect();
        assert_uniform("angle", &angles, -limit.to_radians(), limit.to_radians());
        let has_z = patch.len() == 3;
        assert_eq!(all.iter().any(|d| d.mirror[0]), has_z);
    }
}

#[test]
fn validation_draws_nothing() {
    let pipeline = Pipeline::validation(PipelineConfig::nnunet(&[64, 64, 64], &[false]));
    let mut rng = sample_rng(1, 2, 3);
    assert_eq!(pipeline.draw(1, &mut rng), Parameters::default());
    assert_eq!(rng, sample_rng(1, 2, 3));
}
