//! Forward passes of the default 3-D network (6 stages, 32 to 320 features) on one patch.
//!
//! `cargo run --release -p nnunet-benches --bin network_forward -- [WEIGHTS.safetensors] [SIZE] [RUNS]`
//!
//! `THREADS` and `PRECISION` in the environment set both. Prints seconds per pass, one a line. With a file, the network's weights
//! are written there first, under the names of nnU-Net's state dictionaries, so that a peer can run the same network; `-`
//! writes none.

use std::time::Instant;

use candle_core::Device;
use nnunet::nn::{Executor, Parameters, Precision, UNet};
use nnunet_benches::{Net, peak_memory};

fn main() -> anyhow::Result<()> {
    // As `nnunet predict` does.
    nnunet_benches::ALLOCATOR.set_limit(0);
    let argument = |n: usize| std::env::args().nth(n);
    let size: usize = argument(2).map_or(Ok(128), |n| n.parse())?;
    let precision: Precision = std::env::var("PRECISION").map_or(Ok(Precision::F32), |text| text.parse())?;
    let runs: usize = argument(3).map_or(Ok(3), |n| n.parse())?;
    if let Ok(threads) = std::env::var("THREADS") {
        nnunet::set_threads(threads.parse()?)?;
    }
    let spec = Net::full().spec;
    let parameters = Parameters::new(&spec, 1, 3, 0, &Device::Cpu)?;
    if let Some(path) = argument(1).filter(|path| path != "-") {
        candle_core::safetensors::save(&parameters.to_map(), path)?;
    }
    let network = UNet::new(&spec, 1, 3, &parameters)?;
    drop(parameters);
    let executor = Executor::new(&network, [size; 3], precision)?;
    drop(network);
    let tile: Vec<f32> =
        (0..size.pow(3)).map(|i| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0).collect();
    for run in 0..=runs {
        let begun = Instant::now();
        let logits = executor.forward(&tile)?;
        // The first pass allocates and does not count.
        if run > 0 {
            println!("{:.4}", begun.elapsed().as_secs_f64());
        } else {
            eprintln!("logits {:?} …, buffers {} MB", &logits[..3], executor.workspace_bytes() >> 20);
        }
    }
    eprintln!("peak memory {} MB", peak_memory());
    Ok(())
}
