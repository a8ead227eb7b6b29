//! Each kernel on the layers of the networks that nnU-Net plans by default.
//!
//! `cargo bench -p nnunet-benches --bench kernels -- [FILTER]`; `BATCH` in the environment is the number of samples, 1. Throughput
//! counts multiply-adds of the direct method for convolutions, values for norms.

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use nnunet::nn::Precision;
use nnunet::nn::kernels::{
    Convolution, Dims, TransposedConvolution, norm_act_backward, norm_act_forward, norm_act_in_place,
};
use nnunet_benches::{Layer, Net, numbers};

fn main() {
    let batch = std::env::var("BATCH").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut criterion = Criterion::default().configure_from_args();
    for net in [Net::hippocampus(), Net::full()] {
        let net = Net { batch, ..net };
        for precision in [Precision::F32, Precision::Bf16] {
            convolutions(&mut criterion, &net, precision);
            transposed(&mut criterion, &net, precision);
        }
        norms(&mut criterion, &net);
    }
    criterion.final_summary();
}

/// A few long runs: a layer takes up to seconds.
fn group<'a>(criterion: &'a mut Criterion, name: String) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    group.warm_up_time(std::time::Duration::from_millis(100));
    group.measurement_time(std::time::Duration::from_secs(1));
    group
}

/// Convolutions, heads among them.
fn convolutions(criterion: &mut Criterion, net: &Net, precision: Precision) {
    let mut group = group(criterion, format!("conv {} {precision}", net.name));
    for layer in net.layers() {
        let Layer { input, channels, geometry, .. } = layer;
        let conv = Convolution { input, channels, geometry, precision };
        let operands = Operands::new(input.len(), layer.weights(), layer.output().len());
        group.throughput(Throughput::Elements(layer.operations() as u64 / 2));
        group.bench_function(format!("forward {layer}"), |b| {
            b.iter(|| conv.forward(&operands.get()[0], &operands.get()[1]))
        });
        group.bench_function(format!("backward-data {layer}"), |b| {
            b.iter(|| conv.backward_data(&operands.get()[2], &operands.get()[1]))
        });
        group.bench_function(format!("backward-weights {layer}"), |b| {
            b.iter(|| conv.backward_weights(&operands.get()[0], &operands.get()[2]))
        });
    }
}

fn transposed(criterion: &mut Criterion, net: &Net, precision: Precision) {
    let mut group = group(criterion, format!("transposed {} {precision}", net.name));
    for up in net.transposed(precision) {
        let TransposedConvolution { input, channels, stride, .. } = up;
        let boxes: usize = stride.iter().product();
        let outputs = input.batch * input.voxels() * boxes * channels;
        let operands = Operands::new(input.len(), input.channels * channels * boxes, outputs);
        let name = format!("{}→{channels}, {:?}", input.channels, input.space);
        group.throughput(Throughput::Elements((outputs * input.channels) as u64));
        group.bench_function(format!("forward {name}"), |b| {
            b.iter(|| up.forward(&operands.get()[0], &operands.get()[1]))
        });
        group.bench_function(format!("backward-data {name}"), |b| {
            b.iter(|| up.backward_data(&operands.get()[2], &operands.get()[1]))
        });
        group.bench_function(format!("backward-weights {name}"), |b| {
            b.iter(|| up.backward_weights(&operands.get()[0], &operands.get()[2]))
        });
    }
}

fn norms(criterion: &mut Criterion, net: &Net) {
    let mut group = group(criterion, format!("norm + leaky ReLU {}", net.name));
    let mut space = net.patch;
    for (stage, &channels) in net.spec.features.iter().enumerate() {
        space = std::array::from_fn(|a| space[a].div_ceil(net.spec.strides[stage][a]));
        let dims = Dims { batch: net.batch, space, channels };
        let operands = Operands::new(dims.len(), channels, dims.len());
        let name = format!("{channels}, {space:?}");
        group.throughput(Throughput::Elements(dims.len() as u64));
        group.bench_function(format!("forward {name}"), |b| {
            let [x, w, _] = operands.get();
            b.iter(|| norm_act_forward(x, dims, w, w, 1e-5, 0.01))
        });
        group.bench_function(format!("in place {name}"), |b| {
            let [x, w, _] = operands.get();
            let mut x = x.clone();
            b.iter(|| norm_act_in_place(&mut x, dims, w, w, 1e-5, 0.01))
        });
        group.bench_function(format!("backward {name}"), |b| {
            let [x, w, dy] = operands.get();
            let (_, saved) = norm_act_forward(x, dims, w, w, 1e-5, 0.01);
            b.iter(|| norm_act_backward(x, dy, dims, &saved, w, w, 0.01))
        });
    }
}

/// Input, weight and gradient of the output of a layer, made when a benchmark first runs that the filter has not left out.
struct Operands {
    lengths: [usize; 3],
    values: std::cell::OnceCell<[Vec<f32>; 3]>,
}

impl Operands {
    fn new(x: usize, weight: usize, dy: usize) -> Self {
        Self { lengths: [x, weight, dy], values: std::cell::OnceCell::new() }
    }

    fn get(&self) -> &[Vec<f32>; 3] {
        self.values.get_or_init(|| self.lengths.map(numbers))
    }
}
