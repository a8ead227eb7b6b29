//! Convolution layers of the hippocampus network: forward, gradient of the input, gradient of the weights.
//!
//! `cargo run --release -p nnunet-benches --bin conv_layers [THREADS]`
//!
//! Prints GFLOP/s, counted as the direct method's operations, so that tiled layers may exceed the processor's peak.

use std::time::Instant;

use nnunet::nn::kernels::{
    ConvGeometry, Dims, conv_backward_data, conv_backward_weights, conv_forward, norm_act_backward,
    norm_act_forward,
};

/// Resolution, input channels, output channels, stride.
const LAYERS: [([usize; 3], usize, usize, usize); 9] = [
    ([40, 56, 40], 1, 32, 1),
    ([40, 56, 40], 32, 32, 1),
    ([40, 56, 40], 64, 32, 1),
    ([40, 56, 40], 32, 64, 2),
    ([20, 28, 20], 64, 64, 1),
    ([20, 28, 20], 128, 64, 1),
    ([10, 14, 10], 128, 128, 1),
    ([10, 14, 10], 256, 128, 1),
    ([5, 7, 5], 256, 256, 1),
];
const BATCH: usize = 7;
const RUNS: usize = 3;

fn main() -> anyhow::Result<()> {
    if let Some(threads) = std::env::args().nth(1) {
        nnunet::set_threads(threads.parse()?)?;
    }
    println!(
        "{:<28}{:>14}{:>14}{:>14}   GFLOP/s (ms)",
        nnunet::nn::isa(),
        "forward",
        "input grad.",
        "weight grad."
    );
    for (space, inputs, outputs, stride) in LAYERS {
        let input = Dims { batch: BATCH, space, channels: inputs };
        let geometry = ConvGeometry::same([3; 3], [stride; 3]);
        let output = Dims { batch: BATCH, space: geometry.output(space), channels: outputs };
        let (x, dy) = (numbers(input.len()), numbers(output.len()));
        let w = numbers(outputs * inputs * geometry.taps());
        let work = 2.0 * (geometry.taps() * inputs * output.len()) as f64;
        let forward = best(|| drop(conv_forward(&x, input, &w, None, outputs, &geometry)));
        let data = best(|| drop(conv_backward_data(&dy, input, &w, outputs, &geometry)));
        let weights = best(|| drop(conv_backward_weights(&x, input, &dy, outputs, &geometry)));
        let cell = |seconds: f64| format!("{:.0} ({:.0})", work / seconds / 1e9, seconds * 1e3);
        let name = format!("{inputs}→{outputs} {space:?} /{stride}");
        println!("{name:<28}{:>14}{:>14}{:>14}", cell(forward), cell(data), cell(weights));
    }
    let dims = Dims { batch: BATCH, space: [40, 56, 40], channels: 32 };
    let (x, w) = (numbers(dims.len()), numbers(32));
    let (_, saved) = norm_act_forward(&x, dims, &w, &w, 1e-5, 0.01);
    let forward = best(|| drop(norm_act_forward(&x, dims, &w, &w, 1e-5, 0.01)));
    let backward = best(|| drop(norm_act_backward(&x, &x, dims, &saved, &w, &w, 0.01)));
    println!(
        "norm + leaky ReLU, 32 channels: forward {:.0} ms, backward {:.0} ms",
        forward * 1e3,
        backward * 1e3
    );
    Ok(())
}

/// Seconds of the fastest of a few runs.
fn best(mut run: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0).collect()
}
