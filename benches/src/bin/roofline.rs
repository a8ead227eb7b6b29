//! What the processor can do, and what part of it each layer of the default networks reaches.
//!
//! `cargo run --release -p nnunet-benches --bin roofline [THREADS] [RUNS]`; `NETS=hippocampus` or `NETS=default` in the
//! environment leaves the other out.
//!
//! Peaks are loops of multiply-adds in registers, and a sum of two arrays into a third that no cache holds. The roof of a layer
//! is the time of its operations, as the direct method has them, at the peak, or that of its arrays, each moved once, at the
//! bandwidth, whichever is longer. A layer that Winograd's filtering computes may pass it.

use nnunet::nn::Precision;
use nnunet::nn::kernels::{
    Convolution, Dims, TransposedConvolution, multiply_adds, multiply_adds_bf16, norm_act_backward,
    norm_act_forward,
};
use nnunet_benches::{Layer, Net, fastest, numbers};
use rayon::prelude::*;

/// Rounds of multiply-adds: about a tenth of a second.
const STEPS: usize = 4_000_000;

/// Operations and bytes per second.
#[derive(Debug, Clone, Copy)]
struct Peaks {
    f32: f64,
    bf16: Option<f64>,
    bandwidth: f64,
}

fn main() -> anyhow::Result<()> {
    let argument = |n: usize| std::env::args().nth(n).map(|text| text.parse::<usize>()).transpose();
    if let Some(threads) = argument(1)? {
        nnunet::set_threads(threads)?;
    }
    let runs = argument(2)?.unwrap_or(2);
    let threads = rayon::current_num_threads();
    let peaks = peaks(threads);
    println!("{}, {threads} threads", nnunet::nn::isa());
    println!(
        "peak f32: {:.0} GFLOP/s on one thread, {:.0} on all",
        one_thread(f32_run) / 1e9,
        peaks.f32 / 1e9
    );
    match (peaks.bf16, bf16_run().map(|_| one_thread(|| bf16_run().unwrap_or(0)))) {
        (Some(all), Some(one)) => {
            println!("peak bf16: {:.0} GFLOP/s on one thread, {:.0} on all", one / 1e9, all / 1e9);
        }
        _ => println!("no products in bf16"),
    }
    println!("memory: {:.1} GB/s", peaks.bandwidth / 1e9);
    let wanted = std::env::var("NETS").unwrap_or_else(|_| "hippocampus default".to_owned());
    for net in [Net::hippocampus(), Net::full()].into_iter().filter(|net| wanted.contains(net.name)) {
        let net = Net { batch: if net.name == "default" { 1 } else { 2 }, ..net };
        table(&net, Precision::F32, peaks, runs);
        if peaks.bf16.is_some() {
            table(&net, Precision::Bf16, peaks, runs);
        }
        norms(&net, peaks, runs);
    }
    Ok(())
}

fn f32_run() -> u64 {
    multiply_adds(STEPS).0
}

fn bf16_run() -> Option<u64> {
    multiply_adds_bf16(STEPS).map(|(operations, _)| operations)
}

fn one_thread(run: impl Fn() -> u64) -> f64 {
    let mut operations = 0;
    let seconds = fastest(3, || operations = run());
    operations as f64 / seconds
}

/// Peaks of all threads together.
fn peaks(threads: usize) -> Peaks {
    let all = |run: &(dyn Fn() -> u64 + Sync)| {
        let mut operations = 0;
        let seconds = fastest(3, || operations = rayon::broadcast(|_| run()).into_iter().sum());
        operations as f64 / seconds
    };
    let bf16 = bf16_run().map(|_| all(&|| bf16_run().unwrap_or(0)));
    Peaks { f32: all(&f32_run), bf16, bandwidth: bandwidth(threads) }
}

/// Bytes per second of `c = a + b`, where reading and writing count once each.
fn bandwidth(threads: usize) -> f64 {
    let n = 1 << 25;
    let (a, b, mut c) = (vec![1.0f32; n], vec![2.0f32; n], vec![0.0f32; n]);
    let part = n.div_ceil(4 * threads);
    let seconds = fastest(4, || {
        c.par_chunks_mut(part).zip(a.par_chunks(part)).zip(b.par_chunks(part)).for_each(|((c, a), b)| {
            c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = a + b);
        });
    });
    (3 * 4 * n) as f64 / seconds
}

fn table(net: &Net, precision: Precision, peaks: Peaks, runs: usize) {
    let peak = if precision == Precision::Bf16 { peaks.bf16.unwrap_or(peaks.f32) } else { peaks.f32 };
    println!("\n{}, batch {}, {precision}: GFLOP/s (part of the roof)\n", net.name, net.batch);
    println!("| layer | times | forward | input gradient | weight gradient |");
    println!("| --- | --- | --- | --- | --- |");
    let cell = |operations: f64, bytes: f64, seconds: f64| {
        let roof = (operations / peak).max(bytes / peaks.bandwidth);
        format!("{:.0} ({:.2})", operations / seconds / 1e9, roof / seconds)
    };
    let (mut total, mut floor) = ([0.0; 3], 0.0);
    for layer in net.layers() {
        let seconds = measure(&layer, precision, runs);
        let cells = seconds.map(|seconds| cell(layer.operations(), layer.bytes(), seconds));
        println!("| {layer} | {} | {} |", layer.times, cells.join(" | "));
        (0..3).for_each(|i| total[i] += layer.times as f64 * seconds[i]);
        floor += layer.times as f64 * layer.operations() / peak;
    }
    for up in net.transposed(precision) {
        let TransposedConvolution { input, channels, stride, .. } = up;
        let boxes: usize = stride.iter().product();
        let outputs = input.batch * input.voxels() * boxes * channels;
        let (x, w) = (numbers(input.len()), numbers(input.channels * channels * boxes));
        let dy = numbers(outputs);
        let (operations, bytes) = (2.0 * (outputs * input.channels) as f64, 4.0 * (x.len() + outputs) as f64);
        let cells = [
            fastest(runs, || up.forward(&x, &w)),
            fastest(runs, || up.backward_data(&dy, &w)),
            fastest(runs, || up.backward_weights(&x, &dy)),
        ]
        .map(|seconds| cell(operations, bytes, seconds));
        let [z, y, x] = input.space;
        println!("| {}→{channels}, up, {z}×{y}×{x} | 1 | {} |", input.channels, cells.join(" | "));
    }
    let [forward, data, weights] = total;
    println!(
        "\nconvolutions, as often as the network has them: {forward:.2} + {data:.2} + {weights:.2} s, {floor:.2} s each at the peak"
    );
}

fn measure(layer: &Layer, precision: Precision, runs: usize) -> [f64; 3] {
    let Layer { input, channels, geometry, .. } = *layer;
    let conv = Convolution { input, channels, geometry, precision };
    let (x, w, dy) = (numbers(input.len()), numbers(layer.weights()), numbers(layer.output().len()));
    [
        fastest(runs, || conv.forward(&x, &w)),
        fastest(runs, || conv.backward_data(&dy, &w)),
        fastest(runs, || conv.backward_weights(&x, &dy)),
    ]
}

/// Norms move values and compute little: their roof is the bandwidth.
fn norms(net: &Net, peaks: Peaks, runs: usize) {
    let dims = Dims { batch: net.batch, space: net.patch, channels: net.spec.features[0] };
    let (x, w) = (numbers(dims.len()), numbers(dims.channels));
    let (_, saved) = norm_act_forward(&x, dims, &w, &w, 1e-5, 0.01);
    let forward = fastest(runs, || norm_act_forward(&x, dims, &w, &w, 1e-5, 0.01));
    let backward = fastest(runs, || norm_act_backward(&x, &x, dims, &saved, &w, &w, 0.01));
    let moved = 4.0 * dims.len() as f64 / peaks.bandwidth;
    println!(
        "norm + leaky ReLU alone, {} channels: forward {:.0} ms ({:.2} of the roof), backward {:.0} ms ({:.2})",
        dims.channels,
        forward * 1e3,
        // The input twice, the output once; backward, input and gradient twice, the result once.
        3.0 * moved / forward,
        backward * 1e3,
        5.0 * moved / backward
    );
}
