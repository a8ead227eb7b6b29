//! The executor against the network that autograd follows, on drawn architectures, shapes and instruction sets.
//!
//! Tolerance: 1e-5 relative in the L2 norm.

mod common;
mod drawn;

use candle_core::{Device, Tensor};
use common::small;
use drawn::{drawn, fill};
use nnunet_nn::{Executor, Isa, Parameters, Precision, UNet, set_isa};
use nnunet_plan::{NetworkKind, NetworkSpec};
use proptest::prelude::*;

/// The instruction set is a setting of the process: one test at a time.
static ISA: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares = |f: &dyn Fn(usize) -> f64| (0..found.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let apart = squares(&|i| f64::from(found[i]) - f64::from(expected[i]));
    (apart / squares(&|i| f64::from(expected[i])).max(1e-30)).sqrt()
}

/// Numbers from −1 to 1 that look random.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761 + i / 7) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn network(spec: &NetworkSpec, channels: usize, classes: usize) -> UNet {
    let parameters = Parameters::new(spec, channels, classes, 0, &Device::Cpu).unwrap();
    fill(&parameters);
    UNet::new(spec, channels, classes, &parameters).unwrap()
}

fn tracked(network: &UNet, channels: usize, size: [usize; 3], tile: &[f32]) -> Vec<f32> {
    let [z, y, x] = size;
    let tile = Tensor::from_slice(tile, (1, channels, z, y, x), &Device::Cpu).unwrap();
    network.forward_deep(&tile).unwrap()[0].flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_network(drawn in drawn(), isa in prop::sample::select(vec![Isa::Portable, Isa::Avx2, Isa::Avx512])) {
        let _turn = ISA.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let network = network(&drawn.spec, drawn.channels, drawn.classes);
        let tile = values(drawn.channels * drawn.size.iter().product::<usize>());
        set_isa(isa);
        let expected = tracked(&network, drawn.channels, drawn.size, &tile);
        // Over a few voxels a norm may divide by next to nothing; such networks magnify every rounding.
        let nudged: Vec<f32> = tile.iter().enumerate().map(|(i, v)| v * (1.0 + 1e-5 * (i as f32).sin())).collect();
        let magnified = relative(&tracked(&network, drawn.channels, drawn.size, &nudged), &expected) / 1e-5;
        prop_assume!(magnified < 10.0);
        let executor = Executor::new(&network, drawn.size, Precision::F32).unwrap();
        let (first, again) = (executor.forward(&tile).unwrap(), executor.forward(&tile).unwrap());
        let direct = Executor::direct(&network, drawn.size).unwrap().forward(&tile).unwrap();
        set_isa(Isa::Avx512);
        prop_assert!(relative(&direct, &expected) < 1e-5);
        let apart = relative(&first, &expected);
        prop_assert!(apart < 1e-5, "{apart:e} where changes are magnified by {magnified}");
        prop_assert_eq!(first, again);
    }
}

fn usual(kind: NetworkKind) -> NetworkSpec {
    NetworkSpec {
        features: vec![32, 64, 128],
        kernel_sizes: vec![[3; 3]; 3],
        strides: vec![[1; 3], [2; 3], [2; 3]],
        ..small(kind, 3)
    }
}

#[test]
fn the_usual_networks_from_several_threads_with_one_workspace_each() {
    let _turn = ISA.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for kind in [NetworkKind::PlainConvUNet, NetworkKind::ResidualEncoderUNet] {
        let (network, size) = (network(&usual(kind), 2, 3), [16, 24, 20]);
        let executor = Executor::new(&network, size, Precision::F32).unwrap();
        let tiles: Vec<Vec<f32>> = (0..3).map(|k| values(2 * 16 * 24 * 20 + k).split_off(k)).collect();
        let expected: Vec<_> = tiles.iter().map(|tile| tracked(&network, 2, size, tile)).collect();
        std::thread::scope(|scope| {
            for (tile, expected) in tiles.iter().zip(&expected) {
                let executor = &executor;
                scope.spawn(move || {
                    for _ in 0..2 {
                        let apart = relative(&executor.forward(tile).unwrap(), expected);
                        assert!(apart < 1e-5, "{apart:e}");
                    }
                });
            }
        });
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one.install(|| executor.forward(&tiles[0]).unwrap());
        assert_eq!(alone, executor.forward(&tiles[0]).unwrap());
    }
}

#[test]
fn tiles_and_sizes_that_do_not_fit_are_errors() {
    let network = network(&small(NetworkKind::PlainConvUNet, 3), 1, 2);
    let error = Executor::new(&network, [4, 6, 8], Precision::F32).unwrap_err().to_string();
    assert!(error.contains("[2, 4, 4]"), "{error}");
    let executor = Executor::new(&network, [4, 8, 8], Precision::F32).unwrap();
    let error = executor.forward(&[0.0; 255]).unwrap_err().to_string();
    assert!(error.contains("255") && error.contains("256"), "{error}");
}
