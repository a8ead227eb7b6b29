//! What the benches share: the networks that are measured and their layers.

use nnunet::nn::Precision;
use nnunet::nn::kernels::{ConvGeometry, Dims, TransposedConvolution};
use nnunet::plan::{NetworkKind, NetworkSpec, NormSpec};

/// The allocator of the program `nnunet`, with what it keeps in training.
#[global_allocator]
pub static ALLOCATOR: nnunet::nn::RecyclingAllocator = nnunet::nn::RecyclingAllocator::new(1 << 30);

/// A network with the patch and batch that it is measured with.
#[derive(Debug, Clone)]
pub struct Net {
    /// How it is called in tables.
    pub name: &'static str,
    /// Its architecture.
    pub spec: NetworkSpec,
    /// Voxels along z, y, x.
    pub patch: [usize; 3],
    /// Samples.
    pub batch: usize,
    /// Classes.
    pub classes: usize,
}

impl Net {
    /// The hippocampus configuration: 4 stages, 32 to 256 features, 40×56×40, batch 7.
    pub fn hippocampus() -> Self {
        let spec = plain(vec![32, 64, 128, 256]);
        Self { name: "hippocampus", spec, patch: [40, 56, 40], batch: 7, classes: 3 }
    }

    /// The default 3-D network: 6 stages, 32 to 320 features, 128×128×128, batch 2.
    pub fn full() -> Self {
        let spec = plain(vec![32, 64, 128, 256, 320, 320]);
        Self { name: "default", spec, patch: [128; 3], batch: 2, classes: 3 }
    }

    /// The convolutions of the network, each kind once.
    pub fn layers(&self) -> Vec<Layer> {
        let mut all: Vec<Layer> = Vec::new();
        let mut add = |input: Dims, channels, kernel, stride: [usize; 3]| {
            let layer = Layer { input, channels, geometry: ConvGeometry::same(kernel, stride), times: 1 };
            match all.iter_mut().find(|known| known.same(&layer)) {
                Some(known) => known.times += 1,
                None => all.push(layer),
            }
        };
        let (spec, mut channels, mut space) = (&self.spec, 1, self.patch);
        let mut stages = Vec::new();
        for stage in 0..spec.features.len() {
            for i in 0..spec.encoder_convs[stage] {
                let stride = if i == 0 { spec.strides[stage] } else { [1; 3] };
                let input = Dims { batch: self.batch, space, channels };
                add(input, spec.features[stage], spec.kernel_sizes[stage], stride);
                space = std::array::from_fn(|a| space[a].div_ceil(stride[a]));
                channels = spec.features[stage];
            }
            stages.push(space);
        }
        for (d, stage) in (0..spec.features.len() - 1).rev().enumerate() {
            let (features, space) = (spec.features[stage], stages[stage]);
            for i in 0..spec.decoder_convs[d] {
                let channels = if i == 0 { 2 * features } else { features };
                let input = Dims { batch: self.batch, space, channels };
                add(input, features, spec.kernel_sizes[stage], [1; 3]);
            }
            add(Dims { batch: self.batch, space, channels: features }, self.classes, [1; 3], [1; 3]);
        }
        all
    }

    /// Its transposed convolutions, with products of a precision.
    pub fn transposed(&self, precision: Precision) -> Vec<TransposedConvolution> {
        let (spec, mut space, mut all) = (&self.spec, self.patch, Vec::new());
        for stage in 1..spec.features.len() {
            let stride = spec.strides[stage];
            space = std::array::from_fn(|a| space[a].div_ceil(stride[a]));
            let input = Dims { batch: self.batch, space, channels: spec.features[stage] };
            all.push(TransposedConvolution { input, channels: spec.features[stage - 1], stride, precision });
        }
        all
    }
}

fn plain(features: Vec<usize>) -> NetworkSpec {
    let stages = features.len();
    NetworkSpec {
        kind: NetworkKind::PlainConvUNet,
        dims: 3,
        features,
        kernel_sizes: vec![[3; 3]; stages],
        strides: (0..stages).map(|i| [if i == 0 { 1 } else { 2 }; 3]).collect(),
        encoder_convs: vec![2; stages],
        decoder_convs: vec![2; stages - 1],
        conv_bias: true,
        norm: Some(NormSpec { eps: 1e-5, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    }
}

/// A convolution of a network.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// Its input.
    pub input: Dims,
    /// Output channels.
    pub channels: usize,
    /// Kernel, stride, padding.
    pub geometry: ConvGeometry,
    /// How often the network has it.
    pub times: usize,
}

impl Layer {
    /// Its output.
    pub fn output(&self) -> Dims {
        Dims { space: self.geometry.output(self.input.space), channels: self.channels, ..self.input }
    }

    /// Bytes that must move for it at least, forward or for either gradient: each array once.
    pub fn bytes(&self) -> f64 {
        4.0 * (self.input.len() + self.output().len() + self.weights()) as f64
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.channels * self.input.channels * self.geometry.taps()
    }

    /// Operations of the direct method, forward or for either gradient.
    pub fn operations(&self) -> f64 {
        2.0 * (self.geometry.taps() * self.input.channels * self.output().len()) as f64
    }

    fn same(&self, other: &Self) -> bool {
        (self.input, self.channels, self.geometry) == (other.input, other.channels, other.geometry)
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [z, y, x] = self.input.space;
        let (kernel, stride) = (self.geometry.kernel[2], self.geometry.stride[2]);
        write!(f, "{}→{}, {kernel}³/{stride}, {z}×{y}×{x}", self.input.channels, self.channels)
    }
}

/// Numbers from −1 to 1 that look random.
pub fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Seconds of the fastest of a few runs.
pub fn fastest<T>(runs: usize, mut run: impl FnMut() -> T) -> f64 {
    let seconds = (0..runs).map(|_| {
        let begun = std::time::Instant::now();
        let result = std::hint::black_box(run());
        let seconds = begun.elapsed().as_secs_f64();
        drop(result);
        seconds
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// Most megabytes that this process has held, where Linux tells it.
pub fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0usize) >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_has_its_convolutions_and_operations() {
        let net = Net { batch: 1, ..Net::full() };
        let layers = net.layers();
        // Two convolutions for each of 6 + 5 stages, and 5 heads.
        assert_eq!(layers.iter().map(|layer| layer.times).sum::<usize>(), 27);
        let total: f64 = layers.iter().map(|layer| layer.times as f64 * layer.operations()).sum();
        assert!((0.9e12..1.0e12).contains(&total), "{total}");
    }
}
