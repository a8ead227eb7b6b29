//! The forward pass, and what it keeps.

use rayon::prelude::*;

use super::graph::{Act, Graph, Node, UnitNode, Weight};
use crate::kernels::{
    ChannelMap, ConvGeometry, Dims, NormSaved, Prepared, Products, Source, Strided, average_pool,
    forward_once, forward_plan, merge, up_plans,
};

/// An activation as it is kept: values and the maps of its samples through which it is read.
pub(super) struct Kept {
    pub(super) values: Vec<f32>,
    pub(super) dims: Dims,
    pub(super) maps: Vec<ChannelMap>,
    pub(super) norm: Option<NormSaved>,
}

impl Kept {
    pub(super) fn plain(values: Vec<f32>, dims: Dims) -> Self {
        Self { values, dims, maps: Vec::new(), norm: None }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { values: &self.values, pitch: self.dims.channels, maps: &self.maps }
    }
}

/// Activations by number, as far as they are there, and what the network gives out, lowest resolution first.
pub(super) struct Pass {
    acts: Vec<Option<Kept>>,
    dims: Vec<Dims>,
    pub(super) logits: Vec<(Vec<f32>, Dims)>,
}

/// The weights of a pass.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) values: &'a [f32],
    pub(super) products: Products,
}

impl<'a> Weights<'a> {
    pub(super) fn of(&self, weight: &Weight) -> &'a [f32] {
        &self.values[weight.range()]
    }

    pub(super) fn row(&self, weight: &Option<Weight>, channels: usize, default: f32) -> Vec<f32> {
        weight.as_ref().map_or_else(|| vec![default; channels], |weight| self.of(weight).to_vec())
    }
}

impl Graph {
    /// Runs all nodes; keeps every activation, or, if they are to be made again, those that end a block or a stage.
    pub(super) fn forward(&self, input: Vec<f32>, dims: Dims, weights: Weights<'_>, again: bool) -> Pass {
        let none = Dims { batch: 0, space: [0; 3], channels: 0 };
        let acts = (0..self.acts).map(|_| None).collect();
        let mut pass = Pass { acts, dims: vec![none; self.acts], logits: Vec::new() };
        pass.put(0, Kept::plain(input, dims));
        for (number, node) in self.nodes.iter().enumerate() {
            pass.run(node, weights);
            for act in self.read_last_by(number).filter(|_| again) {
                pass.free(act);
            }
        }
        pass
    }
}

impl Pass {
    /// An activation that is there.
    pub(super) fn act(&self, number: Act) -> &Kept {
        self.acts[number].as_ref().expect("nodes come after those that they read")
    }

    pub(super) fn dims(&self, number: Act) -> Dims {
        self.dims[number]
    }

    /// Gives an activation's memory back.
    pub(super) fn free(&mut self, number: Act) {
        self.acts[number] = None;
    }

    /// An activation, made again from those that are there if it is not.
    pub(super) fn restore(&mut self, graph: &Graph, number: Act, weights: Weights<'_>) -> &Kept {
        if let (None, Some(node)) = (&self.acts[number], graph.maker(number)) {
            for act in node.inputs() {
                self.restore(graph, act, weights);
            }
            self.run(node, weights);
            for act in node.inputs().filter(|act| graph.is_join(*act)) {
                self.free(act);
            }
        }
        self.act(number)
    }

    fn put(&mut self, number: Act, kept: Kept) {
        self.dims[number] = kept.dims;
        self.acts[number] = Some(kept);
    }

    fn run(&mut self, node: &Node, weights: Weights<'_>) {
        let (number, kept) = match node {
            Node::Unit { unit, input, output } => (*output, unit_forward(unit, self.act(*input), weights)),
            Node::Pool { stride, input, output } => {
                let x = self.act(*input);
                let space = std::array::from_fn(|a| x.dims.space[a] / stride[a]);
                let dims = Dims { space, ..x.dims };
                let mut values = vec![0.0; dims.len()];
                average_pool(x.source(), x.dims, *stride, &mut values);
                (*output, Kept::plain(values, dims))
            }
            Node::Merge { main, other, output, slope } => {
                let (main, other) = (self.act(*main), self.act(*other));
                let (dims, mut values) = (main.dims, main.values.clone());
                merge(&mut values, dims.channels, &main.maps, other.source(), dims, *slope);
                (*output, Kept::plain(values, dims))
            }
            Node::Join { weight, bias, low, skip, output } => {
                let kept = join(weight, bias, self.act(*low), self.act(*skip), weights);
                (*output, kept)
            }
            Node::Tap { input } => {
                let x = self.act(*input);
                let tapped = (x.source().collect(x.dims).into_owned(), x.dims);
                self.logits.push(tapped);
                return;
            }
            Node::Head { weight, bias, input } => {
                let x = self.act(*input);
                let geometry = ConvGeometry::same([1; 3], [1; 3]);
                let plan = forward_plan(x.dims, weight.shape[0], &geometry);
                let (w, bias) = (weights.of(weight), weights.of(bias));
                let ci = x.dims.channels;
                let strided = Strided::convolution(w, ci, 1);
                let conv = Prepared::with(weights.products, &[plan], &strided, Some(bias));
                let mut logits = vec![0.0; plan.output.len()];
                conv.run(x.source(), &mut logits, false);
                let dims = plan.output;
                self.logits.push((logits, dims));
                return;
            }
        };
        self.put(number, kept);
    }
}

fn unit_forward(unit: &UnitNode, x: &Kept, weights: Weights<'_>) -> Kept {
    let channels = unit.weight.shape[0];
    let plan = forward_plan(x.dims, channels, &unit.geometry);
    let (w, ci, taps) = (weights.of(&unit.weight), x.dims.channels, unit.geometry.taps());
    // A norm takes the bias away again.
    let bias = unit.bias.as_ref().filter(|_| unit.norm.is_none()).map(|bias| weights.of(bias));
    let mut values = vec![0.0; plan.output.len()];
    let strided = Strided::convolution(w, ci, taps);
    let moments =
        forward_once(weights.products, &plan, &strided, bias, x.source(), &mut values, unit.norm.is_some());
    let (dims, slope) = (plan.output, vec![unit.slope; channels]);
    let Some(norm) = unit.norm else {
        let map = ChannelMap { slope, ..ChannelMap::identity(channels) };
        return Kept { values, dims, maps: vec![map; dims.batch], norm: None };
    };
    let saved = NormSaved::of(&moments, norm.eps);
    let gamma = weights.row(&unit.gamma, channels, 1.0);
    let beta = weights.row(&unit.beta, channels, 0.0);
    let maps = (0..dims.batch)
        .map(|sample| {
            let (scale, shift) = saved.affine(sample, &gamma, &beta);
            ChannelMap { scale, shift, slope: slope.clone() }
        })
        .collect();
    Kept { values, dims, maps, norm: Some(saved) }
}

fn join(weight: &Weight, bias: &Option<Weight>, low: &Kept, skip: &Kept, weights: Weights<'_>) -> Kept {
    let channels = weight.shape[1];
    let stride: [usize; 3] = std::array::from_fn(|a| weight.shape[2 + a]);
    let boxes: usize = stride.iter().product();
    let (w, beside) = (weights.of(weight), skip.dims.channels);
    let dims = Dims { channels: channels + beside, ..skip.dims };
    let mut values = vec![0.0; dims.len()];
    let plans = up_plans(low.dims, channels, stride, dims.channels);
    let bias = bias.as_ref().map(|bias| weights.of(bias));
    let weight = |r: usize, _: usize, c: usize, o: usize| w[(c * channels + o) * boxes + r];
    Prepared::with(weights.products, &plans, &weight, bias).run(low.source(), &mut values, false);
    let row = dims.space[2].max(1);
    values.par_chunks_mut(row * dims.channels).zip(skip.values.par_chunks(row * beside)).for_each(
        |(to, from)| {
            for (to, from) in to.chunks_exact_mut(dims.channels).zip(from.chunks_exact(beside)) {
                to[channels..].copy_from_slice(from);
            }
        },
    );
    let maps = skip.maps.iter().map(|map| map.behind(channels)).collect();
    Kept { values, dims, maps, norm: None }
}
