//! Losses and optimisers of the trainer variants against nnU-Net and PyTorch (`golden/make_variants.py`).

use candle_core::{DType, Device, Tensor, Var};
use nnunet_train::{
    Adam, AdamConfig, EntropyTerm, LossRules, LossTerms, Targets, segmentation_loss, segmentation_loss_value,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    shape: [usize; 4],
    regions: Vec<Vec<i16>>,
    ignore: i16,
    losses: Vec<LossCase>,
    optimisers: Vec<OptimiserCase>,
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

#[derive(Deserialize)]
struct OptimiserCase {
    name: String,
    start: Vec<Vec<f32>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    gradients: Vec<Vec<f32>>,
    norm: f64,
    weights: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/variants.json")).unwrap()
}

fn terms(name: &str) -> LossTerms {
    match name {
        "ce" => LossTerms::CE,
        "dice" => LossTerms::DICE,
        "no_smooth" => LossTerms::DICE_CE_NO_SMOOTH,
        "top_k" => LossTerms::TOP_K_10,
        "top_k_smoothed" => LossTerms::TOP_K_10_SMOOTHED,
        "dice_top_k" => LossTerms::DICE_TOP_K_10,
        "dice_focal" => LossTerms::DICE_FOCAL,
        other => panic!("unknown loss {other}"),
    }
}

/// Values within 2e-6, gradients within 1e-6: f32 sums in the reference, f64 sums here.
#[test]
fn losses_agree_with_the_reference() {
    let golden = golden();
    let names: std::collections::BTreeSet<_> = golden.losses.iter().map(|case| case.name.as_str()).collect();
    assert_eq!((names.len(), golden.losses.len()), (7, 26));
    for case in &golden.losses {
        let [b, z, y, x] = golden.shape;
        let logits = Tensor::from_slice(&case.logits, (b, z, y, x, case.channels), &Device::Cpu).unwrap();
        let logits = Var::from_tensor(&logits).unwrap();
        let targets = Targets::new(golden.shape, case.labels.clone()).unwrap();
        let ignore = case.ignore.then_some(golden.ignore);
        let rules = if case.regions {
            LossRules::regions(&golden.regions, ignore, case.batch_dice)
        } else {
            LossRules::labels(case.channels, ignore, case.batch_dice)
        };
        let rules = rules.with_terms(terms(&case.name));
        let what = format!("{}, ignore {}, batch {}", case.name, case.ignore, case.batch_dice);
        let (loss, value) = segmentation_loss(&logits, &targets, &rules, 1.0).unwrap();
        assert!((value - case.value).abs() < 2e-6, "{what}: {value} instead of {}", case.value);
        assert_eq!(segmentation_loss_value(&logits, &targets, &rules).unwrap(), value, "{what}");
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, (found, expected)) in gradient.iter().zip(&case.gradient).enumerate() {
            assert!((found - expected).abs() < 1e-6, "{what}, {i}: {found} instead of {expected}");
        }
    }
}

#[test]
fn terms_without_meaning_and_terms_that_regions_do_not_have_are_refused() {
    let logits = Tensor::zeros((1, 1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    let targets = Targets::new([1, 1, 1, 2], vec![0, 1]).unwrap();
    let plain = EntropyTerm::PLAIN;
    let entropy = |term| LossTerms { dice: None, entropy: Some(term) };
    let broken = [
        LossTerms { dice: None, entropy: None },
        LossTerms { dice: Some(-1.0), entropy: None },
        entropy(EntropyTerm { label_smoothing: 1.0, ..plain }),
        entropy(EntropyTerm { focal_gamma: 0.5, ..plain }),
        entropy(EntropyTerm { top: Some(0.0), ..plain }),
    ];
    for terms in broken {
        let rules = LossRules::labels(2, None, false).with_terms(terms);
        let error = segmentation_loss_value(&logits, &targets, &rules).unwrap_err().to_string();
        assert!(error.contains("option loss"), "{error}");
    }
    let regions = LossRules::regions(&[vec![1], vec![1]], None, false).with_terms(LossTerms::TOP_K_10);
    let error = segmentation_loss_value(&logits, &targets, &regions).unwrap_err().to_string();
    assert!(error.contains("regions"), "{error}");
}

/// The gradient of `sum(weights * gradients)` is `gradients`.
fn slope(vars: &[Var], gradients: &[Vec<f32>]) -> candle_core::backprop::GradStore {
    let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
    for (var, gradient) in vars.iter().zip(gradients) {
        let gradient = Tensor::from_slice(gradient, gradient.len(), &Device::Cpu).unwrap();
        sum = (sum + (var.as_tensor() * gradient).unwrap().sum_all().unwrap()).unwrap();
    }
    sum.backward().unwrap()
}

fn optimiser(case: &OptimiserCase, vars: &[Var]) -> (Adam, f64) {
    let plain = AdamConfig { weight_decay: 3e-2, ..AdamConfig::default() };
    let (config, lr) = match case.name.as_str() {
        "adamw_amsgrad" => (AdamConfig { amsgrad: true, decoupled: true, ..plain }, 1e-2),
        "adam" => (plain, 1e-2),
        _ => (AdamConfig { betas: [0.9, 0.98], decoupled: true, weight_decay: 0.05, ..plain }, 3e-4),
    };
    let named = vars.iter().enumerate().map(|(i, var)| (format!("p{i}"), var.clone())).collect();
    (Adam::new(named, config), lr)
}

fn values(var: &Var) -> Vec<f32> {
    var.to_vec1().unwrap()
}

fn start(case: &OptimiserCase) -> Vec<Var> {
    case.start.iter().map(|values| Var::new(values.as_slice(), &Device::Cpu).unwrap()).collect()
}

/// Within 1e-6: the same operations in f32.
#[test]
fn adam_steps_agree_with_pytorch() {
    let golden = golden();
    assert_eq!(golden.optimisers.len(), 3);
    for case in &golden.optimisers {
        let vars = start(case);
        let (mut adam, lr) = optimiser(case, &vars);
        for (number, step) in case.steps.iter().enumerate() {
            let gradients = slope(&vars, &step.gradients);
            let norm = adam.gradient_norm(&gradients).unwrap();
            assert!((norm / step.norm - 1.0).abs() < 1e-6, "{norm} instead of {}", step.norm);
            adam.step(&gradients, norm, lr).unwrap();
            for (var, expected) in vars.iter().zip(&step.weights) {
                for (found, expected) in values(var).iter().zip(expected) {
                    let what = &case.name;
                    assert!((found - expected).abs() < 1e-6, "{what} {number}: {found} not {expected}");
                }
            }
        }
        assert_eq!(values(&vars[2]), case.start[2], "no gradient: neither step nor decay");
    }
}

#[test]
fn state_of_adam_that_is_handed_over_continues_bit_for_bit() {
    for case in &golden().optimisers {
        let run = |interrupted: bool| {
            let mut vars = start(case);
            let (mut adam, lr) = optimiser(case, &vars);
            for (number, step) in case.steps.iter().enumerate() {
                if interrupted && number == 2 {
                    let (steps, state) = (adam.steps(), adam.state().unwrap());
                    vars = vars.iter().map(|v| Var::new(values(v), &Device::Cpu).unwrap()).collect();
                    adam = optimiser(case, &vars).0;
                    adam.set_steps(steps);
                    for (name, value) in &state {
                        assert!(adam.set_state(name, value).unwrap());
                    }
                    assert!(!adam.set_state("momentum.p0", &state[0].1).unwrap());
                    assert!(adam.set_state("exp_avg.elsewhere", &state[0].1).is_err());
                }
                let gradients = slope(&vars, &step.gradients);
                let norm = adam.gradient_norm(&gradients).unwrap();
                adam.step(&gradients, norm, lr).unwrap();
            }
            vars.iter().map(values).collect::<Vec<_>>()
        };
        assert_eq!(run(false), run(true));
    }
}
