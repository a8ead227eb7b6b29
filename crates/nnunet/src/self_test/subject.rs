//! What can be tested, and on what.

use std::time::{Duration, Instant};

use nnunet_nn::kernels::{ConvGeometry, Dims};
use nnunet_plan::NetworkSpec;
use nnunet_train::{LossRules, Targets};

use crate::Error;

/// Results in parts that are compared one by one, and the shortest time of several runs.
pub(super) type Timed = Result<(Vec<Vec<f32>>, Duration), Error>;

/// Which of the three products of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    BackwardData,
    BackwardWeights,
}

impl Pass {
    pub(super) const ALL: [Self; 3] = [Self::Forward, Self::BackwardData, Self::BackwardWeights];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::BackwardData => "backward data",
            Self::BackwardWeights => "backward weights",
        }
    }
}

/// A convolution, its operands and the gradient of its output.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    pub(super) input: Dims,
    pub(super) channels: usize,
    pub(super) geometry: ConvGeometry,
    pub(super) x: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) dy: Vec<f32>,
}

/// A transposed convolution with kernel = stride.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) input: Dims,
    pub(super) channels: usize,
    pub(super) stride: [usize; 3],
    pub(super) x: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) dy: Vec<f32>,
}

/// Instance norm with leaky ReLU.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) dims: Dims,
    pub(super) x: Vec<f32>,
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) slope: f32,
    pub(super) dz: Vec<f32>,
}

/// Epsilon of the norms.
pub(super) const EPS: f64 = 1e-5;

/// Loss of logits.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) rules: LossRules,
    /// Labels of each region; none where channels are labels.
    pub(super) regions: Option<Vec<Vec<i16>>>,
    pub(super) targets: Targets,
    pub(super) logits: Vec<f32>,
}

/// Two steps of the optimiser.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) weights: Vec<f32>,
    pub(super) gradients: [Vec<f32>; 2],
    pub(super) lr: f64,
}

/// Tiles that are blended.
#[derive(Debug, Clone)]
pub(super) struct Blend {
    pub(super) shape: [usize; 3],
    pub(super) patch: [usize; 3],
    pub(super) channels: usize,
    pub(super) tiles: Vec<([isize; 3], Vec<f32>)>,
}

/// A network, its input and the labels that it is trained on.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) name: &'static str,
    pub(super) spec: NetworkSpec,
    pub(super) size: [usize; 3],
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) classes: usize,
    /// `[batch, z, y, x, channel]`.
    pub(super) x: Vec<f32>,
    /// Highest resolution first.
    pub(super) targets: Vec<Targets>,
}

/// Where operations run.
pub(super) trait Subject {
    /// Whether activations and products are rounded to bf16.
    fn is_coarse(&self) -> bool {
        false
    }

    fn conv(&self, case: &Conv, pass: Pass) -> Timed;
    fn up(&self, case: &Up, pass: Pass) -> Timed;
    /// The output.
    fn norm(&self, case: &Norm) -> Timed;
    /// Gradients of input, scale and shift.
    fn norm_backward(&self, case: &Norm) -> Timed;
    /// Value and gradient.
    fn loss(&self, case: &Loss) -> Timed;
    /// Weights and momentum after both steps.
    fn step(&self, case: &Step) -> Timed;
    /// Mean logits and the largest channel of each voxel.
    fn blend(&self, case: &Blend) -> Timed;
    /// Logits of the full resolution for the first sample.
    fn predict(&self, case: &Network) -> Timed;
    /// Loss, and the momentum of all weights after one training step.
    fn train(&self, case: &Network) -> Timed;
}

/// Runs `f` once to warm up and then until it has taken 30 ms or run ten times; the last result and the shortest time.
pub(super) fn timed(mut f: impl FnMut() -> Result<Vec<Vec<f32>>, Error>) -> Timed {
    let mut result = f()?;
    let (mut shortest, begun) = (Duration::MAX, Instant::now());
    for _ in 0..10 {
        let start = Instant::now();
        result = f()?;
        shortest = shortest.min(start.elapsed());
        if begun.elapsed() > Duration::from_millis(30) {
            break;
        }
    }
    Ok((result, shortest))
}
