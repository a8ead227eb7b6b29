//! Speed of the kernels on the layers of the hippocampus network (features 32, 64, 128, 256; patch 40×56×40).
//!
//! ```text
//! cargo run --release -p nnunet-nn --example conv_speed -- [batch] [threads] [filter]
//! ```
//!
//! Prints GFLOP/s of forward, backward-data and backward-weights, counted as for the direct method (so a method that saves
//! products can pass the peak), per core and second of processor time where the system tells it, else of wall time.

use std::time::{Duration, Instant};

use nnunet_nn::kernels::{
    ConvGeometry, Dims, conv_backward_data, conv_backward_weights, conv_forward,
    conv_transpose_backward_data, conv_transpose_backward_weights, conv_transpose_forward, multiply_adds,
    norm_act_backward, norm_act_forward,
};

#[global_allocator]
static ALLOCATOR: nnunet_nn::RecyclingAllocator = nnunet_nn::RecyclingAllocator::new(2 << 30);

/// Voxels, input channels, output channels, kernel, stride, times in the network.
const LAYERS: [([usize; 3], usize, usize, usize, usize, usize); 14] = [
    ([40, 56, 40], 1, 32, 3, 1, 1),
    ([40, 56, 40], 32, 32, 3, 1, 2),
    ([40, 56, 40], 32, 64, 3, 2, 1),
    ([20, 28, 20], 64, 64, 3, 1, 2),
    ([20, 28, 20], 64, 128, 3, 2, 1),
    ([10, 14, 10], 128, 128, 3, 1, 2),
    ([10, 14, 10], 128, 256, 3, 2, 1),
    ([5, 7, 5], 256, 256, 3, 1, 1),
    ([10, 14, 10], 256, 128, 3, 1, 1),
    ([20, 28, 20], 128, 64, 3, 1, 1),
    ([40, 56, 40], 64, 32, 3, 1, 1),
    ([40, 56, 40], 32, 3, 1, 1, 1),
    ([20, 28, 20], 64, 3, 1, 1, 1),
    ([10, 14, 10], 128, 3, 1, 1, 1),
];

/// Voxels, input channels, output channels of the transposed convolutions, stride 2.
const TRANSPOSED: [([usize; 3], usize, usize); 3] =
    [([20, 28, 20], 64, 32), ([10, 14, 10], 128, 64), ([5, 7, 5], 256, 128)];

/// Voxels, channels, times of the norms.
const NORMS: [([usize; 3], usize, usize); 4] =
    [([40, 56, 40], 32, 4), ([20, 28, 20], 64, 4), ([10, 14, 10], 128, 4), ([5, 7, 5], 256, 2)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (batch, threads) = (number(0, 1), number(1, 1));
    let filter = arguments.get(2).cloned().unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
    pool.install(|| measure(batch, threads, &filter));
}

fn measure(batch: usize, threads: usize, filter: &str) {
    let mut flops = 0;
    let peak = mean(&mut || flops = multiply_adds(4_000_000).0);
    let peak = flops as f64 / peak.as_secs_f64() / 1e9;
    println!(
        "{}: {peak:.0} GFLOP/s of multiply-adds per core; batch {batch}, {threads} threads",
        nnunet_nn::isa()
    );
    let mut total = [Duration::ZERO; 3];
    let mut add = |name: String, flops: f64, count: usize, times: [Duration; 3]| {
        let shown = times.map(|t| {
            let speed = flops / t.as_secs_f64() / 1e9 / threads as f64;
            format!("{speed:6.1} ({:7.2} ms)", t.as_secs_f64() * 1e3)
        });
        println!("{name:34} {} | {} | {}", shown[0], shown[1], shown[2]);
        (0..3).for_each(|i| total[i] += times[i] * count as u32);
    };
    for (space, inputs, outputs, kernel, stride, count) in LAYERS {
        let name = format!("{inputs}->{outputs} {kernel}^3/{stride} {space:?}");
        if name.contains(filter) {
            let (flops, times) = convolution(batch, space, [inputs, outputs], kernel, stride);
            add(name, flops, count, times);
        }
    }
    for (space, inputs, outputs) in TRANSPOSED {
        let name = format!("{inputs}->{outputs} up {space:?}");
        if name.contains(filter) {
            let (flops, times) = transposed(batch, space, [inputs, outputs]);
            add(name, flops, 1, times);
        }
    }
    for (space, channels, count) in NORMS {
        let name = format!("norm {channels} {space:?}");
        if name.contains(filter) {
            let (flops, times) = norm(batch, space, channels);
            add(name, flops, count, times);
        }
    }
    let [forward, data, weights] = total.map(|t| t.as_secs_f64());
    println!("all, as often as the network has them: {forward:.3} + {data:.3} + {weights:.3} s");
}

fn convolution(
    batch: usize,
    space: [usize; 3],
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> (f64, [Duration; 3]) {
    let g = ConvGeometry::same([kernel; 3], [stride; 3]);
    let input = Dims { batch, space, channels: inputs };
    let output = Dims { batch, space: g.output(space), channels: outputs };
    let (x, dy) = (values(input.len()), values(output.len()));
    let w = values(inputs * outputs * g.taps());
    let times = [
        mean(&mut || drop(conv_forward(&x, input, &w, None, outputs, &g))),
        mean(&mut || drop(conv_backward_data(&dy, input, &w, outputs, &g))),
        mean(&mut || drop(conv_backward_weights(&x, input, &dy, outputs, &g))),
    ];
    ((2 * output.len() * inputs * g.taps()) as f64, times)
}

fn transposed(batch: usize, space: [usize; 3], [inputs, outputs]: [usize; 2]) -> (f64, [Duration; 3]) {
    let input = Dims { batch, space, channels: inputs };
    let x = values(input.len());
    let (dy, w) = (values(8 * input.voxels() * batch * outputs), values(8 * inputs * outputs));
    let times = [
        mean(&mut || drop(conv_transpose_forward(&x, input, &w, None, outputs, [2; 3], 2 * outputs))),
        mean(&mut || drop(conv_transpose_backward_data(&dy, input, &w, outputs, [2; 3]))),
        mean(&mut || drop(conv_transpose_backward_weights(&x, input, &dy, outputs, [2; 3]))),
    ];
    ((2 * dy.len() * inputs) as f64, times)
}

/// The columns are forward, backward and nothing; the rate is that of values.
fn norm(batch: usize, space: [usize; 3], channels: usize) -> (f64, [Duration; 3]) {
    let dims = Dims { batch, space, channels };
    let (x, dy) = (values(dims.len()), values(dims.len()));
    let (w, b) = (values(channels), values(channels));
    let (_, saved) = norm_act_forward(&x, dims, &w, &b, 1e-5, 0.01);
    let times = [
        mean(&mut || drop(norm_act_forward(&x, dims, &w, &b, 1e-5, 0.01))),
        mean(&mut || drop(norm_act_backward(&x, &dy, dims, &saved, &w, &b, 0.01))),
        Duration::ZERO,
    ];
    (dims.len() as f64, times)
}

/// Time of one run: the lesser mean of two series, each long enough for a clock that ticks every few milliseconds.
fn mean(f: &mut dyn FnMut()) -> Duration {
    let series = |f: &mut dyn FnMut()| {
        let (start, wall) = (processor_time(), Instant::now());
        let mut runs = 0;
        loop {
            f();
            runs += 1;
            let spent = match (start, processor_time(), rayon::current_num_threads()) {
                (Some(start), Some(end), 1) => end - start,
                _ => wall.elapsed(),
            };
            if spent > Duration::from_millis(60) {
                return spent / runs;
            }
        }
    };
    series(f).min(series(f))
}

/// Processor time of this thread, where Linux tells it.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Numbers from −1 to 1 that look random.
fn values(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ n as u64;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}
