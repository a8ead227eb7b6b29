//! Time of one training iteration of the hippocampus network (features 32, 64, 128, 256; patch 40×56×40), without optimiser
//! and data loading: forward pass with all heads, a small loss, backward pass.
//!
//! ```text
//! cargo run --release -p nnunet-nn --example iteration_speed -- [batch] [iterations]
//! ```

use std::time::Instant;

use candle_core::{Device, Tensor};
use nnunet_nn::{Parameters, UNet};
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};

#[global_allocator]
static ALLOCATOR: nnunet_nn::RecyclingAllocator = nnunet_nn::RecyclingAllocator::new(4 << 30);

fn spec() -> NetworkSpec {
    NetworkSpec {
        kind: NetworkKind::PlainConvUNet,
        dims: 3,
        features: vec![32, 64, 128, 256],
        kernel_sizes: vec![[3; 3]; 4],
        strides: vec![[1; 3], [2; 3], [2; 3], [2; 3]],
        encoder_convs: vec![2; 4],
        decoder_convs: vec![2; 3],
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (batch, iterations) = (number(0, 7), number(1, 2));
    let parameters = Parameters::new(&spec(), 1, 3, 1, &Device::Cpu)?;
    let network = UNet::new(&spec(), 1, 3, &parameters)?;
    let n = batch * 40 * 56 * 40;
    let image: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    let image = Tensor::from_vec(image, (batch, 1, 40, 56, 40), &Device::Cpu)?;
    println!("{}, batch {batch}, {} threads", nnunet_nn::isa(), rayon::current_num_threads());
    for _ in 0..iterations {
        let (wall, [user, system]) = (Instant::now(), processor_seconds());
        let outputs = network.forward_deep(&image)?;
        let forward = wall.elapsed();
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
        for output in outputs {
            loss = (loss + output.sqr()?.mean_all()?)?;
        }
        let gradients = loss.backward()?;
        let norm = parameters.vars().iter().filter_map(|var| gradients.get(var)).count();
        let [user, system] = std::array::from_fn(|i| processor_seconds()[i] - [user, system][i]);
        println!(
            "forward {:.2} s, all {:.2} s; processor {user:.2} s + system {system:.2} s; {norm} gradients",
            forward.as_secs_f64(),
            wall.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}

/// Processor time of this process, its own and the system's, where Linux tells it (in ticks of 10 ms).
fn processor_seconds() -> [f64; 2] {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    [0, 1].map(|i| fields.get(i).copied().unwrap_or(0.0) / 100.0)
}
