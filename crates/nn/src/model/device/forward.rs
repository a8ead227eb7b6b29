//! The forward pass, and what it keeps.

use super::DeviceNetwork;
use crate::NnError;
use crate::cuda::ops::{
    NormRows, Pool, conv_forward, copy_channels, norm_apply, norm_none, norm_statistics, pool, up_forward,
};
use crate::cuda::{Array, Kind};
use crate::kernels::{ConvGeometry, Dims};
use crate::model::tape::{Node, UnitNode, Weight};

/// An activation as it is kept.
pub(super) struct Kept {
    pub(super) dims: Dims,
    /// The output of a convolution and its norm.
    pub(super) raw: Option<(Array, NormRows)>,
    /// What is read; none for a summand that is read with the sum alone.
    pub(super) values: Option<Array>,
}

/// Logits and their shape.
pub(super) type Logits = (Array, Dims);

pub(super) struct Pass<'a> {
    pub(super) network: &'a DeviceNetwork,
    pub(super) acts: Vec<Option<Kept>>,
    /// Logits of the heads that are wanted, lowest resolution first.
    pub(super) logits: Vec<Option<Logits>>,
    /// Number of the output, highest resolution first, and the gradient of its logits.
    pub(super) gradients: Vec<(usize, Option<Array>)>,
    heads: usize,
    wanted: usize,
}

impl<'a> Pass<'a> {
    /// A pass over channels-last samples, of which the `wanted` outputs of highest resolution are needed.
    pub(super) fn new(network: &'a DeviceNetwork, x: Array, dims: Dims, wanted: usize) -> Self {
        let mut acts: Vec<Option<Kept>> = (0..network.graph.acts).map(|_| None).collect();
        acts[0] = Some(Kept { dims, raw: None, values: Some(x) });
        let is_head = |node: &&Node| matches!(node, Node::Head { .. } | Node::Tap { .. });
        let heads = network.graph.nodes.iter().filter(is_head).count();
        Self { network, acts, logits: Vec::new(), gradients: Vec::new(), heads, wanted }
    }

    /// The output of this number, highest resolution first.
    pub(super) fn output(&self, number: usize) -> Option<&Logits> {
        self.heads.checked_sub(number + 1).and_then(|at| self.logits.get(at)).and_then(Option::as_ref)
    }

    /// Number of an output, highest resolution first, from its place in the order of the nodes.
    pub(super) fn number(&self, place: usize) -> usize {
        self.heads - 1 - place
    }

    pub(super) fn kept(&self, act: usize) -> Result<&Kept, NnError> {
        self.acts[act].as_ref().ok_or_else(|| missing(act))
    }

    pub(super) fn values(&self, act: usize) -> Result<(&Array, Dims), NnError> {
        let kept = self.kept(act)?;
        Ok((kept.values.as_ref().ok_or_else(|| missing(act))?, kept.dims))
    }

    /// Runs all nodes. Without a backward pass, activations go as soon as nobody reads them any more.
    pub(super) fn run(&mut self, keep: bool) -> Result<(), NnError> {
        let graph = &self.network.graph;
        let mut last = vec![0; graph.acts];
        for (number, node) in graph.nodes.iter().enumerate() {
            for &act in &reads(node) {
                last[act] = number;
            }
        }
        for (number, node) in graph.nodes.iter().enumerate() {
            self.node(node, keep)?;
            if !keep {
                reads(node)
                    .into_iter()
                    .filter(|&act| last[act] == number)
                    .for_each(|act| self.acts[act] = None);
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, keep: bool) -> Result<(), NnError> {
        let (output, kept) = match node {
            Node::Unit { unit, input, output } => (*output, self.unit(unit, *input, *output, keep)?),
            Node::Pool { stride, input, output } => {
                let (x, dims) = self.values(*input)?;
                let of = Pool { input: dims, stride: *stride };
                let kept = Kept { dims: of.output(), raw: None, values: Some(pool(x.view(), of)?) };
                (*output, kept)
            }
            Node::Merge { main, other, output, slope } => {
                let (other, _) = self.values(*other)?;
                let main = self.kept(*main)?;
                let Some((y, rows)) = &main.raw else { return Err(missing(*output)) };
                let z = norm_apply(y.view(), main.dims, rows, Some(other.view()), *slope)?;
                (*output, Kept { dims: main.dims, raw: None, values: Some(z) })
            }
            Node::Join { weight, bias, low, skip, output } => {
                (*output, self.join(weight, bias, *low, *skip)?)
            }
            Node::Tap { .. } => {
                self.logits.push(None);
                return Ok(());
            }
            Node::Head { weight, bias, input } => {
                let wanted = self.number(self.logits.len()) < self.wanted;
                let logits = if wanted { Some(self.head(weight, bias, *input)?) } else { None };
                self.logits.push(logits);
                return Ok(());
            }
        };
        self.acts[output] = Some(kept);
        Ok(())
    }

    fn unit(&self, unit: &UnitNode, input: usize, output: usize, keep: bool) -> Result<Kept, NnError> {
        let (network, channels) = (self.network, unit.weight.shape[0]);
        let (x, dims) = self.values(input)?;
        let weight = network.weight(&unit.weight)?;
        let y = conv_forward(x.view(), dims, weight, channels, &unit.geometry, network.kind)?;
        let dims = Dims { space: unit.geometry.output(dims.space), channels, ..dims };
        let rows = match unit.norm {
            Some(norm) => {
                let (gamma, beta) = (network.optional(&unit.gamma)?, network.optional(&unit.beta)?);
                norm_statistics(y.view(), dims, gamma, beta, norm.eps)?
            }
            None => norm_none(y.view(), dims, network.optional(&unit.bias)?)?,
        };
        let summand = network.summands[output];
        let values = match summand {
            true => None,
            false => Some(norm_apply(y.view(), dims, &rows, None, unit.slope)?),
        };
        let raw = (keep || summand).then_some((y, rows));
        Ok(Kept { dims, raw, values })
    }

    fn join(&self, weight: &Weight, bias: &Option<Weight>, low: usize, skip: usize) -> Result<Kept, NnError> {
        let network = self.network;
        let ((x, input), (beside, skip)) = (self.values(low)?, self.values(skip)?);
        let channels = weight.shape[1];
        let stride = std::array::from_fn(|a| weight.shape[2 + a]);
        let dims = Dims { channels: channels + skip.channels, ..skip };
        let y = Array::new(&network.engine, network.kind, dims.len())?;
        let (w, bias) = (network.weight(weight)?, network.optional(bias)?);
        up_forward(x.view(), input, w, bias, channels, stride, y.view(), dims.channels)?;
        let to = [dims.channels, channels];
        copy_channels(beside.view(), [skip.channels, 0], y.view(), to, skip.channels)?;
        Ok(Kept { dims, raw: None, values: Some(y) })
    }

    fn head(&self, weight: &Weight, bias: &Weight, input: usize) -> Result<Logits, NnError> {
        let (network, classes) = (self.network, weight.shape[0]);
        let (x, dims) = self.values(input)?;
        let geometry = ConvGeometry::same([1; 3], [1; 3]);
        let y = conv_forward(x.view(), dims, network.weight(weight)?, classes, &geometry, Kind::F32)?;
        let dims = Dims { channels: classes, ..dims };
        let rows = norm_none(y.view(), dims, Some(network.weight(bias)?))?;
        Ok((norm_apply(y.view(), dims, &rows, None, 1.0)?, dims))
    }
}

/// The activations that a node reads.
fn reads(node: &Node) -> Vec<usize> {
    match node {
        Node::Unit { input, .. } | Node::Pool { input, .. } => vec![*input],
        Node::Head { input, .. } | Node::Tap { input } => vec![*input],
        Node::Merge { main, other, .. } => vec![*main, *other],
        Node::Join { low, skip, .. } => vec![*low, *skip],
    }
}

pub(super) fn missing(act: usize) -> NnError {
    NnError::Unsupported(format!("activation {act} is read before it is made"))
}
