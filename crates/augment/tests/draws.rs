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
    let scales: Vec<[f64; 3]> = all.iter().filter_map(|d| d.scaling).collect();
    assert!(scales.iter().all(|s| s[0] == s[1] && s[1] == s[2]));
    assert_uniform("scale", &scales.iter().map(|s| s[0]).collect::<Vec<_>>(), 0.7, 1.4);
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

#[test]
fn the_stronger_set_has_the_reference_s_probabilities_and_ranges() {
    let config = PipelineConfig::da5(&[64, 64, 48], &[false, false]);
    assert_eq!(PipelineConfig::da5(&[128, 128, 128], &[]).initial_patch_size(), [249, 249, 249]);
    let pipeline = Pipeline::training(config);
    let all: Vec<Parameters> =
        (0..DRAWS).map(|i| pipeline.draw(2, &mut sample_rng(9, i / 100, i % 100))).collect();
    let strong = || all.iter().map(|d| d.strong.as_deref().unwrap());
    let share = |what, p, hits: usize| assert_share(what, hits, all.len(), p);
    share("rotation", 0.4, all.iter().filter(|d| d.rotation.is_some()).count());
    let angles: Vec<f64> = all.iter().filter_map(|d| d.rotation).flatten().collect();
    assert_share("axes that turn", angles.iter().filter(|&&a| a != 0.0).count(), angles.len(), 0.5);
    let scales: Vec<[f64; 3]> = all.iter().filter_map(|d| d.scaling).collect();
    assert!(scales.iter().all(|s| s[0] != s[1] && s[1] != s[2]));
    assert_uniform("scale", &scales.iter().map(|s| s[1]).collect::<Vec<_>>(), 0.7, 1.43);
    share("quarter turns", 0.5, strong().filter(|s| s.quarter_turns.is_some()).count());
    assert!(strong().filter_map(|s| s.quarter_turns).all(|(a, b, k)| (a, b) == (0, 1) && k < 4));
    share("order", 0.5, strong().filter(|s| s.axis_order.is_some()).count());
    let orders: Vec<_> = strong().filter_map(|s| s.axis_order).collect();
    assert_share("exchanged", orders.iter().filter(|o| **o == [1, 0, 2]).count(), orders.len(), 0.5);
    share("median", 0.1, strong().filter(|s| s.median.is_some()).count());
    share("blur", 0.1, all.iter().filter(|d| d.blur.is_some()).count());
    assert!(all.iter().all(|d| d.blur.is_none() || d.strong.as_ref().unwrap().median.is_none()));
    let windows: Vec<usize> = strong().filter_map(|s| s.median.clone()).flatten().flatten().collect();
    for window in 2..8 {
        assert_share("window", windows.iter().filter(|&&w| w == window).count(), windows.len(), 1.0 / 6.0);
    }
    share("shift", 0.1, strong().filter(|s| s.shift.is_some()).count());
    let shifts: Vec<f64> = strong().filter_map(|s| s.shift.clone()).flatten().flatten().collect();
    let variance = shifts.iter().map(|v| v * v).sum::<f64>() / shifts.len() as f64;
    assert!((variance.sqrt() - 0.5).abs() < 0.03, "{variance}");
    share("contrast", 0.2, strong().filter(|s| s.contrast.is_some()).count());
    let contrast: Vec<f64> = strong().filter_map(|s| s.contrast.clone()).flatten().flatten().collect();
    assert_around_one("contrast", &contrast, 0.5, 2.0);
    share("second gamma", 0.1, strong().filter(|s| s.gamma_inverted.is_some()).count());
    assert!(all.iter().all(|d| d.gamma.is_none() && d.brightness.is_none() && d.contrast.is_none()));
    share("rectangles", 0.4, strong().filter(|s| s.rectangles.is_some()).count());
    let boxes: Vec<_> = strong().filter_map(|s| s.rectangles.clone()).flatten().flatten().collect();
    assert!(boxes.iter().all(|b| (6..21).contains(&b.size[0]) && (4..16).contains(&b.size[2])));
    share("gradient", 0.3, strong().filter(|s| s.gradient.is_some()).count());
    let heights: Vec<f64> =
        strong().filter_map(|s| s.gradient.clone()).flatten().flatten().map(|(_, h)| h).collect();
    assert_share("dark bumps", heights.iter().filter(|&&h| h < 0.0).count(), heights.len(), 0.5);
    assert_uniform("height", &heights.iter().map(|h| h.abs()).collect::<Vec<_>>(), 1.0, 5.0);
    share("local gamma", 0.3, strong().filter(|s| s.local_gamma.is_some()).count());
    share("sharpen", 0.2, strong().filter(|s| s.sharpen.is_some()).count());
}

#[test]
fn cascades_draw_operators_and_removals_per_label() {
    let cascade = Some(nnunet_augment::Cascade::nnunet(vec![1, 2, 3]));
    let config = PipelineConfig { cascade, ..PipelineConfig::nnunet(&[64, 64, 64], &[false]) };
    let pipeline = Pipeline::training(config);
    let all: Vec<_> =
        (0..DRAWS).map(|i| pipeline.draw(1, &mut sample_rng(9, i / 100, i % 100)).cascade.unwrap()).collect();
    // A sample that is chosen may still have no channel: 1 - 0.5^3.
    let some = |p: f64| p * 0.875;
    assert_share("operators", all.iter().filter(|c| !c.operations.is_empty()).count(), all.len(), some(0.4));
    assert_share("removals", all.iter().filter(|c| !c.removals.is_empty()).count(), all.len(), some(0.2));
    let operations: Vec<_> = all.iter().flat_map(|c| c.operations.clone()).collect();
    for operator in nnunet_augment::Operator::ALL {
        let count = operations.iter().filter(|o| o.operator == operator).count();
        assert_share("operator", count, operations.len(), 0.25);
    }
    assert_uniform("radius", &operations.iter().map(|o| o.radius).collect::<Vec<_>>(), 1.0, 8.0);
    for channel in 0..3 {
        let count = operations.iter().filter(|o| o.channel == channel).count();
        assert_share("channel", count, operations.len(), 1.0 / 3.0);
        let first = all.iter().filter(|c| c.operations.first().is_some_and(|o| o.channel == channel)).count();
        let any = all.iter().filter(|c| !c.operations.is_empty()).count();
        assert_share("first channel", first, any, 1.0 / 3.0);
    }
}

#[test]
fn elastic_deformations_are_drawn_in_parts_of_the_patch() {
    let mut config = PipelineConfig::nnunet(&[20, 40, 80], &[false]);
    config.elastic.probability = 0.3;
    let config = config.without_dummy_2d();
    let pipeline = Pipeline::training(config);
    let all: Vec<Parameters> =
        (0..DRAWS).map(|i| pipeline.draw(1, &mut sample_rng(4, i / 100, i % 100))).collect();
    let drawn: Vec<_> = all.iter().filter_map(|d| d.elastic).collect();
    assert_share("elastic", drawn.len(), all.len(), 0.3);
    for (axis, length) in [20.0, 40.0, 80.0].into_iter().enumerate() {
        assert_uniform("sigma", &drawn.iter().map(|e| e.sigma[axis]).collect::<Vec<_>>(), 0.0, 0.2 * length);
        assert_uniform("magnitude", &drawn.iter().map(|e| e.magnitude[axis]).collect::<Vec<_>>(), 0.0, 0.2);
    }
}
