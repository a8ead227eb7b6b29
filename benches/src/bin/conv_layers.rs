//! Layers of the default networks, one at a time, for comparison with a peer in the same run.
//!
//! `cargo run --release -p nnunet-benches --bin conv_layers NET BATCH [SIZE]` answers lines on its input: `list` with one layer a line
//! and an empty line, as voxels, input channels, output channels, kernel and stride; `INDEX PRECISION` with the seconds of a
//! forward and of a backward pass (both gradients) of this layer. `THREADS` in the environment sets their number.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nnunet::nn::Precision;
use nnunet::nn::kernels::Convolution;
use nnunet_benches::{Layer, Net, numbers};

/// How long each layer runs before its time is taken.
const AWAKE: Duration = Duration::from_millis(150);

fn main() -> anyhow::Result<()> {
    let argument = |n: usize| std::env::args().nth(n);
    let mut net = match argument(1).as_deref() {
        Some("hippocampus") => Net::hippocampus(),
        Some("default") => Net::full(),
        other => bail!("no network {other:?}, expected hippocampus or default"),
    };
    net.batch = argument(2).map_or(Ok(1), |text| text.parse())?;
    if let Some(size) = argument(3) {
        net.patch = [size.parse()?; 3];
    }
    if let Ok(threads) = std::env::var("THREADS") {
        nnunet::set_threads(threads.parse()?)?;
    }
    let layers = net.layers();
    let mut made: Option<(usize, [Vec<f32>; 3])> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "list" {
            layers.iter().for_each(|layer| println!("{}", describe(layer)));
            println!();
        } else {
            let (index, precision) = line.split_once(' ').context("expected INDEX PRECISION")?;
            let (index, precision): (usize, Precision) = (index.parse()?, precision.parse()?);
            let layer = layers.get(index).with_context(|| format!("no layer {index}"))?;
            if made.as_ref().is_none_or(|(number, _)| *number != index) {
                drop(made.take());
                let lengths = [layer.input.len(), layer.weights(), layer.output().len()];
                made = Some((index, lengths.map(numbers)));
            }
            let Some((_, operands)) = &made else { bail!("no operands") };
            let [forward, backward] = run(layer, operands, precision);
            println!("{forward:.6} {backward:.6}");
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn describe(layer: &Layer) -> String {
    let [z, y, x] = layer.input.space;
    let (kernel, stride) = (layer.geometry.kernel[2], layer.geometry.stride[2]);
    format!("{z} {y} {x} {} {} {kernel} {stride}", layer.input.channels, layer.channels)
}

fn run(layer: &Layer, [x, w, dy]: &[Vec<f32>; 3], precision: Precision) -> [f64; 2] {
    let conv =
        Convolution { input: layer.input, channels: layer.channels, geometry: layer.geometry, precision };
    // Not counted: after a while without work, threads share a processor until the system has spread them again.
    let begun = Instant::now();
    while begun.elapsed() < AWAKE {
        drop((conv.forward(x, w), conv.backward_data(dy, w), conv.backward_weights(x, dy)));
    }
    let begun = Instant::now();
    let y = conv.forward(x, w);
    let forward = begun.elapsed().as_secs_f64();
    drop(y);
    let begun = Instant::now();
    let gradients = (conv.backward_data(dy, w), conv.backward_weights(x, dy));
    let backward = begun.elapsed().as_secs_f64();
    drop(gradients);
    [forward, backward]
}
