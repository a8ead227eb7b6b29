//! Training iterations of the hippocampus configuration (batch 7, 40×56×40, `PlainConvUNet`), without data loading.
//!
//! `cargo run --release -p nnunet-benches --bin train_iteration [ITERATIONS]` prints seconds per iteration, one a line.

use std::time::Instant;

use candle_core::{Device, Tensor};
use nnunet::nn::{Parameters, UNet};
use nnunet::plan::{NetworkKind, NetworkSpec, NormSpec};
use nnunet::train::{DeepLoss, LossRules, Sgd, SgdConfig, Targets};

const BATCH: usize = 7;
const PATCH: [usize; 3] = [40, 56, 40];

fn main() -> anyhow::Result<()> {
    let iterations: usize = std::env::args().nth(1).map_or(Ok(3), |n| n.parse())?;
    let stages = 4;
    let spec = NetworkSpec {
        kind: NetworkKind::PlainConvUNet,
        dims: 3,
        features: vec![32, 64, 128, 256],
        kernel_sizes: vec![[3; 3]; stages],
        strides: (0..stages).map(|i| [if i == 0 { 1 } else { 2 }; 3]).collect(),
        encoder_convs: vec![2; stages],
        decoder_convs: vec![2; stages - 1],
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
    };
    let parameters = Parameters::new(&spec, 1, 3, 0, &Device::Cpu)?;
    let network = UNet::new(&spec, 1, 3, &parameters)?;
    let loss = DeepLoss::new(LossRules::labels(3, None, false), stages - 1);
    let named = parameters.names().iter().cloned().zip(parameters.vars().iter().cloned());
    let mut optimiser = Sgd::new(named.collect(), SgdConfig::default());
    let [z, y, x] = PATCH;
    let input = Tensor::randn(0f32, 1.0, (BATCH, 1, z, y, x), &Device::Cpu)?;
    let targets: Vec<Targets> = [1, 2, 4]
        .iter()
        .map(|s| {
            let shape = [BATCH, z / s, y / s, x / s];
            let labels = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 3) as i16).collect();
            Targets::new(shape, labels)
        })
        .collect::<Result<_, _>>()?;
    for _ in 0..iterations {
        let begun = Instant::now();
        let outputs = network.forward_deep(&input)?;
        let forward = begun.elapsed();
        let (sum, value) = loss.loss(&outputs, &targets)?;
        let gradients = sum.backward()?;
        let backward = begun.elapsed() - forward;
        let norm = optimiser.gradient_norm(&gradients)?;
        optimiser.step(&gradients, norm, 0.01)?;
        let total = begun.elapsed();
        eprintln!(
            "loss {value:.4}: forward {forward:.2?}, loss and backward {backward:.2?}, all {total:.2?}"
        );
        println!("{:.3}", total.as_secs_f64());
    }
    Ok(())
}
