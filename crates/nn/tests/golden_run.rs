//! Four steps of training, by the simplest loss and optimiser that can be written down, against PyTorch's.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{D, Device, Result, Tensor};
use common::{fill, small, wave};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::NetworkKind;

const LEARNING_RATE: f64 = 0.01;
const MOMENTUM: f64 = 0.99;
const WEIGHT_DECAY: f64 = 3e-5;

/// 1 where 7 times the index is a multiple of 5.
fn target() -> Tensor {
    let values: Vec<f32> = (0..128).map(|i| if 7 * i % 5 == 0 { 1.0 } else { 0.0 }).collect();
    assert_eq!(values.iter().sum::<f32>(), 26.0);
    Tensor::from_vec(values, (2, 1, 8, 8), &Device::Cpu).unwrap()
}

/// Cross-entropy plus negative soft Dice of the foreground, over the batch as a whole.
fn loss(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let exponents = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let p = exponents.broadcast_div(&exponents.sum_keepdim(D::Minus1)?)?;
    let (background, foreground) = (p.narrow(4, 0, 1)?.squeeze(4)?, p.narrow(4, 1, 1)?.squeeze(4)?);
    let right = ((&background * (1.0 - target)?)? + (&foreground * target)?)?;
    let entropy = right.log()?.mean_all()?.neg()?;
    let overlap = ((&foreground * target)?.sum_all()? * 2.0)?;
    let sizes = (foreground.sum_all()? + target.sum_all()?)?;
    entropy - ((overlap + 1e-5)? / (sizes + 1e-5)?)?
}

fn norm(parameters: &Parameters, gradients: &GradStore) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in parameters.vars().iter().filter_map(|var| gradients.get(var)) {
        sum += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(sum.sqrt())
}

/// Nesterov's momentum as PyTorch has it; weights without gradient stay as they are.
fn step(parameters: &Parameters, gradients: &GradStore, momentum: &mut [Option<Tensor>]) -> Result<()> {
    for (var, buffer) in parameters.vars().iter().zip(momentum) {
        let Some(gradient) = gradients.get(var) else { continue };
        let gradient = (gradient + (var.as_detached_tensor() * WEIGHT_DECAY)?)?;
        let next = match buffer.take() {
            Some(old) => ((old * MOMENTUM)? + &gradient)?,
            None => gradient.clone(),
        };
        let change = ((gradient + (&next * MOMENTUM)?)? * LEARNING_RATE)?;
        var.set(&(var.as_detached_tensor() - change)?)?;
        *buffer = Some(next.detach());
    }
    Ok(())
}

/// Losses and norms within 1e-6, weights within 1e-6.
#[test]
fn four_steps_of_training_are_pytorchs() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let spec = small(NetworkKind::PlainConvUNet, 2);
    let parameters = Parameters::new(&spec, 1, 2, 0, &Device::Cpu)?;
    fill(&parameters);
    let network = UNet::new(&spec, 1, 2, &parameters)?;
    let (input, target) = (wave((2, 1, 1, 8, 8)), target());
    let mut momentum = vec![None; parameters.vars().len()];
    let mut worst = 0f64;
    let expected = [
        (0.355_763_7, 0.265_839_5),
        (0.354_365_3, 0.262_850_9),
        (0.352_322_9, 0.258_439_2),
        (0.349_691_2, 0.252_649_8),
    ];
    for (number, (expected_loss, expected_norm)) in expected.into_iter().enumerate() {
        // The second head has weight 0 and gets no gradient.
        let value = loss(&network.forward_deep(&input)?[0], &target)?;
        let gradients = value.backward()?;
        let found = (f64::from(value.to_scalar::<f32>()?), norm(&parameters, &gradients)?);
        let error = (found.0 - expected_loss).abs().max((found.1 - expected_norm).abs());
        worst = worst.max(error);
        assert!(error < 1e-6, "step {number}: {found:?} instead of {expected_loss}, {expected_norm}");
        step(&parameters, &gradients, &mut momentum)?;
    }
    println!("losses and norms within {worst:.1e}");
    for (name, expected) in [
        ("encoder.stages.0.0.convs.0.conv.weight", &[-1.863e-5, 0.321_518_9, 0.491_981_6][..]),
        ("decoder.seg_layers.1.bias", &[0.524_777_5, 0.368_999_5]),
        ("decoder.seg_layers.0.bias", &[0.401_892_2, 0.499_013_3]),
    ] {
        let found: Vec<f32> = parameters.get(name).unwrap().flatten_all()?.to_vec1()?;
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} instead of {expected}");
        }
    }
    assert_eq!(momentum.iter().flatten().count(), 46);
    Ok(())
}
