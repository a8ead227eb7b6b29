//! The optimiser against PyTorch.

use candle_core::{Device, Tensor, Var};
use nnunet_train::{Sgd, SgdConfig};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    sgd: SgdCase,
}

#[derive(Deserialize)]
struct SgdCase {
    start: Vec<Vec<f32>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    gradients: Vec<Vec<f32>>,
    norm: f64,
    weights: Vec<Vec<f32>>,
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec1().unwrap()
}

/// The gradient of `sum(weights * gradients)` is `gradients`.
fn slope(vars: &[Var], gradients: &[Vec<f32>]) -> candle_core::backprop::GradStore {
    let mut sum = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
    for (var, gradient) in vars.iter().zip(gradients) {
        let gradient = Tensor::from_slice(gradient, gradient.len(), &Device::Cpu).unwrap();
        sum = (sum + (var.as_tensor() * gradient).unwrap().sum_all().unwrap()).unwrap();
    }
    sum.backward().unwrap()
}

fn optimiser(vars: &[Var]) -> Sgd {
    let named = vars.iter().enumerate().map(|(i, var)| (format!("p{i}"), var.clone())).collect();
    Sgd::new(named, SgdConfig::default())
}

fn start(case: &SgdCase) -> Vec<Var> {
    case.start.iter().map(|values| Var::new(values.as_slice(), &Device::Cpu).unwrap()).collect()
}

/// Within 1e-6: the same operations in f32.
#[test]
fn steps_agree_with_pytorch() {
    let Golden { sgd: case } = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    let vars = start(&case);
    let mut sgd = optimiser(&vars);
    assert!(case.steps.iter().any(|s| s.norm > 12.0) && case.steps.iter().any(|s| s.norm < 12.0));
    for step in &case.steps {
        let gradients = slope(&vars, &step.gradients);
        let norm = sgd.gradient_norm(&gradients).unwrap();
        assert!((norm / step.norm - 1.0).abs() < 1e-6, "{norm} instead of {}", step.norm);
        sgd.step(&gradients, norm, 0.01).unwrap();
        for (var, expected) in vars.iter().zip(&step.weights) {
            for (found, expected) in values(var).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
            }
        }
    }
    assert_eq!(values(&vars[2]), case.start[2], "no gradient: neither step nor decay");
    assert_eq!(sgd.momentum().unwrap().iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["p0", "p1"]);
}

#[test]
fn momentum_that_is_handed_over_continues_bit_for_bit() {
    let Golden { sgd: case } = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    let run = |interrupted: bool| {
        let mut vars = start(&case);
        let mut sgd = optimiser(&vars);
        for (number, step) in case.steps.iter().enumerate() {
            if interrupted && number == 2 {
                vars = vars
                    .iter()
                    .map(|v| Var::from_tensor(&v.as_detached_tensor().copy().unwrap()).unwrap())
                    .collect();
                let momentum = sgd.momentum().unwrap();
                sgd = optimiser(&vars);
                for (name, value) in &momentum {
                    sgd.set_momentum(name, value).unwrap();
                }
            }
            let gradients = slope(&vars, &step.gradients);
            let norm = sgd.gradient_norm(&gradients).unwrap();
            sgd.step(&gradients, norm, 0.01).unwrap();
        }
        vars.iter().map(|v| values(v)).collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn foreign_momentum_is_refused() {
    let vars = vec![Var::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap()];
    let mut sgd = optimiser(&vars);
    let two = Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap();
    assert!(sgd.set_momentum("elsewhere", &two).unwrap_err().to_string().contains("elsewhere"));
    let three = Tensor::new(&[1.0_f32, 2.0, 3.0], &Device::Cpu).unwrap();
    assert!(sgd.set_momentum("p0", &three).is_err());
}
