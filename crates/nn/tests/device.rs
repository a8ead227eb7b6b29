//! The kernels of CUDA devices, on random shapes, against the CPU kernels, and whole networks against candle's view of them.
//!
//! Each body runs on the emulated device, and on the first CUDA device where the feature `cuda` is on and there is one.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use nnunet_nn::cuda::ops::{
    LossTable, LossTarget, NormBackward, Placement, Pool, SgdRule, UpGradients, Warp, channels_first,
    channels_last, contrast, conv_backward_data, conv_backward_weights, conv_forward, gamma, noise,
    norm_apply, norm_backward, norm_none, norm_statistics, pool, pool_backward, sum_channels, up_backward,
    up_forward, warp_image, warp_labels, window_add, window_cut, window_labels, window_mean,
};
use nnunet_nn::cuda::{Array, DeviceNetwork, Emulator, Engine, Kind, Parcel};
use nnunet_nn::kernels::{self, ConvGeometry, Dims};
use nnunet_nn::{NnError, Parameters, UNet};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

mod common;
mod drawn;

use common::values;

/// The devices that there are.
fn engines() -> Vec<Arc<dyn Engine>> {
    let mut found: Vec<Arc<dyn Engine>> = Vec::new();
    match Emulator::is_there() {
        true => found.push(Arc::new(Emulator::new())),
        false => println!("skipped: no C++ compiler, so no emulated device"),
    }
    #[cfg(feature = "cuda")]
    match nnunet_nn::cuda::CudaEngine::new(0) {
        Ok(device) => found.push(Arc::new(device)),
        Err(error) => println!("skipped: {error}"),
    }
    found
}

/// The nearest number that the kind has.
fn rounded(values: &[f32], kind: Kind) -> Vec<f32> {
    let round = |v: &f32| f32::from_bits((v.to_bits() + 0x7fff + (v.to_bits() >> 16 & 1)) & 0xffff_0000);
    if kind == Kind::Bf16 { values.iter().map(round).collect() } else { values.to_vec() }
}

fn upload(engine: &Arc<dyn Engine>, values: &[f32], kind: Kind) -> Array {
    nnunet_nn::cuda::ops::narrow(Array::of_f32(engine, values).unwrap().view(), kind).unwrap()
}

/// Largest difference relative to the largest expected value.
fn deviation(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|v| v.is_finite()), "not finite");
    let largest = expected.iter().fold(1e-12f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[track_caller]
fn close(found: &Array, expected: &[f32], kind: Kind) {
    let found = found.to_f32().unwrap();
    // Sums in another order; results in bf16 are rounded once.
    let bound = if kind == Kind::Bf16 { 8e-3 } else { 2e-5 };
    let apart = deviation(&found, expected);
    assert!(apart <= bound, "{apart} > {bound}");
}

const KINDS: [Kind; 2] = [Kind::F32, Kind::Bf16];

fn conv_case() -> impl Strategy<Value = (Dims, usize, ConvGeometry)> {
    let axes = prop::array::uniform3((1usize..8, prop::sample::select(vec![1usize, 3]), 1usize..4));
    let channels = prop::sample::select(vec![1usize, 2, 4, 5, 8, 32, 33]);
    (axes, 1usize..3, channels.clone(), channels, any::<bool>()).prop_map(
        |(axes, batch, inputs, outputs, same)| {
            let geometry = ConvGeometry::same(axes.map(|a| a.1), axes.map(|a| a.2));
            let padding = if same { geometry.padding } else { [0; 3] };
            let space = axes.map(|a| a.0.max(a.1));
            (Dims { batch, space, channels: inputs }, outputs, ConvGeometry { padding, ..geometry })
        },
    )
}

// The gradient of a single gain is one sum, which may come close to zero and then differs by more than the bound only because
// it is added in another order; the shapes are the same in every run, so that no run depends on drawing such a one.
proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn convolutions_are_those_of_the_cpu((input, channels, g) in conv_case()) {
        let output = Dims { space: g.output(input.space), channels, ..input };
        for engine in engines() {
            for kind in KINDS {
                let x = rounded(&values(input.len(), 1), kind);
                let dy = rounded(&values(output.len(), 2), kind);
                let w = rounded(&values(channels * input.channels * g.taps(), 3), kind);
                let (dx, ddy) = (upload(&engine, &x, kind), upload(&engine, &dy, kind));
                let dw = Array::of_f32(&engine, &w).unwrap();
                let y = conv_forward(dx.view(), input, dw.view(), channels, &g, kind).unwrap();
                close(&y, &kernels::conv_forward(&x, input, &w, None, channels, &g), kind);

                let gradient = upload(&engine, &x, kind);
                let expected = kernels::conv_backward_data(&dy, input, &w, channels, &g);
                conv_backward_data(ddy.view(), input, dw.view(), channels, &g, gradient.view(), false).unwrap();
                close(&gradient, &expected, kind);
                let summed = upload(&engine, &x, kind);
                conv_backward_data(ddy.view(), input, dw.view(), channels, &g, summed.view(), true).unwrap();
                let sum: Vec<f32> = expected.iter().zip(&x).map(|(a, b)| a + b).collect();
                close(&summed, &sum, kind);

                let gradient = Array::zeros(&engine, Kind::F32, w.len()).unwrap();
                conv_backward_weights(dx.view(), input, ddy.view(), channels, &g, gradient.view()).unwrap();
                let (expected, bias) = kernels::conv_backward_weights(&x, input, &dy, channels, &g);
                close(&gradient, &expected, Kind::F32);
                let sums = Array::zeros(&engine, Kind::F32, channels).unwrap();
                sum_channels(ddy.view(), channels, channels, sums.view()).unwrap();
                close(&sums, &bias, Kind::F32);
            }
        }
    }

    #[test]
    fn transposed_convolutions_are_those_of_the_cpu(
        space in prop::array::uniform3(1usize..6),
        stride in prop::array::uniform3(1usize..3),
        (batch, inputs, channels, beside) in (1usize..3, 1usize..9, 1usize..9, 0usize..4),
    ) {
        let input = Dims { batch, space, channels: inputs };
        let boxes = stride.iter().product::<usize>();
        let pitch = channels + beside;
        for engine in engines() {
            for kind in KINDS {
                let x = rounded(&values(input.len(), 1), kind);
                let w = rounded(&values(inputs * channels * boxes, 2), kind);
                let bias = values(channels, 3);
                let rows = batch * input.voxels() * boxes;
                let dy = rounded(&values(rows * pitch, 4), kind);
                let own: Vec<f32> = dy.chunks_exact(pitch).flat_map(|row| row[..channels].to_vec()).collect();
                let [ax, ady] = [&x, &dy].map(|v| upload(&engine, v, kind));
                let [aw, ab] = [&w, &bias].map(|v| Array::of_f32(&engine, v).unwrap());
                let y = Array::zeros(&engine, kind, rows * pitch).unwrap();
                up_forward(ax.view(), input, aw.view(), Some(ab.view()), channels, stride, y.view(), pitch).unwrap();
                close(&y, &kernels::conv_transpose_forward(&x, input, &w, Some(&bias), channels, stride, pitch), kind);
                let [dw, db] = [w.len(), channels].map(|n| Array::zeros(&engine, Kind::F32, n).unwrap());
                let dx = Array::zeros(&engine, kind, input.len()).unwrap();
                let to = UpGradients { dx: (dx.view(), false), dw: dw.view(), dbias: Some(db.view()) };
                up_backward(ax.view(), input, aw.view(), ady.view(), channels, stride, pitch, to).unwrap();
                close(&dx, &kernels::conv_transpose_backward_data(&own, input, &w, channels, stride), kind);
                let (ew, eb) = kernels::conv_transpose_backward_weights(&x, input, &own, channels, stride);
                close(&dw, &ew, Kind::F32);
                close(&db, &eb, Kind::F32);
            }
        }
    }

    #[test]
    fn norms_are_those_of_the_cpu(
        space in prop::array::uniform3(1usize..12),
        (batch, channels, summed) in (1usize..3, prop::sample::select(vec![1usize, 3, 4, 32, 40]), any::<bool>()),
    ) {
        let dims = Dims { batch, space, channels };
        prop_assume!(dims.voxels() > 3);
        let slope = 0.01;
        for engine in engines() {
            for kind in KINDS {
                let y: Vec<f32> = rounded(&values(dims.len(), 1).iter().map(|v| v * 2.0 + 1.0).collect::<Vec<_>>(), kind);
                let (dz, other) = (rounded(&values(dims.len(), 2), kind), rounded(&values(dims.len(), 3), kind));
                let gain: Vec<f32> = values(channels, 4).iter().map(|v| v + 1.5).collect();
                let beta = values(channels, 5);
                let [ay, adz, aother] = [&y, &dz, &other].map(|v| upload(&engine, v, kind));
                let [ag, ab] = [&gain, &beta].map(|v| Array::of_f32(&engine, v).unwrap());
                let rows = norm_statistics(ay.view(), dims, Some(ag.view()), Some(ab.view()), 1e-5).unwrap();
                let (plain, saved) = kernels::norm_act_forward(&y, dims, &gain, &beta, 1e-5, 1.0);
                let leaky = |v: f32| if v > 0.0 { v } else { v * slope };
                let added: Vec<f32> = plain.iter().zip(&other).map(|(a, b)| if summed { a + b } else { *a }).collect();
                let z = norm_apply(ay.view(), dims, &rows, summed.then(|| aother.view()), slope).unwrap();
                let expected: Vec<f32> = added.iter().map(|v| leaky(*v)).collect();
                close(&z, &expected, kind);

                // Signs are those of the output as it is kept.
                let kept = z.to_f32().unwrap();
                let g: Vec<f32> = dz.iter().zip(&kept).map(|(g, z)| if *z > 0.0 { *g } else { g * slope }).collect();
                let expected = kernels::norm_act_backward(&y, &g, dims, &saved, &gain, &beta, 1.0);
                let [dg, db] = [(); 2].map(|()| Array::zeros(&engine, Kind::F32, channels).unwrap());
                let dother = upload(&engine, &other, kind);
                let of = NormBackward {
                    dz: adz.view(), z: z.view(), y: ay.view(), rows: &rows, gamma: Some(ag.view()), slope,
                    dgamma: Some(dg.view()), dbeta: Some(db.view()), dother: Some((dother.view(), summed)),
                };
                let dy = norm_backward(&of, dims).unwrap();
                close(&dy, &expected.x, kind);
                let sum_bound = if kind == Kind::Bf16 { kind } else { Kind::F32 };
                close(&dg, &expected.weight, sum_bound);
                close(&db, &expected.bias, sum_bound);
                let through: Vec<f32> = g.iter().zip(&other).map(|(g, o)| if summed { g + o } else { *g }).collect();
                close(&dother, &through, kind);
            }
        }
    }

    #[test]
    fn layers_without_norm_add_their_bias(space in prop::array::uniform3(1usize..6), channels in 1usize..6) {
        let dims = Dims { batch: 2, space, channels };
        for engine in engines() {
            let (y, bias, dz) = (values(dims.len(), 1), values(channels, 2), values(dims.len(), 3));
            let [ay, ab, adz] = [&y, &bias, &dz].map(|v| Array::of_f32(&engine, v).unwrap());
            let rows = norm_none(ay.view(), dims, Some(ab.view())).unwrap();
            let z = norm_apply(ay.view(), dims, &rows, None, 0.1).unwrap();
            let sum = |i: usize| y[i] + bias[i % channels];
            let expected: Vec<f32> = (0..y.len()).map(|i| if sum(i) > 0.0 { sum(i) } else { sum(i) * 0.1 }).collect();
            close(&z, &expected, Kind::F32);
            let db = Array::zeros(&engine, Kind::F32, channels).unwrap();
            let of = NormBackward {
                dz: adz.view(), z: z.view(), y: ay.view(), rows: &rows, gamma: None, slope: 0.1, dgamma: None,
                dbeta: Some(db.view()), dother: None,
            };
            let expected: Vec<f32> = (0..y.len()).map(|i| if sum(i) > 0.0 { dz[i] } else { dz[i] * 0.1 }).collect();
            close(&norm_backward(&of, dims).unwrap(), &expected, Kind::F32);
            let sums: Vec<f32> = (0..channels).map(|c| expected.iter().skip(c).step_by(channels).sum()).collect();
            prop_assert!(deviation(&db.to_f32().unwrap(), &sums) < 1e-4);
        }
    }

    #[test]
    fn pools_and_orders_of_axes(space in prop::array::uniform3(2usize..7), stride in prop::array::uniform3(1usize..3)) {
        let input = Dims { batch: 2, space, channels: 3 };
        let of = Pool { input, stride };
        let out = of.output();
        for engine in engines() {
            let x = values(input.len(), 1);
            let ax = Array::of_f32(&engine, &x).unwrap();
            let at = |d: Dims, b: usize, v: [usize; 3], c: usize| {
                (((b * d.space[0] + v[0]) * d.space[1] + v[1]) * d.space[2] + v[2]) * d.channels + c
            };
            let (mut means, dy) = (vec![0.0; out.len()], values(out.len(), 2));
            let mut dx = x.clone();
            let share = 1.0 / stride.iter().product::<usize>() as f32;
            for b in 0..2 {
                for c in 0..3 {
                    for v in 0..input.voxels() {
                        let v = [v / space[2] / space[1], v / space[2] % space[1], v % space[2]];
                        let o: [usize; 3] = std::array::from_fn(|a| v[a] / stride[a]);
                        if (0..3).all(|a| o[a] < out.space[a]) {
                            means[at(out, b, o, c)] += x[at(input, b, v, c)] * share;
                            dx[at(input, b, v, c)] += dy[at(out, b, o, c)] * share;
                        }
                    }
                }
            }
            close(&pool(ax.view(), of).unwrap(), &means, Kind::F32);
            let ady = Array::of_f32(&engine, &dy).unwrap();
            let first = channels_first(ax.view(), input).unwrap();
            close(&channels_last(first.view(), input, Kind::F32).unwrap(), &x, Kind::F32);
            prop_assert_eq!(first.to_f32().unwrap()[1], x[3]);
            pool_backward(ady.view(), of, ax.view(), true).unwrap();
            close(&ax, &dx, Kind::F32);
        }
    }

    #[test]
    fn networks_are_those_of_the_cpu(network in drawn::drawn(), kind in prop::sample::select(KINDS.to_vec())) {
        for engine in engines() {
            check_network(&engine, &network, kind)?;
        }
    }
}

/// The loss of a training step, and the weights before and after it, on the device and layer by layer on the CPU.
fn check_network(engine: &Arc<dyn Engine>, of: &drawn::Drawn, kind: Kind) -> Result<(), TestCaseError> {
    let parameters = Parameters::new(&of.spec, of.channels, of.classes, 0, &Device::Cpu).unwrap();
    drawn::fill(&parameters);
    let network = UNet::new(&of.spec, of.channels, of.classes, &parameters).unwrap();
    let dims = Dims { batch: 2, space: of.size, channels: of.channels };
    let x = rounded(&values(dims.len(), 1), kind);
    let [z, y, w] = of.size;
    let tensor = Tensor::from_slice(&x, (2, z, y, w, of.channels), &Device::Cpu).unwrap();
    let outputs = network.forward_layers(&tensor.permute((0, 4, 1, 2, 3)).unwrap(), &parameters).unwrap();
    let device = DeviceNetwork::new(engine, &network, kind).unwrap();
    let logits = device.logits(upload(engine, &x, kind), of.size, 2).unwrap().to_f32().unwrap();
    let expected = outputs[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let apart = deviation(&logits, &expected);
    // Norms over a few voxels magnify what rounding leaves.
    let smallest =
        of.spec.strides.iter().fold(of.size, |size, stride| std::array::from_fn(|a| size[a] / stride[a]));
    let calm = smallest.iter().product::<usize>() >= 8;
    if kind == Kind::F32 && calm {
        prop_assert!(apart < 2e-3, "{apart} of {of:?}");
        check_gradients(engine, of, &network, &parameters, (&x, dims), &outputs)?;
    }
    Ok(())
}

/// The loss and its gradients of all weights, against candle's autograd: the momenta after a first step that nothing clips.
fn check_gradients(
    engine: &Arc<dyn Engine>,
    of: &drawn::Drawn,
    network: &UNet,
    parameters: &Parameters,
    (x, dims): (&[f32], Dims),
    outputs: &[Tensor],
) -> Result<(), TestCaseError> {
    let mut total: Option<Tensor> = None;
    let (mut labels, mut shapes) = (Vec::new(), Vec::new());
    let needed = if outputs.len() > 1 { outputs.len() - 1 } else { 1 };
    for (number, logits) in outputs[..needed].iter().enumerate() {
        let (b, z, y, w, c) = logits.dims5().unwrap();
        let count = b * z * y * w;
        let truth: Vec<i16> = values(count, 9)
            .iter()
            .map(|v| (((v + 1.0) / 2.0 * c as f32) as i16).min(c as i16 - 1))
            .collect();
        let loss = candle_loss(&logits.reshape((count, c)).unwrap(), &truth, c);
        let loss = (loss * 0.5f64.powi(number as i32)).unwrap();
        total = Some(match total {
            None => loss,
            Some(sum) => (sum + loss).unwrap(),
        });
        labels.push(truth);
        shapes.push(Dims { batch: b, space: [z, y, w], channels: 1 });
    }
    let total = total.unwrap();
    let gradients = total.backward().unwrap();
    let targets: Vec<LossTarget<'_>> = labels
        .iter()
        .zip(&shapes)
        .enumerate()
        .map(|(number, (labels, dims))| LossTarget {
            dims: *dims,
            labels,
            weight: 0.5f64.powi(number as i32),
        })
        .collect();
    let mut device = DeviceNetwork::new(engine, network, Kind::F32).unwrap();
    let rule = SgdRule { momentum: 0.9, weight_decay: 0.0, clip: 1e9, lr: 0.1 };
    let table = LossTable::labels(of.classes, None, true);
    let report = device.step(x, dims, &targets, &table, rule).unwrap();
    let expected = total.to_scalar::<f32>().unwrap();
    prop_assert!((report.loss - expected).abs() < 1e-3 * expected.abs().max(1.0), "{report:?} {expected}");
    let (mut found, mut all) = (Vec::new(), Vec::new());
    for (name, momentum) in device.momenta(parameters).unwrap() {
        let gradient = gradients.get(parameters.get(&name).unwrap());
        let zeros = momentum.zeros_like().unwrap();
        all.extend(gradient.unwrap_or(&zeros).flatten_all().unwrap().to_vec1::<f32>().unwrap());
        // A bias before a norm has no effect; what is computed for it elsewhere is rounding.
        let idle = of.spec.norm.is_some() && name.contains(".conv") && name.ends_with("conv.bias");
        let values = momentum.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        if idle {
            all.truncate(found.len());
        } else {
            found.extend(values);
        }
    }
    let squares = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let apart = squares(&mut found.iter().zip(&all).map(|(a, b)| a - b)) / squares(&mut all.iter().copied());
    prop_assert!(apart.sqrt() < 1e-2, "{} of {of:?}", apart.sqrt());
    Ok(())
}

/// Cross-entropy minus mean Dice over the batch of logits (voxel, class), by candle's operations.
fn candle_loss(logits: &Tensor, labels: &[i16], classes: usize) -> Tensor {
    let rows: Vec<f32> = labels
        .iter()
        .flat_map(|&l| (0..classes).map(move |c| f32::from(u8::from(l as usize == c))))
        .collect();
    let truth = Tensor::from_vec(rows, logits.shape(), &Device::Cpu).unwrap();
    let exp = logits.broadcast_sub(&logits.max_keepdim(1).unwrap().detach()).unwrap().exp().unwrap();
    let p = exp.broadcast_div(&exp.sum_keepdim(1).unwrap()).unwrap();
    let entropy = ((&truth * p.log().unwrap()).unwrap().sum_all().unwrap() / -(labels.len() as f64)).unwrap();
    let hit = (&p * &truth).unwrap().sum(0).unwrap();
    let sum = (p.sum(0).unwrap() + truth.sum(0).unwrap()).unwrap();
    let dice = (((hit * 2.0).unwrap() + 1e-5).unwrap() / (sum + 1e-5).unwrap()).unwrap();
    let dice = dice.narrow(0, 1, classes - 1).unwrap().mean_all().unwrap();
    (entropy - dice).unwrap()
}

#[test]
fn augmentation_is_what_it_says() {
    for engine in engines() {
        let (from, to) = ([6, 7, 8], [5, 6, 9]);
        let image = values(2 * 336, 1);
        let labels: Vec<i16> = (0..336).map(|i| (i % 5) as i16).collect();
        let matrix = [[0.9, 0.2, 0.0], [-0.2, 1.1, 0.1], [0.0, 0.1, 0.8]];
        let centre = from.map(|n| (n as f32 - 1.0) / 2.0);
        let warp = Warp { from, to, matrix, centre };
        let found =
            warp_image(Array::of_f32(&engine, &image).unwrap().view(), &warp).unwrap().to_f32().unwrap();
        let nearest = warp_labels(Array::of_i16(&engine, &labels).unwrap().view(), &warp).unwrap();
        let nearest = nearest.to_i16().unwrap();
        for v in 0..270 {
            let place = [v / 54, v / 9 % 6, v % 9];
            let offset: [f64; 3] = std::array::from_fn(|a| place[a] as f64 - (to[a] as f64 - 1.0) / 2.0);
            let at: [f64; 3] = std::array::from_fn(|a| {
                (0..3).map(|k| f64::from(matrix[a][k]) * offset[k]).sum::<f64>()
                    + (from[a] as f64 - 1.0) / 2.0
            });
            let value = |p: [i64; 3], c: usize| {
                let inside = (0..3).all(|a| (0..from[a] as i64).contains(&p[a]));
                inside
                    .then(|| (p[0] as usize * 7 + p[1] as usize) * 8 + p[2] as usize)
                    .map(|i| (i, image[c * 336 + i]))
            };
            for c in 0..2 {
                let sum: f64 = (0..8)
                    .map(|corner: usize| {
                        let step = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
                        let p: [i64; 3] = std::array::from_fn(|a| at[a].floor() as i64 + step[a] as i64);
                        let part = |a: usize| {
                            if step[a] == 1 { at[a] - at[a].floor() } else { 1.0 - (at[a] - at[a].floor()) }
                        };
                        value(p, c).map_or(0.0, |(_, v)| f64::from(v)) * part(0) * part(1) * part(2)
                    })
                    .sum();
                assert!((sum - f64::from(found[c * 270 + v])).abs() < 1e-4);
            }
            if at.iter().all(|a| (a - a.floor() - 0.5).abs() > 1e-3) {
                let label = value(at.map(|a| a.round() as i64), 0).map_or(-1, |(i, _)| labels[i]);
                assert_eq!(nearest[v], label);
            }
        }
        let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / v.len() as f64;
        let deviation = |v: &[f32]| {
            (v.iter().map(|&x| (f64::from(x) - mean(v)).powi(2)).sum::<f64>() / v.len() as f64).sqrt()
        };
        let channel = values(5000, 3);
        let array = || Array::of_f32(&engine, &channel).unwrap();
        for inverted in [false, true] {
            let raised = array();
            gamma(raised.view(), 1.4, inverted).unwrap();
            let raised = raised.to_f32().unwrap();
            assert!((mean(&raised) - mean(&channel)).abs() < 1e-4);
            assert!((deviation(&raised) - deviation(&channel)).abs() < 1e-4);
            let order = |v: &[f32]| (v[17] < v[99], v[7] < v[4000]);
            assert_eq!(order(&raised), order(&channel));
            assert!(super_deviation(&raised, &channel) > 1e-3);
        }
        let stretched = array();
        contrast(stretched.view(), 1.5, true).unwrap();
        let stretched = stretched.to_f32().unwrap();
        let (low, high) = channel.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        for (found, &v) in stretched.iter().zip(&channel) {
            let expected = ((f64::from(v) - mean(&channel)) * 1.5 + mean(&channel)) as f32;
            assert!((found - expected.clamp(low, high)).abs() < 1e-5);
        }
        let noisy = |key| {
            let array = Array::zeros(&engine, Kind::F32, 20_001).unwrap();
            noise(array.view(), 0.5, key).unwrap();
            array.to_f32().unwrap()
        };
        let (first, second) = (noisy(7), noisy(8));
        assert_eq!(first, noisy(7));
        assert!(mean(&first).abs() < 0.02 && (deviation(&first) - 0.5).abs() < 0.02);
        let beyond = first.iter().filter(|v| v.abs() > 1.0).count() as f64 / 20_001.0;
        assert!((beyond - 0.0455).abs() < 0.008, "{beyond}");
        let common: f64 = first.iter().zip(&second).map(|(a, b)| f64::from(a * b)).sum::<f64>() / 20_001.0;
        assert!(common.abs() < 0.01);
    }
}

fn super_deviation(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

#[test]
fn parcels_hold_what_was_sent_and_leave_nothing_behind() {
    for engine in engines() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        // More than are filled at a time, opened in another order than sent, one never.
        let send = |k: usize| Parcel::of_f32(&engine, &values[k..]).unwrap();
        let [first, second, lost, last] = [0, 1, 2, 3].map(send);
        assert_eq!(last.open().unwrap().to_f32().unwrap(), values[3..]);
        drop(lost);
        assert_eq!(second.open().unwrap().to_f32().unwrap(), values[1..]);
        assert_eq!(first.open().unwrap().to_f32().unwrap(), values);
        let labels = Parcel::of_i16(&engine, &[3, -1, 7]).unwrap();
        assert_eq!(labels.open().unwrap().to_i16().unwrap(), [3, -1, 7]);
        assert_eq!(Parcel::of_f32(&engine, &[]).unwrap().open().unwrap().to_f32().unwrap(), [0.0; 0]);
    }
    if Emulator::is_there() {
        let engine: Arc<dyn Engine> = Arc::new(Emulator::with_memory(4096));
        for _ in 0..100 {
            drop(Parcel::of_f32(&engine, &[1.0; 1000]).unwrap());
        }
        let two = Parcel::of_f32(&engine, &[1.0; 1000]).and_then(|_one| Parcel::of_f32(&engine, &[1.0; 100]));
        assert!(matches!(two, Err(NnError::DeviceMemory { asked: 400, .. })));
        assert_eq!(engine.memory().unwrap().0, 4096);
    }
}

#[test]
fn windows_are_cut_turned_and_put_back() {
    for engine in engines() {
        let (image, patch) = ([5, 6, 7], [4, 5, 3]);
        let values = values(2 * 210, 1);
        let array = Array::of_f32(&engine, &values).unwrap();
        let [sums, weights] = [420, 210].map(|n| Array::zeros(&engine, Kind::F32, n).unwrap());
        let importance: Vec<f32> = (0..60).map(|i| 0.5 + i as f32).collect();
        let map = Array::of_f32(&engine, &importance).unwrap();
        // Tiles that cover every voxel, each as a tile and turned; what is put back is the image itself.
        for origin in (0..36).map(|i| [i / 12 * 2 - 1, i / 4 % 3 * 2 - 1, i % 4 * 2 - 1]) {
            for flip in [[false; 3], [true, false, true]] {
                let place = Placement { image, patch, origin, flip };
                let tile = window_cut(array.view(), 2, &place, Kind::F32).unwrap();
                window_add(tile.view(), 2, Some(map.view()), &place, 1.0, sums.view(), Some(weights.view()))
                    .unwrap();
            }
        }
        assert_eq!(window_mean(sums.view(), weights.view(), 2).unwrap(), None);
        let expected: Vec<f32> = (0..420).map(|i| values[i % 2 * 210 + i / 2]).collect();
        close(&sums, &expected, Kind::F32);
        let labels = window_labels(sums.view(), 2).unwrap().to_i16().unwrap();
        assert!(labels.iter().enumerate().all(|(v, &l)| (l == 1) == (expected[2 * v + 1] > expected[2 * v])));
        let empty = Array::zeros(&engine, Kind::F32, 210).unwrap();
        empty.view().range(0..7).unwrap().write_f32(&[1.0; 7]).unwrap();
        assert_eq!(window_mean(sums.view(), empty.view(), 2).unwrap(), Some(7));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    if !Emulator::is_there() {
        return println!("skipped: no C++ compiler, so no emulated device");
    }
    let engine: Arc<dyn Engine> = Arc::new(Emulator::with_memory(1000));
    let error = Array::new(&engine, Kind::F32, 1000).unwrap_err();
    assert!(matches!(error, NnError::DeviceMemory { asked: 4000, .. }), "{error}");
    assert!(error.to_string().contains("--batch-size") && error.to_string().contains("--vram-gb"), "{error}");
    let kept = Array::new(&engine, Kind::Bf16, 400).unwrap();
    assert_eq!(engine.memory().unwrap().0, 200);
    assert!(kept.view().range(300..401).is_err() && kept.view().write_f32(&[0.0; 400]).is_err());
    drop(kept);
    assert_eq!(engine.memory().unwrap().0, 1000);
    let x = Array::new(&engine, Kind::F32, 8).unwrap();
    let dims = Dims { batch: 1, space: [1, 2, 2], channels: 3 };
    assert!(norm_statistics(x.view(), dims, None, None, 1e-5).is_err());
}
