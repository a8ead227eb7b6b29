//! The network as one operation against its layers as operations of their own: logits and all gradients.
//!
//! Tolerance: 5e-5 relative in the L2 norm for logits, 2e-4 for gradients, whose sums run in another order.

mod common;
mod drawn;

use candle_core::{Device, Tensor, Var};
use drawn::{Drawn, drawn, fill};
use nnunet_nn::{Parameters, Precision, UNet};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn relative(found: &[f32], expected: &[f32], floor: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares = |f: &dyn Fn(usize) -> f64| (0..found.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let apart = squares(&|i| f64::from(found[i]) - f64::from(expected[i]));
    (apart / (squares(&|i| f64::from(expected[i])) + floor * floor)).sqrt()
}

fn wave(shape: &[usize], step: f64) -> Tensor {
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| (step * i as f64).cos() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Logits of all heads, gradients of the input and of all weights.
fn results(outputs: &[Tensor], x: &Var, parameters: &Parameters) -> (Vec<Vec<f32>>, Vec<Option<Vec<f32>>>) {
    let loss = |y: &Tensor| (y * wave(y.dims(), 0.37)).unwrap().sum_all().unwrap();
    let mut sum = loss(&outputs[0]);
    for y in &outputs[1..] {
        sum = (sum + loss(y)).unwrap();
    }
    let gradients = sum.backward().unwrap();
    let of = |tensor: &Tensor| gradients.get(tensor).map(flat);
    let all = std::iter::once(of(x)).chain(parameters.vars().iter().map(|var| of(var))).collect();
    (outputs.iter().map(flat).collect(), all)
}

/// Checks a network; one whose logits or gradients magnify small changes of its input ten times, as a norm over a few voxels
/// or a bend of the activation may, is passed over.
fn check(drawn: &Drawn, precision: Precision, bounds: [f64; 2]) -> Result<(), TestCaseError> {
    let parameters = Parameters::new(&drawn.spec, drawn.channels, drawn.classes, 0, &Device::Cpu).unwrap();
    fill(&parameters);
    let network = UNet::new(&drawn.spec, drawn.channels, drawn.classes, &parameters).unwrap();
    let network = network.with_precision(precision);
    let [z, y, x] = drawn.size;
    let input = Var::from_tensor(&wave(&[2, drawn.channels, z, y, x], 0.9)).unwrap();
    let (logits, gradients) = results(&network.forward_deep(&input).unwrap(), &input, &parameters);
    let layers = network.forward_layers(&input, &parameters).unwrap();
    let (expected_logits, expected) = results(&layers, &input, &parameters);
    let nudge = ((wave(input.dims(), 0.53) * 1e-5).unwrap() + 1.0).unwrap();
    let nudged = Var::from_tensor(&(input.as_tensor() * nudge).unwrap()).unwrap();
    let layers = network.forward_layers(&nudged, &parameters).unwrap();
    let (nudged_logits, nudged) = results(&layers, &nudged, &parameters);
    for (nudged, expected) in nudged_logits.iter().zip(&expected_logits) {
        prop_assume!(relative(nudged, expected, 1e-6) < 1e-4);
    }
    for (found, expected) in logits.iter().zip(&expected_logits) {
        let apart = relative(found, expected, 1e-6);
        assert!(apart < bounds[0], "logits: {apart:e}");
    }
    // A gradient that is zero but for rounding, like that of a bias before a norm, is small beside the largest.
    let length = |v: &Vec<f32>| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let largest = expected.iter().flatten().map(length).fold(0.0, f64::max);
    for (nudged, expected) in nudged.iter().flatten().zip(expected.iter().flatten()) {
        prop_assume!(relative(nudged, expected, 5e-2 * largest) < 1e-4);
    }
    let names = std::iter::once("input").chain(parameters.names().iter().map(String::as_str));
    for ((found, expected), name) in gradients.iter().zip(&expected).zip(names) {
        let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
        let apart = relative(found, expected, 5e-2 * largest);
        assert!(apart < bounds[1], "{name}: {apart:e}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        max_global_rejects: 4096,
        ..ProptestConfig::with_cases(32)
    })]

    #[test]
    fn any_network(drawn in drawn()) {
        // Where a leaky ReLU bends, rounding decides which slope a gradient gets: a few values may differ. Without bend, none.
        check(&drawn, Precision::F32, [5e-5, 0.1])?;
        let mut straight = drawn;
        straight.spec.negative_slope = None;
        check(&straight, Precision::F32, [5e-5, 2e-4])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(3),
        max_global_rejects: 4096,
        ..ProptestConfig::with_cases(16)
    })]

    #[test]
    fn products_in_bf16_move_logits_and_gradients_by_a_few_hundredths(drawn in drawn()) {
        // A number of bf16 is right to 2^-9 of itself; a network of up to a dozen layers in a row adds that up. Norms over a few
        // voxels magnify it, so there are none here.
        let mut straight = drawn;
        straight.spec.negative_slope = None;
        straight.spec.norm = None;
        check(&straight, Precision::Bf16, [2e-2, 3e-2])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2),
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn activations_that_are_made_again_give_the_same_bits(drawn in drawn(), bf16 in any::<bool>(), more in 0usize..4) {
        let mut drawn = drawn;
        // Longer stages than the networks have that are planned.
        drawn.spec.encoder_convs[0] += more;
        drawn.spec.decoder_convs[0] += more / 2;
        let parameters = Parameters::new(&drawn.spec, drawn.channels, drawn.classes, 0, &Device::Cpu).unwrap();
        fill(&parameters);
        let network = UNet::new(&drawn.spec, drawn.channels, drawn.classes, &parameters).unwrap();
        let network = network.with_precision(if bf16 { Precision::Bf16 } else { Precision::F32 });
        let [z, y, x] = drawn.size;
        let input = Var::from_tensor(&wave(&[2, drawn.channels, z, y, x], 0.9)).unwrap();
        let kept = network.forward_deep(&input).unwrap();
        let expected = results(&kept, &input, &parameters);
        let network = network.with_recomputation(true);
        let again = network.forward_deep(&input).unwrap();
        let bits = |(logits, gradients): &(Vec<Vec<f32>>, Vec<Option<Vec<f32>>>)| {
            let all = logits.iter().chain(gradients.iter().flatten());
            all.map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&results(&again, &input, &parameters)), bits(&expected));
        // Once more, when the first gradients have used up what was kept.
        prop_assert_eq!(bits(&results(&again, &input, &parameters)), bits(&expected));
        prop_assert_eq!(bits(&results(&kept, &input, &parameters)), bits(&expected));
    }
}

#[test]
fn a_head_without_part_in_the_loss_has_no_gradient() {
    let spec = common::small(nnunet_plan::NetworkKind::PlainConvUNet, 3);
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu).unwrap();
    fill(&parameters);
    let network = UNet::new(&spec, 1, 2, &parameters).unwrap();
    let outputs = network.forward_deep(&wave(&[1, 1, 4, 8, 8], 0.9)).unwrap();
    let gradients = outputs[0].sum_all().unwrap().backward().unwrap();
    for (name, var) in parameters.names().iter().zip(parameters.vars()) {
        let expected = !name.starts_with("decoder.seg_layers.0");
        assert_eq!(gradients.get(var).is_some(), expected, "{name}");
    }
}
