//! The loss against worked numbers, against the reference, and its gradient against differences.

use candle_core::{Device, Tensor, Var};
use nnunet_train::{
    DeepLoss, LossRules, Targets, TrainError, deep_supervision_weights, segmentation_loss,
    segmentation_loss_value,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    shape: [usize; 4],
    regions: Vec<Vec<i16>>,
    ignore: i16,
    losses: Vec<LossCase>,
}

#[derive(Deserialize)]
struct LossCase {
    name: String,
    regions: bool,
    ignore: bool,
    batch_dice: bool,
    channels: usize,
    labels: Vec<i16>,
    logits: Vec<f32>,
    value: f64,
    gradient: Vec<f32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/losses.json")).unwrap()
}

fn rules(golden: &Golden, case: &LossCase) -> LossRules {
    let ignore = case.ignore.then_some(golden.ignore);
    if case.regions {
        LossRules::regions(&golden.regions, ignore, case.batch_dice)
    } else {
        LossRules::labels(case.channels, ignore, case.batch_dice)
    }
}

/// Channel-first maps of 2x2 voxels as channels-last logits `(batch, 1, 2, 2, channels)`.
fn logits(samples: &[&[[f32; 4]]]) -> Var {
    let channels = samples[0].len();
    let values: Vec<f32> = samples
        .iter()
        .flat_map(|sample| (0..4).flat_map(|voxel| sample.iter().map(move |channel| channel[voxel])))
        .collect();
    let tensor = Tensor::from_vec(values, (samples.len(), 1, 2, 2, channels), &Device::Cpu).unwrap();
    Var::from_tensor(&tensor).unwrap()
}

const FIRST: [[f32; 4]; 3] = [[1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 3.0]];
const SECOND: [[f32; 4]; 3] = [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]];

fn two_samples() -> Targets {
    Targets::new([2, 1, 2, 2], vec![0, 0, 1, 2, 1, 2, 0, 1]).unwrap()
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
}

#[test]
fn labels_agree_with_the_worked_numbers() {
    let logits = logits(&[&FIRST, &SECOND]);
    for (batch_dice, expected) in [(false, -0.125_739_7), (true, -0.118_537_2)] {
        let rules = LossRules::labels(3, None, batch_dice);
        assert_close(segmentation_loss(&logits, &two_samples(), &rules, 1.0).unwrap().1, expected);
        assert_close(segmentation_loss_value(&logits, &two_samples(), &rules).unwrap(), expected);
    }
}

#[test]
fn ignored_voxels_count_in_neither_term() {
    let logits = logits(&[&FIRST[..2], &SECOND[..2]]);
    for (batch_dice, expected) in [(false, -0.231_756_5), (true, -0.221_564_6)] {
        let rules = LossRules::labels(2, Some(2), batch_dice);
        assert_close(segmentation_loss_value(&logits, &two_samples(), &rules).unwrap(), expected);
    }
}

#[test]
fn regions_agree_with_the_worked_numbers() {
    let logits = logits(&[&FIRST[..2]]);
    // Region 0 holds labels 1 and 2, region 1 holds label 2.
    let regions = [vec![1, 2], vec![2]];
    let targets = |labels: [i16; 4]| Targets::new([1, 1, 2, 2], labels.to_vec()).unwrap();
    let value = |ignore, labels| {
        segmentation_loss_value(&logits, &targets(labels), &LossRules::regions(&regions, ignore, false))
            .unwrap()
    };
    assert_close(value(None, [1, 0, 2, 1]), 0.429_615_7);
    assert_close(value(Some(3), [1, 0, 2, 3]), 1.049_822_1);
    assert_close(value(Some(3), [1, 0, 2, 1]), 1.373_867_3);
}

#[test]
fn a_batch_without_a_valid_voxel_has_no_entropy_and_no_gradient() {
    let logits = logits(&[&FIRST[..2]]);
    let targets = Targets::new([1, 1, 2, 2], vec![2; 4]).unwrap();
    let (loss, value) =
        segmentation_loss(&logits, &targets, &LossRules::labels(2, Some(2), false), 1.0).unwrap();
    assert_close(value, -1.0);
    let gradients = loss.backward().unwrap();
    let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [0.0; 8]);
}

/// Values within 2e-6, gradients within 1e-6: f32 sums in the reference, f64 sums here.
#[test]
fn values_and_gradients_agree_with_the_reference() {
    let golden = golden();
    assert_eq!(golden.losses.len(), 8);
    for case in &golden.losses {
        let [b, z, y, x] = golden.shape;
        let logits = Tensor::from_slice(&case.logits, (b, z, y, x, case.channels), &Device::Cpu).unwrap();
        let logits = Var::from_tensor(&logits).unwrap();
        let targets = Targets::new(golden.shape, case.labels.clone()).unwrap();
        let (loss, value) = segmentation_loss(&logits, &targets, &rules(&golden, case), 1.0).unwrap();
        assert!((value - case.value).abs() < 2e-6, "{}: {value} instead of {}", case.name, case.value);
        assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - value).abs() < 1e-6);
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, (found, expected)) in gradient.iter().zip(&case.gradient).enumerate() {
            assert!((found - expected).abs() < 1e-6, "{}, {i}: {found} instead of {expected}", case.name);
        }
    }
}

#[test]
fn gradients_agree_with_differences() {
    let golden = golden();
    for case in &golden.losses {
        let [b, z, y, x] = golden.shape;
        let shape = (b, z, y, x, case.channels);
        let targets = Targets::new(golden.shape, case.labels.clone()).unwrap();
        let rules = rules(&golden, case);
        let value = |logits: &[f32]| {
            let logits = Tensor::from_slice(logits, shape, &Device::Cpu).unwrap();
            segmentation_loss_value(&logits, &targets, &rules).unwrap()
        };
        let logits =
            Var::from_tensor(&Tensor::from_slice(&case.logits, shape, &Device::Cpu).unwrap()).unwrap();
        let weight = 0.25;
        let (loss, _) = segmentation_loss(&logits, &targets, &rules, weight).unwrap();
        let gradients = (loss * 2.0).unwrap().backward().unwrap();
        let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in (0..case.logits.len()).step_by(5) {
            let (mut up, mut down) = (case.logits.clone(), case.logits.clone());
            up[i] += 1e-2;
            down[i] -= 1e-2;
            let slope = (value(&up) - value(&down)) / f64::from(up[i] - down[i]) * weight * 2.0;
            let found = f64::from(gradient[i]);
            assert!((found - slope).abs() < 2e-5, "{}, {i}: {found} instead of {slope}", case.name);
        }
    }
}

#[test]
fn many_voxels_are_summed_as_few_are() {
    // More than one chunk per sample: the loss of a repeated pattern is that of the pattern, but for the smoothing.
    let golden = golden();
    for case in golden.losses.iter().filter(|case| !case.batch_dice) {
        let (voxels, copies) = (golden.shape[1..].iter().product::<usize>(), 2000);
        let repeat = |sample: usize, channels: usize, from: &[f32]| {
            from[sample * voxels * channels..][..voxels * channels].repeat(copies)
        };
        let labels: Vec<i16> =
            (0..2).flat_map(|b| case.labels[b * voxels..][..voxels].repeat(copies)).collect();
        let logits: Vec<f32> = (0..2).flat_map(|b| repeat(b, case.channels, &case.logits)).collect();
        let shape = [2, copies, 1, voxels];
        let targets = Targets::new(shape, labels).unwrap();
        let logits = Tensor::from_vec(logits, (2, copies, 1, voxels, case.channels), &Device::Cpu).unwrap();
        let rules = rules(&golden, case);
        let value = segmentation_loss_value(&logits, &targets, &rules).unwrap();
        assert!((value - case.value).abs() < 1e-5, "{}: {value} instead of {}", case.name, case.value);
        assert_close(segmentation_loss(&logits, &targets, &rules, 1.0).unwrap().1, value);
    }
}

#[test]
fn weights_of_deep_supervision() {
    assert_eq!(deep_supervision_weights(1), [1.0]);
    assert_eq!(deep_supervision_weights(2), [1.0, 0.0]);
    for (found, expected) in deep_supervision_weights(3).iter().zip([2.0 / 3.0, 1.0 / 3.0, 0.0]) {
        assert_close(*found, expected);
    }
    let five = [0.533_333_3, 0.266_666_7, 0.133_333_3, 0.066_666_7, 0.0];
    for (found, expected) in deep_supervision_weights(5).iter().zip(five) {
        assert_close(*found, expected);
    }
}

#[test]
fn outputs_of_weight_zero_have_no_gradient() {
    let loss = DeepLoss::new(LossRules::labels(3, None, false), 3);
    assert_eq!(loss.targets_needed(), 2);
    let outputs: Vec<Var> = (0..3).map(|_| logits(&[&FIRST, &SECOND])).collect();
    let tensors: Vec<Tensor> = outputs.iter().map(|var| var.as_tensor().clone()).collect();
    let (tensor, value) = loss.loss(&tensors, &[two_samples(), two_samples()]).unwrap();
    assert_close(value, -0.125_739_7);
    assert_close(loss.value(&tensors, &[two_samples(), two_samples()]).unwrap(), value);
    let gradients = tensor.backward().unwrap();
    let sum = |var: &Var| {
        gradients.get(var).map(|g| g.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
    };
    let (first, second) = (sum(&outputs[0]).unwrap(), sum(&outputs[1]).unwrap());
    assert!(first > 0.0 && (first / second - 4.0).abs() < 1e-4, "twice the weight: {first} {second}");
    assert!(sum(&outputs[2]).is_none());
    assert!(loss.loss(&tensors, &[two_samples()]).is_err(), "one target is missing");
}

#[test]
fn wrong_shapes_and_labels_are_errors() {
    let logits = logits(&[&FIRST, &SECOND]);
    let rules = LossRules::labels(3, None, false);
    let few = Targets::new([1, 1, 2, 2], vec![0; 4]).unwrap();
    assert!(matches!(segmentation_loss(&logits, &few, &rules, 1.0), Err(TrainError::Shape { .. })));
    for label in [-1, 3] {
        let odd = Targets::new([2, 1, 2, 2], vec![0, 0, 0, 0, 0, 0, 0, label]).unwrap();
        let error = segmentation_loss(&logits, &odd, &rules, 1.0).unwrap_err().to_string();
        assert!(error.contains(&format!("label {label}")), "{error}");
    }
    assert!(Targets::new([1, 1, 2, 2], vec![0; 3]).is_err());
}
