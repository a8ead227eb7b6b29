//! What a training step asks of a CUDA device: operations, bytes, launches and memory, counted by an engine that does
//! nothing else, and the shortest time that an H100's and an RTX 4090's limits allow for it.
//!
//! `cargo run --release -p nnunet-nn --features emulator --example device_cost`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;
use nnunet_nn::cuda::ops::{LossTable, LossTarget, SgdRule};
use nnunet_nn::cuda::{Argument, Convolution, DeviceNetwork, Engine, Gemm, Kind};
use nnunet_nn::kernels::Dims;
use nnunet_nn::{NnError, Parameters, UNet};
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};

/// Name, bf16 operations per second with sums in f32 (dense), bytes per second: from the manufacturer's data sheets.
const CARDS: [(&str, f64, f64); 2] = [("H100 SXM", 989e12, 3.35e12), ("RTX 4090", 165e12, 1.008e12)];
/// Seconds that a launch takes at least.
const LAUNCH: f64 = 4e-6;

#[derive(Debug, Default)]
struct Counts {
    live: BTreeMap<u64, usize>,
    next: u64,
    used: usize,
    peak: usize,
    launches: usize,
    convolutions: f64,
    conv_bytes: f64,
    other_bytes: f64,
    floor: [f64; 2],
}

/// Counts what it is asked for; arrays have addresses, but no memory.
#[derive(Debug, Default)]
struct Ledger(Mutex<Counts>);

impl Ledger {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, operations: f64, bytes: f64) {
        let mut counts = self.counts();
        counts.launches += 1;
        counts.convolutions += operations;
        match operations > 0.0 {
            true => counts.conv_bytes += bytes,
            false => counts.other_bytes += bytes,
        }
        for (floor, (_, peak, bandwidth)) in counts.floor.iter_mut().zip(CARDS) {
            *floor += (operations / peak).max(bytes / bandwidth).max(LAUNCH);
        }
    }
}

impl Engine for Ledger {
    fn name(&self) -> String {
        "ledger".to_owned()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, NnError> {
        let mut counts = self.counts();
        counts.next += 1 << 40;
        counts.used += bytes;
        counts.peak = counts.peak.max(counts.used);
        let pointer = counts.next;
        counts.live.insert(pointer, bytes);
        Ok(pointer)
    }

    fn release(&self, pointer: u64, bytes: usize) {
        let mut counts = self.counts();
        counts.live.remove(&pointer);
        counts.used -= bytes;
    }

    fn clear(&self, _: u64, bytes: usize) -> Result<(), NnError> {
        self.work(0.0, bytes as f64);
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), NnError> {
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<u64, NnError> {
        self.allocate(bytes.len().max(1))
    }

    fn arrive(&self, _: u64) -> Result<(), NnError> {
        Ok(())
    }

    fn read(&self, _: u64, bytes: &mut [u8]) -> Result<(), NnError> {
        bytes.fill(0);
        Ok(())
    }

    fn wait(&self) -> Result<(), NnError> {
        Ok(())
    }

    fn memory(&self) -> Result<(usize, usize), NnError> {
        Ok((usize::MAX, usize::MAX))
    }

    fn launch(&self, kernel: &str, _: [u32; 3], arguments: &[Argument]) -> Result<(), NnError> {
        // Whole arrays are read or written once; what lies in the array of all weights, as far as the kernel's sizes say.
        let words = |i: usize| match arguments.get(i) {
            Some(Argument::U32(n)) => f64::from(*n),
            _ => 1.0,
        };
        let bytes = match kernel.contains("pack_weights") {
            true => words(2) * words(3) * words(4) * 6.0,
            false => {
                let counts = self.counts();
                let of = |argument: &Argument| match argument {
                    Argument::Pointer(at) => counts.live.get(at).copied().unwrap_or(0) as f64,
                    _ => 0.0,
                };
                arguments.iter().map(of).sum()
            }
        };
        self.work(0.0, bytes);
        Ok(())
    }

    fn gemm(&self, g: &Gemm) -> Result<(), NnError> {
        let bytes = |kind: Kind| kind.bytes() as f64;
        let [m, n, k] = [g.m, g.n, g.k].map(|n| n as f64);
        let moved = m * k * bytes(g.a.kind)
            + k * n * bytes(g.b.kind)
            + m * n * bytes(g.c.kind) * f64::from(1.0 + g.beta);
        self.work(2.0 * m * n * k, moved);
        Ok(())
    }

    fn convolve(&self, c: &Convolution) -> Result<bool, NnError> {
        let outputs = (c.input.batch * c.geometry.output(c.input.space).iter().product::<usize>()) as f64;
        let (channels, inputs, taps) = (c.channels as f64, c.input.channels as f64, c.geometry.taps() as f64);
        let values = c.input.len() as f64 + outputs * channels + channels * inputs * taps;
        self.work(2.0 * outputs * channels * inputs * taps, values * c.kind.bytes() as f64);
        Ok(true)
    }
}

fn spec(
    stages: usize,
    features: &[usize],
    strides: Vec<[usize; 3]>,
    residual: Option<Vec<usize>>,
) -> NetworkSpec {
    let plain = residual.is_none();
    NetworkSpec {
        kind: if plain { NetworkKind::PlainConvUNet } else { NetworkKind::ResidualEncoderUNet },
        dims: 3,
        features: features.to_vec(),
        kernel_sizes: vec![[3; 3]; stages],
        strides,
        encoder_convs: residual.unwrap_or_else(|| vec![2; stages]),
        decoder_convs: vec![if plain { 2 } else { 1 }; stages - 1],
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let halved = |n: usize| [vec![[1; 3]], vec![[2; 3]; n]].concat();
    let wide = [32, 64, 128, 256, 320, 320];
    let configurations = [
        ("hippocampus, 3d_fullres", spec(4, &[32, 64, 128, 256], halved(3), None), [40, 56, 40], 9),
        ("128³, default planner", spec(6, &wide, halved(5), None), [128; 3], 2),
        ("128³, ResEnc-M", spec(6, &wide, halved(5), Some(vec![1, 3, 4, 6, 6, 6])), [128; 3], 2),
    ];
    for (name, spec, size, batch) in configurations {
        let ledger = Arc::new(Ledger::default());
        let engine: Arc<dyn Engine> = ledger.clone();
        let parameters = Parameters::new(&spec, 1, 3, 0, &Device::Cpu)?;
        let network = UNet::new(&spec, 1, 3, &parameters)?;
        let mut device = DeviceNetwork::new(&engine, &network, Kind::Bf16)?;
        let dims = Dims { batch, space: size, channels: 1 };
        let scales = spec.deep_supervision_scales();
        let shapes: Vec<Dims> = scales[..scales.len() - 1]
            .iter()
            .map(|scale| Dims {
                space: std::array::from_fn(|a| (size[a] as f64 * scale[a]).round() as usize),
                ..dims
            })
            .collect();
        let labels: Vec<Vec<i16>> = shapes.iter().map(|dims| vec![0; dims.batch * dims.voxels()]).collect();
        let targets: Vec<LossTarget<'_>> = labels
            .iter()
            .zip(&shapes)
            .map(|(labels, dims)| LossTarget { dims: *dims, labels, weight: 0.5 })
            .collect();
        let rule = SgdRule { momentum: 0.99, weight_decay: 3e-5, clip: 12.0, lr: 0.01 };
        let (table, x) = (LossTable::labels(3, None, true), vec![0.0; dims.len()]);
        // The first step makes the momenta.
        for _ in 0..2 {
            let before = Counts { live: ledger.counts().live.clone(), ..Counts::default() };
            let old = std::mem::take(&mut *ledger.counts());
            *ledger.counts() = Counts { next: old.next, used: old.used, peak: old.used, ..before };
            device.step(&x, dims, &targets, &table, rule)?;
        }
        let counts = ledger.counts();
        println!("{name}: batch {batch}, {size:?}, {:.1} M weights", parameters.count() as f64 / 1e6);
        println!("  products {:.2} TFLOP over {:.2} GB", counts.convolutions / 1e12, counts.conv_bytes / 1e9);
        println!("  everything else {:.2} GB, launches {}", counts.other_bytes / 1e9, counts.launches);
        println!("  memory {:.2} GB", counts.peak as f64 / 1e9);
        for ((card, ..), floor) in CARDS.iter().zip(counts.floor) {
            println!("  {card}: at least {:.1} ms, 250 of them {:.1} s", floor * 1e3, floor * 250.0);
        }
    }
    Ok(())
}
