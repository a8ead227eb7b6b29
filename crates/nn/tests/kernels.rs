//! Every instruction set against the portable kernels, and the portable kernels against the definition.
//!
//! Tolerance: 1e-5 relative in the L2 norm, the bound that the kernels promise per layer.

use std::sync::Mutex;

use nnunet_nn::kernels::{ConvGeometry, Dims, Isa, set_isa};
use nnunet_nn::kernels::{
    conv_backward_data, conv_backward_weights, conv_forward, conv_transpose_backward_data,
    conv_transpose_backward_weights, conv_transpose_forward, norm_act_backward, norm_act_forward,
};
use proptest::prelude::*;

// Nothing here needs more than the kernels, so that they can be tested alone for other processors.
#[path = "common/values.rs"]
mod numbers;

use numbers::values;

/// The instruction set is a setting of the process: one test at a time.
static ISA: Mutex<()> = Mutex::new(());

fn with_isa<T>(isa: Isa, f: impl FnOnce() -> T) -> T {
    let _guard = ISA.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    set_isa(isa);
    let result = f();
    set_isa(Isa::Avx512);
    result
}

/// How far apart numbers are, relative to their length, in the L2 norm.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    apart(found, expected, 0.0)
}

/// [`distance`] of sums of `terms` products of numbers from −1 to 1. A few sums may all come out next to zero by chance, which says
/// nothing of their rounding: the length is at least a third of the usual one.
fn apart(found: &[f32], expected: &[f32], terms: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        found.iter().zip(expected).map(|(a, b)| f(f64::from(*a), f64::from(*b))).sum()
    };
    // A product has a variance of 1/9.
    let least = found.len() as f64 * terms / 81.0;
    (sum(&|a, b| (a - b) * (a - b)) / (sum(&|_, b| b * b).max(least) + 1e-30)).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// The instruction sets with kernels of their own that this processor has.
fn vectors() -> Vec<Isa> {
    let mut found: Vec<Isa> =
        [Isa::Avx2, Isa::Avx512].map(|isa| with_isa(isa, nnunet_nn::kernels::isa)).to_vec();
    found.dedup();
    found.retain(|isa| *isa != Isa::Portable);
    found
}

/// Output and gradients of input and weight in f64, from the definition of the convolution.
fn definition(case: &Case, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let (input, g, out) = (case.input, &case.geometry, case.output());
    let [nz, ny, nx] = input.space;
    let [mut y, mut dx, mut dw] = [dy.len(), x.len(), w.len()].map(|n| vec![0.0f64; n]);
    for (number, voxel) in (0..input.batch).flat_map(|b| (0..out.voxels()).map(move |v| (b, v))).enumerate() {
        let (b, v) = voxel;
        let o = [v / out.space[2] / out.space[1], v / out.space[2] % out.space[1], v % out.space[2]];
        for tap in 0..g.taps() {
            let k = [tap / g.kernel[2] / g.kernel[1], tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]];
            let at: [Option<usize>; 3] =
                std::array::from_fn(|a| (o[a] * g.stride[a] + k[a]).checked_sub(g.padding[a]));
            let [Some(z), Some(yy), Some(xx)] = at else { continue };
            if z >= nz || yy >= ny || xx >= nx {
                continue;
            }
            let from = (((b * nz + z) * ny + yy) * nx + xx) * input.channels;
            for (c, i) in (0..case.channels).flat_map(|c| (0..input.channels).map(move |i| (c, i))) {
                let (to, weight) = (number * case.channels + c, (c * input.channels + i) * g.taps() + tap);
                y[to] += f64::from(x[from + i]) * f64::from(w[weight]);
                dx[from + i] += f64::from(dy[to]) * f64::from(w[weight]);
                dw[weight] += f64::from(dy[to]) * f64::from(x[from + i]);
            }
        }
    }
    [y, dx, dw].map(|values| values.into_iter().map(|v| v as f32).collect())
}

#[derive(Debug)]
struct Case {
    input: Dims,
    channels: usize,
    geometry: ConvGeometry,
}

impl Case {
    fn output(&self) -> Dims {
        Dims { space: self.geometry.output(self.input.space), channels: self.channels, ..self.input }
    }

    /// Input, weight and gradient of the output.
    fn operands(&self) -> [Vec<f32>; 3] {
        let weights = self.channels * self.input.channels * self.geometry.taps();
        [values(self.input.len(), 1), values(weights, 3), values(self.output().len(), 2)]
    }

    /// Forward, input gradient, weight gradient, bias gradient.
    fn run(&self, isa: Isa) -> [Vec<f32>; 4] {
        let [x, w, dy] = self.operands();
        with_isa(isa, || {
            let y = conv_forward(&x, self.input, &w, None, self.channels, &self.geometry);
            let dx = conv_backward_data(&dy, self.input, &w, self.channels, &self.geometry);
            let (dw, db) = conv_backward_weights(&x, self.input, &dy, self.channels, &self.geometry);
            [y, dx, dw, db]
        })
    }

    /// Every instruction set against the definition and against the portable kernels.
    fn check(&self) {
        let [x, w, dy] = self.operands();
        let expected = definition(self, &x, &w, &dy);
        let portable = self.run(Isa::Portable);
        let taps = self.geometry.taps();
        let voxels = self.input.batch * self.output().voxels();
        let terms = [taps * self.input.channels, taps * self.channels, voxels, voxels];
        let own = |isa: Isa, found: &[Vec<f32>; 4], expected: &[Vec<f32>]| {
            for ((found, expected), terms) in found.iter().zip(expected).zip(terms) {
                let error = apart(found, expected, terms as f64);
                assert!(error < 1e-5, "{isa:?} {self:?}: {error:e}");
            }
        };
        own(Isa::Portable, &portable, &expected);
        for isa in vectors() {
            let found = self.run(isa);
            own(isa, &found, &expected);
            own(isa, &found, &portable);
        }
    }
}

#[test]
fn convolutions_of_the_networks() {
    // The shapes that nnU-Net plans, some of which take the tiled path, with channel counts that fill registers and not.
    for (kernel, stride) in
        [([3; 3], [1; 3]), ([3; 3], [2; 3]), ([1, 3, 3], [1; 3]), ([1, 3, 3], [1, 2, 2]), ([1; 3], [1; 3])]
    {
        for (inputs, channels) in [(1, 32), (32, 32), (64, 16), (33, 17), (320, 3), (3, 320)] {
            let geometry = ConvGeometry::same(kernel, stride);
            for space in [[3, 12, 20], [1, 7, 9]] {
                Case { input: Dims { batch: 2, space, channels: inputs }, channels, geometry }.check();
            }
        }
    }
    let geometry = ConvGeometry::same([3; 3], [1; 3]);
    Case { input: Dims { batch: 1, space: [2, 8, 8], channels: 320 }, channels: 320, geometry }.check();
}

#[test]
fn many_weights_for_few_voxels() {
    // Weights are read where they lie: blocks of outputs, channels and taps that are not whole, strides, and voxels out of reach.
    let valid = |kernel, stride| ConvGeometry { kernel, stride, padding: [0; 3] };
    for (inputs, channels, batch, space, geometry) in [
        (320, 320, 1, [4; 3], ConvGeometry::same([3; 3], [1; 3])),
        (96, 53, 3, [5, 3, 4], ConvGeometry::same([3; 3], [1; 3])),
        (53, 97, 2, [7, 9, 8], ConvGeometry::same([3; 3], [2; 3])),
        (130, 72, 1, [1, 6, 7], ConvGeometry::same([1, 3, 5], [1, 2, 1])),
        (81, 70, 2, [4, 6, 6], valid([2, 3, 4], [3, 2, 1])),
        (330, 401, 1, [2, 3, 5], ConvGeometry::same([1; 3], [1, 3, 2])),
        (256, 320, 1, [2; 3], ConvGeometry::same([3; 3], [2; 3])),
    ] {
        Case { input: Dims { batch, space, channels: inputs }, channels, geometry }.check();
    }
}

#[test]
fn one_voxel_and_nothing_at_all() {
    let geometry = ConvGeometry::same([3; 3], [1; 3]);
    for (inputs, channels) in [(3, 5), (17, 33), (320, 1), (1, 320)] {
        Case { input: Dims { batch: 1, space: [1; 3], channels: inputs }, channels, geometry }.check();
    }
    for (batch, space) in [(0, [4; 3]), (1, [0, 4, 4]), (2, [4, 4, 0])] {
        for channels in [1, 17, 32] {
            let input = Dims { batch, space, channels };
            let valid = ConvGeometry { kernel: [3; 3], stride: [1; 3], padding: [0; 3] };
            for isa in [vec![Isa::Portable], vectors()].concat() {
                let [y, dx, dw, _] = Case { input, channels: 32, geometry: valid }.run(isa);
                assert!(y.is_empty() && dx.len() == input.len() && dw.iter().all(|v| *v == 0.0));
            }
        }
    }
    // A stride beyond the image.
    let geometry = ConvGeometry { kernel: [2; 3], stride: [9; 3], padding: [1; 3] };
    Case { input: Dims { batch: 1, space: [5, 4, 3], channels: 3 }, channels: 2, geometry }.check();
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case {
        input: Dims { batch: 2, space: [6, 16, 20], channels: 32 },
        channels: 32,
        geometry: ConvGeometry::same([3; 3], [1; 3]),
    };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(Isa::Avx512))
    };
    assert_eq!(run(1), run(3));
}

/// So many cases, unless `PROPTEST_CASES` says otherwise.
fn cases(number: u32) -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if given { ProptestConfig::default().cases } else { number };
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn any_convolution(
        batch in 0usize..3,
        space in prop::array::uniform3(0usize..9),
        inputs in prop::sample::select(vec![1usize, 3, 16, 17, 32, 33]),
        channels in prop::sample::select(vec![1usize, 3, 16, 17, 32, 33]),
        kernel in prop::array::uniform3(1usize..4),
        stride in prop::array::uniform3(prop::sample::select(vec![1usize, 2, 3, 11, 1000])),
        padding in prop::array::uniform3(0usize..3),
    ) {
        let geometry = ConvGeometry { kernel, stride, padding };
        Case { input: Dims { batch, space, channels: inputs }, channels, geometry }.check();
    }

    #[test]
    fn any_dense_convolution(
        space in prop::array::uniform3(1usize..12),
        inputs in prop::sample::select(vec![4usize, 8, 16, 32, 48]),
        channels in prop::sample::select(vec![4usize, 8, 16, 32, 48]),
        taps in 1usize..4,
        padding in prop::array::uniform3(0usize..3),
    ) {
        // Those that may be taken by tiles.
        let geometry = ConvGeometry { kernel: [taps, 3, 3], stride: [1; 3], padding };
        Case { input: Dims { batch: 1, space, channels: inputs }, channels, geometry }.check();
    }

    #[test]
    fn any_wide_convolution(
        space in prop::array::uniform3(1usize..4),
        (inputs, channels) in prop::sample::select(vec![(320usize, 1usize), (1, 320), (320, 17), (33, 320), (320, 320)]),
        kernel in prop::sample::select(vec![[1usize; 3], [1, 3, 3], [2, 1, 3]]),
        stride in prop::array::uniform3(1usize..3),
    ) {
        let geometry = ConvGeometry::same(kernel, stride);
        Case { input: Dims { batch: 1, space, channels: inputs }, channels, geometry }.check();
    }

    #[test]
    fn any_transposed_convolution(
        space in prop::array::uniform3(0usize..6),
        inputs in prop::sample::select(vec![1usize, 3, 16, 17, 33, 320]),
        channels in prop::sample::select(vec![1usize, 3, 16, 17, 33]),
        stride in prop::array::uniform3(1usize..4),
        beside in 0usize..3,
    ) {
        let input = Dims { batch: 2, space, channels: inputs };
        let boxes: usize = stride.iter().product();
        let (x, w) = (values(input.len(), 1), values(inputs * channels * boxes, 2));
        let dy = values(input.len() / inputs * boxes * channels, 3);
        let run = |isa| with_isa(isa, || {
            let y = conv_transpose_forward(&x, input, &w, None, channels, stride, channels);
            let wide = conv_transpose_forward(&x, input, &w, None, channels, stride, channels + beside);
            let dx = conv_transpose_backward_data(&dy, input, &w, channels, stride);
            let (dw, _) = conv_transpose_backward_weights(&x, input, &dy, channels, stride);
            [y, wide, dx, dw]
        });
        let portable = run(Isa::Portable);
        let scale = 1e-5 * (norm(&portable[0]) * norm(&dy) + 1e-9);
        prop_assert!((dot(&portable[0], &dy) - dot(&portable[2], &x)).abs() <= scale);
        prop_assert!((dot(&portable[0], &dy) - dot(&portable[3], &w)).abs() <= scale);
        for (narrow, wide) in portable[0].chunks(channels).zip(portable[1].chunks(channels + beside)) {
            prop_assert_eq!(narrow, &wide[..channels]);
            prop_assert!(wide[channels..].iter().all(|v| *v == 0.0));
        }
        for isa in vectors() {
            for (found, expected) in run(isa).iter().zip(&portable) {
                prop_assert!(distance(found, expected) < 1e-5);
            }
        }
    }
}

/// The fused norm in f64.
fn norm_definition(x: &[f32], dims: Dims, w: &[f32], b: &[f32], slope: f64) -> Vec<f32> {
    let (n, c) = (dims.voxels(), dims.channels);
    let mut y = vec![0.0; x.len()];
    for sample in 0..dims.batch {
        for channel in 0..c {
            let at = |v: usize| (sample * n + v) * c + channel;
            let mean = (0..n).map(|v| f64::from(x[at(v)])).sum::<f64>() / n as f64;
            let variance = (0..n).map(|v| (f64::from(x[at(v)]) - mean).powi(2)).sum::<f64>() / n as f64;
            for v in 0..n {
                let z = (f64::from(x[at(v)]) - mean) / (variance + 1e-5).sqrt() * f64::from(w[channel])
                    + f64::from(b[channel]);
                y[at(v)] = (if z > 0.0 { z } else { slope * z }) as f32;
            }
        }
    }
    y
}

#[test]
fn instance_norm_matches_its_definition_and_its_gradient_finite_differences() {
    let dims = Dims { batch: 2, space: [3, 4, 5], channels: 3 };
    // Far from zero, where sums of squares alone would lose the variance.
    let x: Vec<f32> = values(dims.len(), 1).iter().map(|v| v + 100.0).collect();
    let (w, b, g) = (values(3, 4), values(3, 5), values(dims.len(), 6));
    let (y, saved) = norm_act_forward(&x, dims, &w, &b, 1e-5, 0.01);
    assert!(distance(&y, &norm_definition(&x, dims, &w, &b, 0.01)) < 1e-5);
    let back = norm_act_backward(&x, &g, dims, &saved, &w, &b, 0.01);
    let loss = |x: &[f32], w: &[f32], b: &[f32]| dot(&norm_definition(x, dims, w, b, 0.01), &g);
    let step = 1.0 / 1024.0;
    let slope = |plus: f64, minus: f64| (plus - minus) / (2.0 * f64::from(step));
    for i in 0..3 {
        let moved = |sign: f32, from: &[f32]| {
            let mut to = from.to_vec();
            to[i] += sign * step;
            to
        };
        let dw = slope(loss(&x, &moved(1.0, &w), &b), loss(&x, &moved(-1.0, &w), &b));
        assert!((dw - f64::from(back.weight[i])).abs() < 0.05 * dw.abs().max(1.0), "{dw} {:?}", back.weight);
        let db = slope(loss(&x, &w, &moved(1.0, &b)), loss(&x, &w, &moved(-1.0, &b)));
        assert!((db - f64::from(back.bias[i])).abs() < 0.05 * db.abs().max(1.0), "{db} {:?}", back.bias);
        let dx = slope(loss(&moved(1.0, &x), &w, &b), loss(&moved(-1.0, &x), &w, &b));
        assert!((dx - f64::from(back.x[i])).abs() < 0.05 * dx.abs().max(0.2), "{dx} {}", back.x[i]);
    }
    // The gradient of a norm is orthogonal to constants, per sample and channel.
    for sample in back.x.chunks(60 * 3) {
        for channel in 0..3 {
            let sum: f64 = sample.iter().skip(channel).step_by(3).map(|v| f64::from(*v)).sum();
            assert!(sum.abs() < 1e-3, "{sum}");
        }
    }
}
