//! The operations and sizes that are tested.

use nnunet_nn::kernels::{ConvGeometry, Dims};
use nnunet_plan::{NetworkKind, NetworkSpec, NormSpec};
use nnunet_train::{LossRules, Targets};

use super::Rate;
use super::subject::{Blend, Conv, Loss, Network, Norm, Pass, Step, Subject, Timed, Up};

/// One operation on one size.
pub(super) enum Case {
    Conv(Conv, Pass),
    Up(Up, Pass),
    Norm(Norm),
    NormBackward(Norm),
    Loss(Loss),
    Step(Step),
    Blend(Blend),
    Predict(Network),
    Train(Network),
}

impl Case {
    pub(super) fn run(&self, subject: &dyn Subject) -> Timed {
        match self {
            Self::Conv(case, pass) => subject.conv(case, *pass),
            Self::Up(case, pass) => subject.up(case, *pass),
            Self::Norm(case) => subject.norm(case),
            Self::NormBackward(case) => subject.norm_backward(case),
            Self::Loss(case) => subject.loss(case),
            Self::Step(case) => subject.step(case),
            Self::Blend(case) => subject.blend(case),
            Self::Predict(case) => subject.predict(case),
            Self::Train(case) => subject.train(case),
        }
    }

    pub(super) fn operation(&self) -> String {
        match self {
            Self::Conv(case, pass) => {
                let kernel = extents(case.geometry.kernel);
                format!("conv {kernel} /{} {}", extents(case.geometry.stride), pass.name())
            }
            Self::Up(case, pass) => format!("transposed conv {} {}", extents(case.stride), pass.name()),
            Self::Norm(_) => "instance norm + leaky ReLU".to_owned(),
            Self::NormBackward(_) => "instance norm + leaky ReLU backward".to_owned(),
            Self::Loss(case) if case.regions.is_some() => "Dice + BCE with gradient".to_owned(),
            Self::Loss(_) => "Dice + CE with gradient".to_owned(),
            Self::Step(_) => "SGD, two clipped steps".to_owned(),
            Self::Blend(_) => "Gaussian blending + argmax".to_owned(),
            Self::Predict(case) => format!("{} forward", case.name),
            Self::Train(case) => format!("{} training step", case.name),
        }
    }

    pub(super) fn shape(&self) -> String {
        let of = |dims: &Dims| format!("{}x{}x{}", dims.batch, extents(dims.space), dims.channels);
        match self {
            Self::Conv(case, _) => format!("{}→{}", of(&case.input), case.channels),
            Self::Up(case, _) => format!("{}→{}", of(&case.input), case.channels),
            Self::Norm(case) | Self::NormBackward(case) => of(&case.dims),
            Self::Loss(case) => {
                let [batch, z, y, x] = case.targets.shape();
                of(&Dims { batch, space: [z, y, x], channels: case.rules.channels() })
            }
            Self::Step(case) => format!("{}", case.weights.len()),
            Self::Blend(case) => {
                format!("{}x{}, {} tiles", extents(case.shape), case.channels, case.tiles.len())
            }
            Self::Predict(case) => format!("1x{}x{}", extents(case.size), case.channels),
            Self::Train(case) => format!("{}x{}x{}", case.batch, extents(case.size), case.channels),
        }
    }

    /// In f32: sums in another order, and minimal filtering, which rounds a little more. In bf16, of eight bits: results are
    /// rounded once, and deep networks pass the roundings of their layers on; optimiser and blending stay in f32.
    pub(super) fn tolerance(&self, coarse: bool) -> f64 {
        let [fine, rounded] = match self {
            Self::Conv(..) | Self::Up(..) => [1e-4, 1e-2],
            Self::Norm(_) | Self::NormBackward(_) | Self::Loss(_) => [2e-5, 1e-2],
            Self::Blend(_) => [2e-5, 2e-5],
            Self::Step(_) => [1e-5, 1e-5],
            Self::Predict(_) => [1e-3, 5e-2],
            Self::Train(_) => [5e-3, 1.5e-1],
        };
        if coarse { rounded } else { fine }
    }

    pub(super) fn rate(&self, seconds: f64) -> Rate {
        let flops = |count: usize| Rate::GigaFlops(2.0 * count as f64 / seconds / 1e9);
        let bytes = |values: usize| Rate::GigaBytes(4.0 * values as f64 / seconds / 1e9);
        match self {
            Self::Conv(case, _) => {
                let outputs = case.geometry.output(case.input.space).iter().product::<usize>();
                flops(case.input.batch * outputs * case.channels * case.input.channels * case.geometry.taps())
            }
            Self::Up(case, _) => {
                flops(case.input.len() * case.channels * case.stride.iter().product::<usize>())
            }
            Self::Norm(case) => bytes(2 * case.x.len()),
            Self::NormBackward(case) => bytes(3 * case.x.len()),
            Self::Loss(case) => bytes(2 * case.logits.len() + case.targets.labels().len() / 2),
            Self::Step(case) => bytes(2 * 5 * case.weights.len()),
            Self::Blend(case) => bytes(case.tiles.iter().map(|tile| 3 * tile.1.len()).sum::<usize>()),
            Self::Predict(case) => flops(multiply_adds(&case.spec, case.channels, case.classes, case.size)),
            // The backward pass has two products for each one of the forward pass.
            Self::Train(case) => {
                flops(3 * case.batch * multiply_adds(&case.spec, case.channels, case.classes, case.size))
            }
        }
    }
}

/// Products of the convolutions of a plain or residual U-Net for one sample.
fn multiply_adds(spec: &NetworkSpec, channels: usize, classes: usize, size: [usize; 3]) -> usize {
    let (mut space, mut spaces, mut total, mut inputs) = (size, Vec::new(), 0, channels);
    let residual = spec.kind == NetworkKind::ResidualEncoderUNet;
    let taps = |stage: usize| spec.kernel_sizes[stage].iter().product::<usize>();
    let voxels = |space: [usize; 3]| space.iter().product::<usize>();
    if residual {
        total += voxels(space) * inputs * spec.features[0] * taps(0);
        inputs = spec.features[0];
    }
    for stage in 0..spec.num_stages() {
        space = std::array::from_fn(|a| space[a] / spec.strides[stage][a]);
        for _ in 0..spec.encoder_convs[stage] {
            let features = spec.features[stage];
            total += voxels(space) * features * inputs * taps(stage);
            if residual {
                total += voxels(space) * features * features * taps(stage);
                total += if inputs == features { 0 } else { voxels(space) * features * inputs };
            }
            inputs = features;
        }
        spaces.push(space);
    }
    for d in 0..spec.num_stages() - 1 {
        let stage = spec.num_stages() - 2 - d;
        let (features, n) = (spec.features[stage], voxels(spaces[stage]));
        total += n * inputs * features;
        for i in 0..spec.decoder_convs[d] {
            total += n * features * taps(stage) * if i == 0 { 2 * features } else { features };
        }
        total += n * features * classes;
        inputs = features;
    }
    total
}

fn extents([z, y, x]: [usize; 3]) -> String {
    format!("{z}x{y}x{x}")
}

/// Numbers from −1 to 1 that look random and have eight bits, so that bf16 holds them as they are.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as f32 / 128.0 - 1.0
        })
        .collect()
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let convolutions = [
        ([3; 3], [1; 3], [8, 16, 20], 2, 32, 32),
        ([3; 3], [2; 3], [8, 16, 20], 1, 32, 64),
        ([1, 3, 3], [1, 2, 2], [6, 18, 22], 1, 16, 32),
        ([3; 3], [1; 3], [7, 9, 11], 2, 1, 32),
        ([1; 3], [1; 3], [8, 16, 16], 1, 64, 32),
        ([1, 3, 3], [1; 3], [1, 64, 48], 2, 32, 32),
        ([1, 3, 3], [1, 2, 2], [1, 64, 48], 2, 32, 64),
    ];
    for (kernel, stride, space, batch, channels, outputs) in convolutions {
        let conv = conv(Dims { batch, space, channels }, outputs, ConvGeometry::same(kernel, stride));
        cases.extend(Pass::ALL.map(|pass| Case::Conv(conv.clone(), pass)));
    }
    for (stride, space) in [([2; 3], [6, 8, 10]), ([1, 2, 2], [5, 10, 12]), ([1, 2, 2], [1, 24, 24])] {
        let up = up(Dims { batch: 2, space, channels: 48 }, 24, stride);
        cases.extend(Pass::ALL.map(|pass| Case::Up(up.clone(), pass)));
    }
    for (space, channels) in [([16, 32, 32], 32), ([5, 7, 9], 48), ([1, 96, 80], 16)] {
        let norm = norm(Dims { batch: 2, space, channels });
        cases.extend([Case::Norm(norm.clone()), Case::NormBackward(norm)]);
    }
    cases.extend(losses().into_iter().map(Case::Loss));
    cases.push(Case::Step(Step {
        weights: numbers(300_007, 21),
        gradients: [numbers(300_007, 22), numbers(300_007, 23)],
        lr: 0.01,
    }));
    cases.push(Case::Blend(blend()));
    for network in networks() {
        cases.extend([Case::Predict(network.clone()), Case::Train(network)]);
    }
    cases
}

fn conv(input: Dims, channels: usize, geometry: ConvGeometry) -> Conv {
    let output = Dims { space: geometry.output(input.space), channels, ..input };
    Conv {
        input,
        channels,
        geometry,
        x: numbers(input.len(), 1),
        weight: numbers(channels * input.channels * geometry.taps(), 2),
        dy: numbers(output.len(), 3),
    }
}

fn up(input: Dims, channels: usize, stride: [usize; 3]) -> Up {
    let boxes = stride.iter().product::<usize>();
    Up {
        input,
        channels,
        stride,
        x: numbers(input.len(), 4),
        weight: numbers(input.channels * channels * boxes, 5),
        bias: numbers(channels, 6),
        dy: numbers(input.batch * input.voxels() * boxes * channels, 7),
    }
}

fn norm(dims: Dims) -> Norm {
    let shifted = |values: Vec<f32>, by: f32| values.into_iter().map(|v| v + by).collect();
    Norm {
        dims,
        x: shifted(numbers(dims.len(), 8), 1.0),
        gamma: shifted(numbers(dims.channels, 9), 1.5),
        beta: numbers(dims.channels, 10),
        slope: 0.01,
        dz: numbers(dims.len(), 11),
    }
}

/// Labels below `classes`, from numbers that look random.
fn labels(shape: [usize; 4], classes: usize, seed: u64) -> Targets {
    let count = shape.iter().product();
    let labels = numbers(count, seed).into_iter().map(|v| ((v * 0.5 + 0.5) * classes as f32) as i16);
    let labels = labels.map(|label| label.min(classes as i16 - 1)).collect();
    Targets::new(shape, labels).expect("as many labels as the shape has")
}

fn losses() -> Vec<Loss> {
    let shape = [2, 12, 24, 20];
    let voxels = shape.iter().product::<usize>();
    let regions = vec![vec![1, 2, 3], vec![2, 3], vec![3]];
    let logits = |channels: usize| numbers(voxels * channels, 12).into_iter().map(|v| 3.0 * v).collect();
    let of = |rules: LossRules, regions: Option<Vec<Vec<i16>>>, classes: usize| Loss {
        logits: logits(rules.channels()),
        targets: labels(shape, classes, 13),
        rules,
        regions,
    };
    vec![
        of(LossRules::labels(3, None, false), None, 3),
        of(LossRules::labels(14, Some(14), true), None, 15),
        of(LossRules::regions(&regions, None, true), Some(regions.clone()), 4),
        of(LossRules::regions(&regions, Some(4), false), Some(regions), 5),
    ]
}

fn blend() -> Blend {
    let (shape, patch, channels) = ([20, 30, 26], [12, 16, 18], 3);
    let mut tiles = Vec::new();
    for z in [0, 8] {
        for y in [-1, 7, 14] {
            for x in [0, 8] {
                let logits = numbers(patch.iter().product::<usize>() * channels, 14 + tiles.len() as u64);
                tiles.push(([z, y, x], logits));
            }
        }
    }
    Blend { shape, patch, channels, tiles }
}

fn networks() -> Vec<Network> {
    let spec = |kind, dims: usize, kernels: [[usize; 3]; 3], strides: [[usize; 3]; 3]| NetworkSpec {
        kind,
        dims,
        features: vec![16, 32, 48],
        kernel_sizes: kernels.to_vec(),
        strides: strides.to_vec(),
        encoder_convs: vec![if kind == NetworkKind::PlainConvUNet { 2 } else { 1 }; 3],
        decoder_convs: vec![if kind == NetworkKind::PlainConvUNet { 2 } else { 1 }; 2],
        conv_bias: true,
        norm: Some(NormSpec { eps: super::subject::EPS, affine: true }),
        dropout: None,
        negative_slope: Some(0.01),
        blocks: None,
    };
    let (plain, residual) = (NetworkKind::PlainConvUNet, NetworkKind::ResidualEncoderUNet);
    let planar = spec(plain, 2, [[1, 3, 3]; 3], [[1; 3], [1, 2, 2], [1, 2, 2]]);
    let deep = spec(plain, 3, [[1, 3, 3], [3; 3], [3; 3]], [[1; 3], [1, 2, 2], [2; 3]]);
    let isotropic = spec(residual, 3, [[3; 3]; 3], [[1; 3], [2; 3], [2; 3]]);
    vec![
        network("2-D U-Net", planar, [1, 64, 64], 1),
        network("3-D U-Net", deep, [8, 32, 32], 2),
        network("3-D residual encoder U-Net", isotropic, [16, 32, 32], 1),
    ]
}

fn network(name: &'static str, spec: NetworkSpec, size: [usize; 3], channels: usize) -> Network {
    let (batch, classes) = (2, 3);
    let mut targets = Vec::new();
    for scale in spec.deep_supervision_scales() {
        let [z, y, x] = std::array::from_fn(|a| (size[a] as f64 * scale[a]).round() as usize);
        targets.push(labels([batch, z, y, x], classes, 40 + targets.len() as u64));
    }
    let x = numbers(batch * size.iter().product::<usize>() * channels, 30);
    Network { name, spec, size, batch, channels, classes, x, targets }
}
