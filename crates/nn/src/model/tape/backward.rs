//! The backward pass.

use rayon::prelude::*;

use super::forward::{Pass, Weights};
use super::graph::{Act, Graph, Node, UnitNode, Weight};
use crate::kernels::{
    ConvGeometry, Dims, backward_in_place, input_gradient, split, sum_channels, up_input_gradient,
    up_weight_gradient, weight_gradient,
};

/// Values that one task takes.
const CHUNK: usize = 1 << 14;

/// Gradients of activations that have not been passed on yet, and of all weights.
struct Gradients<'a> {
    graph: &'a Graph,
    pass: Pass,
    weights: Weights<'a>,
    /// Whether the gradient of the input is wanted.
    input: bool,
    acts: Vec<Option<Vec<f32>>>,
    of_weights: Vec<f32>,
}

impl Graph {
    /// Gradients of the input, if wanted, and of all weights, from those of the logits (lowest resolution first; none where
    /// a head has none). Activations are given back as soon as they are no longer wanted.
    pub(super) fn backward(
        &self,
        pass: Pass,
        weights: Weights<'_>,
        of_logits: &[&[f32]],
        input: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>) {
        let acts = (0..self.acts).map(|_| None).collect();
        let of_weights = vec![0.0; self.weights];
        let mut gradients = Gradients { graph: self, pass, weights, input, acts, of_weights };
        let mut heads = of_logits.iter().rev();
        for node in self.nodes.iter().rev() {
            match node {
                Node::Head { weight, bias, input } => {
                    if let Some(dy) = heads.next() {
                        gradients.head(weight, bias, *input, dy);
                    }
                }
                Node::Tap { input } => {
                    if let Some(dy) = heads.next().filter(|dy| !is_zero(dy)) {
                        gradients.add(*input, dy.to_vec());
                    }
                }
                Node::Unit { unit, input, output } => gradients.unit(unit, *input, *output),
                Node::Pool { stride, input, output } => gradients.pool(*stride, *input, *output),
                Node::Merge { main, other, output, slope } => gradients.merge(*main, *other, *output, *slope),
                Node::Join { weight, bias, low, skip, output } => {
                    gradients.join(weight, bias.as_ref(), [*low, *skip, *output]);
                }
            }
            if let Some(output) = node.output() {
                gradients.pass.free(output);
            }
        }
        (gradients.acts[0].take(), gradients.of_weights)
    }
}

impl Gradients<'_> {
    fn set(&mut self, weight: &Weight, values: &[f32]) {
        self.of_weights[weight.range()].copy_from_slice(values);
    }

    /// Adds to the gradient of an activation.
    fn add(&mut self, act: Act, values: Vec<f32>) {
        match &mut self.acts[act] {
            None => self.acts[act] = Some(values),
            Some(sum) => {
                sum.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(sum, values)| {
                    sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
                });
            }
        }
    }

    /// Passes the gradient of a convolution's output on to weight and input.
    fn conv(&mut self, weight: &Weight, geometry: &ConvGeometry, input: Act, dy: &[f32]) {
        let channels = weight.shape[0];
        let products = self.weights.products;
        let x = self.pass.restore(self.graph, input, self.weights);
        let (dims, dw) = (x.dims, weight_gradient(x.source(), x.dims, dy, channels, geometry, products));
        self.set(weight, &dw);
        if self.graph.is_join(input) {
            self.pass.free(input);
        }
        if input != 0 || self.input {
            let w = self.weights.of(weight);
            self.add(input, input_gradient(dy, dims, w, channels, geometry, products));
        }
    }

    fn head(&mut self, weight: &Weight, bias: &Weight, input: Act, dy: &[f32]) {
        // A head without part in the loss has a gradient of zeros.
        if is_zero(dy) {
            return;
        }
        self.set(bias, &sum_channels(dy, weight.shape[0]));
        self.conv(weight, &ConvGeometry::same([1; 3], [1; 3]), input, dy);
    }

    fn unit(&mut self, unit: &UnitNode, input: Act, output: Act) {
        let Some(mut dy) = self.acts[output].take() else { return };
        let y = self.pass.restore(self.graph, output, self.weights);
        let channels = y.dims.channels;
        match &y.norm {
            Some(saved) => {
                let gamma = self.weights.row(&unit.gamma, channels, 1.0);
                let beta = self.weights.row(&unit.beta, channels, 0.0);
                let (values, slope) = (&y.values, unit.slope);
                let (dgamma, dbeta) =
                    backward_in_place(values, channels, &mut dy, y.dims, saved, &gamma, &beta, slope);
                if let Some(gamma) = &unit.gamma {
                    self.set(gamma, &dgamma);
                }
                if let Some(beta) = &unit.beta {
                    self.set(beta, &dbeta);
                }
            }
            None => {
                activation_backward(&y.values, &mut dy, unit.slope);
                if let Some(bias) = &unit.bias {
                    self.set(bias, &sum_channels(&dy, channels));
                }
            }
        }
        self.pass.free(output);
        self.conv(&unit.weight, &unit.geometry, input, &dy);
    }

    fn pool(&mut self, stride: [usize; 3], input: Act, output: Act) {
        let Some(dy) = self.acts[output].take() else { return };
        if input != 0 || self.input {
            let dx = pool_backward(&dy, self.pass.dims(input), stride);
            self.add(input, dx);
        }
    }

    fn merge(&mut self, main: Act, other: Act, output: Act, slope: f32) {
        let Some(mut dy) = self.acts[output].take() else { return };
        let y = self.pass.restore(self.graph, output, self.weights);
        activation_backward(&y.values, &mut dy, slope);
        self.pass.free(output);
        if other != 0 || self.input {
            self.add(other, dy.clone());
        }
        self.add(main, dy);
    }

    fn join(&mut self, weight: &Weight, bias: Option<&Weight>, [low, skip, output]: [Act; 3]) {
        let Some(dy) = self.acts[output].take() else { return };
        let channels = weight.shape[1];
        let stride = std::array::from_fn(|a| weight.shape[2 + a]);
        let (up, beside) = split(&dy, channels, self.pass.dims(skip).channels);
        drop(dy);
        self.add(skip, beside);
        let x = self.pass.restore(self.graph, low, self.weights);
        let (dims, values) = (x.dims, x.source().collect(x.dims));
        let products = self.weights.products;
        let dw = up_weight_gradient(&values, dims, &up, channels, stride, products);
        drop(values);
        self.set(weight, &dw);
        if let Some(bias) = bias {
            self.set(bias, &sum_channels(&up, channels));
        }
        let w = self.weights.of(weight);
        self.add(low, up_input_gradient(&up, dims, w, channels, stride, products));
    }
}

fn is_zero(values: &[f32]) -> bool {
    values.par_chunks(CHUNK).all(|values| values.iter().all(|v| *v == 0.0))
}

/// Behind a leaky ReLU: `y` has the sign of its input.
fn activation_backward(y: &[f32], dy: &mut [f32], slope: f32) {
    dy.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(dy, y)| {
        dy.iter_mut().zip(y).for_each(|(dy, y)| *dy *= if *y > 0.0 { 1.0 } else { slope });
    });
}

/// Shares the gradient of a mean out to its voxels.
fn pool_backward(dy: &[f32], input: Dims, stride: [usize; 3]) -> Vec<f32> {
    let (c, [nz, ny, nx]) = (input.channels, input.space);
    let [oz, oy, ox]: [usize; 3] = std::array::from_fn(|a| input.space[a] / stride[a]);
    let share = 1.0 / stride.iter().product::<usize>() as f32;
    let mut dx = vec![0.0; input.len()];
    dx.par_chunks_mut((nx * c).max(1)).enumerate().for_each(|(row, dx)| {
        let (sample, z, y) = (row / ny / nz, row / ny % nz / stride[0], row % ny / stride[1]);
        if z >= oz || y >= oy {
            return;
        }
        let from = &dy[((sample * oz + z) * oy + y) * ox * c..][..ox * c];
        for (to, from) in dx.chunks_mut(stride[2] * c).zip(from.chunks_exact(c)) {
            for voxel in to.chunks_exact_mut(c) {
                voxel.iter_mut().zip(from).for_each(|(to, v)| *to = v * share);
            }
        }
    });
    dx
}
