//! The candle operations: values and gradients of PyTorch 2.15, and agreement of fused and separate forms.
//!
//! `tests/golden/make.py` writes the values. Tolerance: 2e-5 absolute.

use candle_core::{Device, Tensor, Var};
use nnunet_nn::{ConvGeometry, conv, conv_norm_act, conv_transpose, instance_norm_leaky_relu, up_concat};
use serde_json::Value;

/// Value j of tensor k, as the script fills it.
fn fill(k: usize, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|j: usize| (0.7 * j as f64 + 1.3 * k as f64).sin() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn variable(k: usize, shape: &[usize]) -> Var {
    Var::from_tensor(&fill(k, shape)).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// (b, c, z, y, x) as the script has it, made channels-last.
fn input(k: usize, shape: [usize; 5]) -> Var {
    Var::from_tensor(&fill(k, &shape).permute((0, 2, 3, 4, 1)).unwrap().contiguous().unwrap()).unwrap()
}

fn channels_first(tensor: &Tensor) -> Vec<f32> {
    flat(&tensor.permute((0, 4, 1, 2, 3)).unwrap())
}

fn golden(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/operations.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[name].clone()
}

fn close(found: &[f32], expected: &Value, what: &str) {
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}[{i}]: {a} instead of {b}");
    }
}

/// Gradient of `Σ y · weights` where the weights are tensor 9 in the script's layout.
fn backward(y: &Tensor) -> candle_core::backprop::GradStore {
    let (b, z, yy, x, c) = y.dims5().unwrap();
    let weights = fill(9, &[b, c, z, yy, x]).permute((0, 2, 3, 4, 1)).unwrap().contiguous().unwrap();
    (y * weights).unwrap().sum_all().unwrap().backward().unwrap()
}

#[test]
fn convolutions_have_pytorchs_values_and_gradients() {
    for (name, kernel, stride) in [
        ("conv", [3, 3, 3], [1, 1, 1]),
        ("conv_strided", [3, 3, 3], [2, 2, 2]),
        ("conv_flat", [1, 3, 3], [1, 2, 2]),
    ] {
        let golden = golden(name);
        let x = input(0, [2, 3, 4, 5, 6]);
        let w = variable(1, &[4, 3, kernel[0], kernel[1], kernel[2]]);
        let b = variable(2, &[4]);
        let y = conv(&x, &w, Some(&b), &ConvGeometry::same(kernel, stride)).unwrap();
        close(&channels_first(&y), &golden["y"], name);
        let gradients = backward(&y);
        close(&channels_first(gradients.get(&x).unwrap()), &golden["dx"], "dx");
        close(&flat(gradients.get(&w).unwrap()), &golden["dw"], "dw");
        close(&flat(gradients.get(&b).unwrap()), &golden["db"], "db");
    }
}

#[test]
fn the_fused_unit_has_pytorchs_values_and_gradients() {
    let golden = golden("unit");
    let x = input(0, [2, 3, 4, 5, 6]);
    let (w, b) = (variable(1, &[4, 3, 3, 3, 3]), variable(2, &[4]));
    let (gamma, beta) = (variable(3, &[4]), variable(4, &[4]));
    let g = ConvGeometry::same([3; 3], [1; 3]);
    let y = conv_norm_act(&x, &w, Some(&b), Some(&gamma), Some(&beta), &g, 1e-5, Some(0.01)).unwrap();
    close(&channels_first(&y), &golden["y"], "unit");
    let gradients = backward(&y);
    close(&channels_first(gradients.get(&x).unwrap()), &golden["dx"], "dx");
    close(&flat(gradients.get(&w).unwrap()), &golden["dw"], "dw");
    close(&flat(gradients.get(&gamma).unwrap()), &golden["dgamma"], "dgamma");
    close(&flat(gradients.get(&beta).unwrap()), &golden["dbeta"], "dbeta");
    // The separate operations say the same.
    let z = conv(&x, &w, Some(&b), &g).unwrap();
    let z = instance_norm_leaky_relu(&z, Some(&gamma), Some(&beta), 1e-5, Some(0.01)).unwrap();
    close(&channels_first(&z), &golden["y"], "separate");
    close(&channels_first(backward(&z).get(&x).unwrap()), &golden["dx"], "dx, separate");
}

#[test]
fn transposed_convolution_and_concatenation_have_pytorchs_values_and_gradients() {
    let golden = golden("up");
    let low = input(0, [2, 3, 2, 3, 2]);
    let skip = input(5, [2, 2, 2, 6, 4]);
    let (w, b) = (variable(1, &[3, 4, 1, 2, 2]), variable(2, &[4]));
    let y = up_concat(&low, &skip, &w, Some(&b)).unwrap();
    close(&channels_first(&y), &golden["y"], "y");
    let gradients = backward(&y);
    close(&channels_first(gradients.get(&low).unwrap()), &golden["dlow"], "dlow");
    close(&channels_first(gradients.get(&skip).unwrap()), &golden["dskip"], "dskip");
    close(&flat(gradients.get(&w).unwrap()), &golden["dw"], "dw");
    close(&flat(gradients.get(&b).unwrap()), &golden["db"], "db");
    let up = conv_transpose(&low, &w, Some(&b)).unwrap();
    assert_eq!(flat(&up), flat(&y.narrow(4, 0, 4).unwrap()));
}

#[test]
fn the_image_gets_no_gradient() {
    let x = fill(0, &[1, 4, 4, 4, 2]);
    let w = variable(1, &[3, 2, 3, 3, 3]);
    let y = conv(&x, &w, None, &ConvGeometry::same([3; 3], [1; 3])).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&w).is_some());
    assert!(gradients.get(&x).is_none());
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let g = ConvGeometry::same([3; 3], [1; 3]);
    let x = fill(0, &[1, 4, 4, 4, 2]);
    let other = fill(1, &[3, 5, 3, 3, 3]);
    let error = conv(&x, &other, None, &g).unwrap_err().to_string();
    assert!(error.contains("[3, 5, 3, 3, 3]"), "{error}");
    let kernel = fill(1, &[3, 2, 1, 1, 1]);
    assert!(conv(&x, &kernel, None, &g).is_err());
    let bias = fill(2, &[7]);
    assert!(conv(&x, &fill(1, &[3, 2, 3, 3, 3]), Some(&bias), &g).is_err());
    assert!(conv(&fill(0, &[4, 4, 4, 2]), &fill(1, &[3, 2, 3, 3, 3]), None, &g).is_err());
    let up = fill(1, &[2, 3, 2, 2, 2]);
    let error = up_concat(&x, &fill(3, &[1, 4, 4, 4, 2]), &up, None).unwrap_err().to_string();
    assert!(error.contains("[8, 8, 8]"), "{error}");
}
