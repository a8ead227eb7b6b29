//! The layers of a network over numbered activations and weights.

use std::collections::HashMap;

use candle_core::{Error, Result, Tensor, TensorId};
use nnunet_plan::NormSpec;

use super::super::layers::{Residual, Unit, spatial};
use super::super::network::{Layer, Network};
use crate::kernels::ConvGeometry;

/// Number of an activation.
pub(in crate::model) type Act = usize;

/// A weight among all: where its values begin, and its shape with three spatial axes.
#[derive(Debug, Clone)]
pub(in crate::model) struct Weight {
    pub(in crate::model) start: usize,
    pub(in crate::model) shape: Vec<usize>,
}

impl Weight {
    pub(in crate::model) fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.shape.iter().product::<usize>()
    }
}

/// Convolution, norm, activation.
#[derive(Debug, Clone)]
pub(in crate::model) struct UnitNode {
    pub(in crate::model) weight: Weight,
    pub(in crate::model) bias: Option<Weight>,
    pub(in crate::model) gamma: Option<Weight>,
    pub(in crate::model) beta: Option<Weight>,
    pub(in crate::model) geometry: ConvGeometry,
    pub(in crate::model) norm: Option<NormSpec>,
    pub(in crate::model) slope: f32,
}

#[derive(Debug, Clone)]
pub(in crate::model) enum Node {
    Unit {
        unit: Box<UnitNode>,
        input: Act,
        output: Act,
    },
    /// Means over boxes.
    Pool {
        stride: [usize; 3],
        input: Act,
        output: Act,
    },
    /// `output = act(main + other)`.
    Merge {
        main: Act,
        other: Act,
        output: Act,
        slope: f32,
    },
    /// `[transposed convolution of low | skip]`.
    Join {
        weight: Weight,
        bias: Option<Weight>,
        low: Act,
        skip: Act,
        output: Act,
    },
    /// An activation that is given out, for a head outside.
    Tap {
        input: Act,
    },
    /// Logits.
    Head {
        weight: Weight,
        bias: Weight,
        input: Act,
    },
}

impl Node {
    /// The activations that it reads.
    pub(super) fn inputs(&self) -> impl Iterator<Item = Act> {
        let (first, second) = match self {
            Self::Unit { input, .. }
            | Self::Pool { input, .. }
            | Self::Tap { input }
            | Self::Head { input, .. } => (*input, None),
            Self::Merge { main, other, .. } => (*main, Some(*other)),
            Self::Join { low, skip, .. } => (*low, Some(*skip)),
        };
        std::iter::once(first).chain(second)
    }

    /// The activation that it makes.
    pub(super) fn output(&self) -> Option<Act> {
        match self {
            Self::Unit { output, .. }
            | Self::Pool { output, .. }
            | Self::Merge { output, .. }
            | Self::Join { output, .. } => Some(*output),
            Self::Tap { .. } | Self::Head { .. } => None,
        }
    }
}

/// A network; activation number 0 is the input.
#[derive(Debug, Clone)]
pub(in crate::model) struct Graph {
    pub(in crate::model) nodes: Vec<Node>,
    pub(in crate::model) acts: usize,
    /// Values of all weights.
    pub(in crate::model) weights: usize,
    /// What is known of each activation.
    lives: Vec<Life>,
}

/// Where an activation comes from and how long it is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// The node that makes it; none for the input.
    maker: Option<usize>,
    /// The last node that reads it.
    last_reader: usize,
    /// Whether it ends a block or a stage: the others can be made again from these.
    end: bool,
}

impl Graph {
    /// The graph of a network over the given weights; those of the head of the lowest resolution are not among them if there
    /// are others, since it may have no part in the loss and then must have no gradient.
    pub(in crate::model) fn new(network: &Network, weights: &[Tensor]) -> Result<Self> {
        let mut builder = Builder { nodes: Vec::new(), acts: 1, starts: HashMap::new(), ends: vec![0] };
        let mut start = 0;
        for weight in weights {
            builder.starts.insert(weight.id(), start);
            start += weight.elem_count();
        }
        let mut x = 0;
        if let Some(stem) = &network.stem {
            x = builder.unit(stem, x)?;
            builder.ends.push(x);
        }
        let mut skips = Vec::new();
        for stage in &network.stages {
            for layer in stage {
                x = match layer {
                    Layer::Unit(unit) => builder.unit(unit, x)?,
                    Layer::Residual(block) => builder.residual(block, x)?,
                };
            }
            builder.ends.push(x);
            skips.push(x);
        }
        skips.pop();
        for stage in &network.decoder {
            let Some(skip) = skips.pop() else { break };
            let (weight, bias) = (builder.weight(&stage.up_weight)?, stage.up_bias.as_ref());
            let bias = bias.map(|bias| builder.weight(bias)).transpose()?;
            let output = builder.act();
            builder.nodes.push(Node::Join { weight, bias, low: x, skip, output });
            x = output;
            for unit in &stage.units {
                x = builder.unit(unit, x)?;
            }
            builder.ends.push(x);
            if network.lowest_head().is_some_and(|(weight, _)| weight.id() == stage.head_weight.id()) {
                builder.nodes.push(Node::Tap { input: x });
                continue;
            }
            let (weight, bias) = (builder.weight(&stage.head_weight)?, builder.weight(&stage.head_bias)?);
            builder.nodes.push(Node::Head { weight, bias, input: x });
        }
        let lives = builder.lives();
        Ok(Self { nodes: builder.nodes, acts: builder.acts, weights: start, lives })
    }

    /// The node that makes an activation; none for the input.
    pub(super) fn maker(&self, act: Act) -> Option<&Node> {
        self.lives[act].maker.map(|number| &self.nodes[number])
    }

    /// Whether an activation is a copy of others and a transposed convolution: large, and cheap to make again.
    pub(super) fn is_join(&self, act: Act) -> bool {
        matches!(self.maker(act), Some(Node::Join { .. }))
    }

    /// What node number `number` is the last to read, of the activations that can be made again.
    pub(super) fn read_last_by(&self, number: usize) -> impl Iterator<Item = Act> + '_ {
        let passing = move |act: &Act| self.lives[*act].last_reader == number && !self.lives[*act].end;
        self.nodes[number].inputs().filter(passing)
    }
}

struct Builder {
    nodes: Vec<Node>,
    acts: usize,
    starts: HashMap<TensorId, usize>,
    /// Activations that end a block or a stage.
    ends: Vec<Act>,
}

impl Builder {
    fn act(&mut self) -> Act {
        self.acts += 1;
        self.acts - 1
    }

    fn weight(&self, tensor: &Tensor) -> Result<Weight> {
        match self.starts.get(&tensor.id()) {
            Some(&start) => Ok(Weight { start, shape: spatial(tensor)?.dims().to_vec() }),
            None => Err(Error::Msg("a layer has a weight that is none of the network's".to_owned())),
        }
    }

    fn unit(&mut self, unit: &Unit, input: Act) -> Result<Act> {
        let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(|t| self.weight(t)).transpose();
        let node = UnitNode {
            weight: self.weight(&unit.weight)?,
            bias: optional(&unit.bias)?,
            gamma: optional(&unit.gamma)?,
            beta: optional(&unit.beta)?,
            geometry: unit.geometry,
            norm: unit.norm,
            slope: unit.slope.unwrap_or(1.0) as f32,
        };
        let output = self.act();
        self.nodes.push(Node::Unit { unit: Box::new(node), input, output });
        Ok(output)
    }

    fn residual(&mut self, block: &Residual, x: Act) -> Result<Act> {
        let first = self.unit(&block.first, x)?;
        let main = self.unit(&block.second, first)?;
        let mut other = x;
        if let Some(stride) = block.pool {
            let output = self.act();
            self.nodes.push(Node::Pool { stride, input: x, output });
            other = output;
        }
        if let Some(projection) = &block.projection {
            other = self.unit(projection, other)?;
        }
        let output = self.act();
        let slope = block.slope.unwrap_or(1.0) as f32;
        self.nodes.push(Node::Merge { main, other, output, slope });
        self.ends.push(output);
        Ok(output)
    }

    fn lives(&self) -> Vec<Life> {
        let mut lives = vec![Life::default(); self.acts];
        for (number, node) in self.nodes.iter().enumerate() {
            for act in node.inputs() {
                lives[act].last_reader = number;
            }
            if let Some(act) = node.output() {
                lives[act].maker = Some(number);
            }
        }
        for act in &self.ends {
            lives[*act].end = true;
        }
        lives
    }
}
