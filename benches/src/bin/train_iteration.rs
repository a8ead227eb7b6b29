//! Training iterations without data loading.
//!
//! `cargo run --release -p nnunet-benches --bin train_iteration [ITERATIONS] [hippocampus|default]` prints seconds per iteration,
//! one a line: of the hippocampus configuration (batch 7, 40×56×40), or of the default 3-D network (batch 2, 128×128×128).
//!
//! In the environment: `THREADS`, `PRECISION` (`f32`, `bf16`), `RECOMPUTE=1` (activations are made again), `BATCH`, `SIZE`
//! (voxels along each axis).

use std::str::FromStr;
use std::time::Instant;

use candle_core::{Device, Tensor};
use nnunet::nn::{Parameters, Precision, UNet};
use nnunet::train::{DeepLoss, LossRules, Sgd, SgdConfig, Targets};
use nnunet_benches::{ALLOCATOR, Net, peak_memory};

fn main() -> anyhow::Result<()> {
    let argument = |n: usize| std::env::args().nth(n);
    let iterations = argument(1).map_or(Ok(3), |n| n.parse())?;
    let mut net = match argument(2).as_deref() {
        None | Some("hippocampus") => Net::hippocampus(),
        Some("default") => Net::full(),
        Some(other) => anyhow::bail!("no network {other:?}, expected hippocampus or default"),
    };
    if let Some(size) = variable("SIZE")? {
        net.patch = [size; 3];
    }
    net.batch = variable("BATCH")?.unwrap_or(net.batch);
    if let Some(threads) = variable("THREADS")? {
        nnunet::set_threads(threads)?;
    }
    let recompute = variable("RECOMPUTE")?.unwrap_or(0) != 0;
    if recompute {
        // As the program does.
        ALLOCATOR.set_limit(1 << 28);
    }
    let parameters = Parameters::new(&net.spec, 1, net.classes, 0, &Device::Cpu)?;
    let network = UNet::new(&net.spec, 1, net.classes, &parameters)?
        .with_precision(variable("PRECISION")?.unwrap_or(Precision::F32))
        .with_recomputation(recompute);
    iterate(&net, &parameters, &network, iterations)?;
    eprintln!("peak memory {} MB", peak_memory());
    Ok(())
}

/// What the environment says under a name.
fn variable<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
) -> anyhow::Result<Option<T>> {
    Ok(std::env::var(name).ok().map(|text| text.parse()).transpose()?)
}

fn iterate(net: &Net, parameters: &Parameters, network: &UNet, iterations: usize) -> anyhow::Result<()> {
    let heads = net.spec.features.len() - 1;
    let loss = DeepLoss::new(LossRules::labels(net.classes, None, false), heads);
    let named = parameters.names().iter().cloned().zip(parameters.vars().iter().cloned());
    let mut optimiser = Sgd::new(named.collect(), SgdConfig::default());
    let [z, y, x] = net.patch;
    let input = Tensor::randn(0f32, 1.0, (net.batch, 1, z, y, x), &Device::Cpu)?;
    let targets: Vec<Targets> = (0..heads)
        .map(|head| {
            let shape = [net.batch, z >> head, y >> head, x >> head];
            let labels = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % net.classes) as i16).collect();
            Targets::new(shape, labels)
        })
        .collect::<Result<_, _>>()?;
    for _ in 0..iterations {
        let begun = Instant::now();
        let outputs = network.forward_deep(&input)?;
        let forward = begun.elapsed();
        let (sum, value) = loss.loss(&outputs, &targets)?;
        drop(outputs);
        let gradients = sum.backward()?;
        let backward = begun.elapsed() - forward;
        let norm = optimiser.gradient_norm(&gradients)?;
        optimiser.step(&gradients, norm, 0.01)?;
        let total = begun.elapsed();
        eprintln!(
            "loss {value:.6}: forward {forward:.2?}, loss and backward {backward:.2?}, all {total:.2?}"
        );
        println!("{:.3}", total.as_secs_f64());
    }
    Ok(())
}
