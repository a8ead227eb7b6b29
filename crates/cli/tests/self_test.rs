//! The self-test of devices.

mod common;

use common::{Sandbox, text};

#[test]
fn every_operation_of_the_cpu_agrees_with_the_reference() {
    let sandbox = Sandbox::empty();
    let table = sandbox.succeed(&["self-test", "--device", "cpu"]);
    for operation in [
        "conv 3x3x3 /1x1x1 forward",
        "conv 3x3x3 /2x2x2 backward data",
        "conv 1x3x3 /1x2x2 backward weights",
        "transposed conv 1x2x2 backward data",
        "instance norm + leaky ReLU backward",
        "Dice + CE with gradient",
        "Dice + BCE with gradient",
        "SGD, two clipped steps",
        "Gaussian blending + argmax",
        "3-D residual encoder U-Net training step",
    ] {
        let line = table.lines().find(|line| line.starts_with(operation));
        let line = line.unwrap_or_else(|| panic!("no {operation}: {table}"));
        assert!(line.ends_with("ok"), "{line}");
        assert!(line.contains("GFLOP/s") || line.contains("GB/s"), "{line}");
    }
    assert!(table.lines().last().unwrap().starts_with("all "), "{table}");
}

#[test]
fn devices_that_are_unknown_or_not_supported_are_refused() {
    let sandbox = Sandbox::empty();
    let error = sandbox.fail(&["self-test", "--device", "gpu"]);
    assert!(error.contains("--device gpu") && error.contains("cuda:N"), "{error}");
    let output = sandbox.run(&["self-test", "--device", "cuda:0"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cuda:0") && said.contains("--device cpu"), "{said}");
}
