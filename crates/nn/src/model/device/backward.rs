//! The backward pass.

use super::forward::{Pass, missing};
use crate::NnError;
use crate::cuda::ops::{
    NormBackward, Pool, UpGradients, add_channels, conv_backward_data, conv_backward_weights, norm_backward,
    pool_backward, sum_channels, up_backward,
};
use crate::cuda::{Array, View};
use crate::kernels::{ConvGeometry, Dims};
use crate::model::tape::{Node, UnitNode, Weight};

/// Gradients of activations that have not been passed on yet.
struct Gradients<'p, 'n, 'g> {
    pass: &'p mut Pass<'n>,
    /// Of all trained weights; zeros where nothing is written.
    weights: View<'g>,
    acts: Vec<Option<Array>>,
    /// Of the outputs of convolutions whose norm was taken together with a sum.
    raw: Vec<Option<Array>>,
}

impl Pass<'_> {
    /// Gradients of all trained weights into `weights`, which holds zeros, from those of the logits. Activations go as they
    /// are passed.
    pub(super) fn backward(&mut self, weights: View<'_>) -> Result<(), NnError> {
        let graph = std::sync::Arc::clone(&self.network.graph);
        let none = || (0..graph.acts).map(|_| None).collect();
        let mut place = self.logits.len();
        let mut gradients = Gradients { acts: none(), raw: none(), weights, pass: self };
        for (number, node) in graph.nodes.iter().enumerate().rev() {
            match node {
                Node::Head { weight, bias, input } => {
                    place -= 1;
                    gradients.head(place, weight, bias, *input)?;
                }
                Node::Tap { .. } => place -= 1,
                Node::Unit { unit, input, output } => gradients.unit(unit, *input, *output)?,
                Node::Pool { stride, input, output } => gradients.pool(*stride, *input, *output)?,
                Node::Merge { main, other, output, slope } => {
                    let Some(unit) = maker(&graph.nodes[..number], *main) else { return Err(missing(*main)) };
                    gradients.merge(unit, [*main, *other, *output], *slope)?;
                }
                Node::Join { weight, bias, low, skip, output } => {
                    gradients.join(weight, bias.as_ref(), [*low, *skip, *output])?;
                }
            }
        }
        Ok(())
    }
}

/// The convolution that makes an activation.
fn maker(nodes: &[Node], act: usize) -> Option<&UnitNode> {
    nodes.iter().rev().find_map(|node| match node {
        Node::Unit { unit, output, .. } if *output == act => Some(&**unit),
        _ => None,
    })
}

impl Gradients<'_, '_, '_> {
    fn of(&self, weight: &Weight) -> Result<View<'_>, NnError> {
        self.weights.range(weight.range())
    }

    fn of_optional(&self, weight: &Option<Weight>) -> Result<Option<View<'_>>, NnError> {
        weight.as_ref().map(|weight| self.of(weight)).transpose()
    }

    /// Where the gradient of an activation goes, and whether something is there already.
    fn target(&mut self, act: usize, dims: Dims) -> Result<bool, NnError> {
        if self.acts[act].is_some() {
            return Ok(true);
        }
        let network = self.pass.network;
        self.acts[act] = Some(Array::new(&network.engine, network.kind, dims.len())?);
        Ok(false)
    }

    fn at(&self, act: usize) -> Result<View<'_>, NnError> {
        self.acts[act].as_ref().map(Array::view).ok_or_else(|| missing(act))
    }

    /// Passes the gradient of a convolution's output on to weight and input.
    fn conv(&mut self, weight: &Weight, g: &ConvGeometry, input: usize, dy: View<'_>) -> Result<(), NnError> {
        let channels = weight.shape[0];
        let (x, dims) = self.pass.values(input)?;
        conv_backward_weights(x.view(), dims, dy, channels, g, self.of(weight)?)?;
        if input == 0 {
            return Ok(());
        }
        let add = self.target(input, dims)?;
        let w = self.pass.network.weight(weight)?;
        conv_backward_data(dy, dims, w, channels, g, self.at(input)?, add)
    }

    fn head(&mut self, place: usize, weight: &Weight, bias: &Weight, input: usize) -> Result<(), NnError> {
        let number = self.pass.number(place);
        let gradient = self.pass.gradients.iter_mut().find(|(output, _)| *output == number);
        // A head without part in the loss has a gradient of zeros.
        let Some(dy) = gradient.and_then(|(_, gradient)| gradient.take()) else { return Ok(()) };
        sum_channels(dy.view(), weight.shape[0], weight.shape[0], self.of(bias)?)?;
        self.conv(weight, &ConvGeometry::same([1; 3], [1; 3]), input, dy.view())
    }

    fn unit(&mut self, unit: &UnitNode, input: usize, output: usize) -> Result<(), NnError> {
        let dy = match self.raw[output].take() {
            Some(dy) => dy,
            None => {
                let Some(dz) = self.acts[output].take() else { return Ok(()) };
                let (z, _) = self.pass.values(output)?;
                self.normalised(unit, output, dz.view(), z.view(), unit.slope, None)?
            }
        };
        self.pass.acts[output] = None;
        self.conv(&unit.weight, &unit.geometry, input, dy.view())
    }

    /// The gradient of a convolution's output from that behind norm and activation.
    fn normalised(
        &self,
        unit: &UnitNode,
        act: usize,
        dz: View<'_>,
        z: View<'_>,
        slope: f32,
        dother: Option<(View<'_>, bool)>,
    ) -> Result<Array, NnError> {
        let kept = self.pass.kept(act)?;
        let Some((y, rows)) = &kept.raw else { return Err(missing(act)) };
        let network = self.pass.network;
        let (dgamma, dbeta) = match unit.norm {
            Some(_) => (self.of_optional(&unit.gamma)?, self.of_optional(&unit.beta)?),
            None => (None, self.of_optional(&unit.bias)?),
        };
        let gamma = unit.norm.map_or(Ok(None), |_| network.optional(&unit.gamma))?;
        let of = NormBackward { dz, z, y: y.view(), rows, gamma, slope, dgamma, dbeta, dother };
        norm_backward(&of, kept.dims)
    }

    fn pool(&mut self, stride: [usize; 3], input: usize, output: usize) -> Result<(), NnError> {
        let Some(dy) = self.acts[output].take() else { return Ok(()) };
        self.pass.acts[output] = None;
        if input == 0 {
            return Ok(());
        }
        let dims = self.pass.kept(input)?.dims;
        let add = self.target(input, dims)?;
        pool_backward(dy.view(), Pool { input: dims, stride }, self.at(input)?, add)
    }

    fn merge(
        &mut self,
        unit: &UnitNode,
        [main, other, output]: [usize; 3],
        slope: f32,
    ) -> Result<(), NnError> {
        let Some(dz) = self.acts[output].take() else { return Ok(()) };
        let add = match other {
            0 => None,
            _ => Some(self.target(other, self.pass.kept(other)?.dims)?),
        };
        let (z, _) = self.pass.values(output)?;
        let dother = add.map(|add| Ok::<_, NnError>((self.at(other)?, add))).transpose()?;
        let dy = self.normalised(unit, main, dz.view(), z.view(), slope, dother)?;
        self.raw[main] = Some(dy);
        self.pass.acts[output] = None;
        Ok(())
    }

    fn join(
        &mut self,
        weight: &Weight,
        bias: Option<&Weight>,
        [low, skip, output]: [usize; 3],
    ) -> Result<(), NnError> {
        let Some(dy) = self.acts[output].take() else { return Ok(()) };
        self.pass.acts[output] = None;
        let channels = weight.shape[1];
        let stride = std::array::from_fn(|a| weight.shape[2 + a]);
        let beside = self.pass.kept(skip)?.dims;
        let pitch = channels + beside.channels;
        let add = self.target(skip, beside)?;
        let to = [beside.channels, 0];
        add_channels(dy.view(), [pitch, channels], self.at(skip)?, to, beside.channels, add)?;
        let input = self.pass.kept(low)?.dims;
        let add = self.target(low, input)?;
        let network = self.pass.network;
        let (x, _) = self.pass.values(low)?;
        let to = UpGradients {
            dx: (self.at(low)?, add),
            dw: self.of(weight)?,
            dbias: bias.map(|bias| self.of(bias)).transpose()?,
        };
        up_backward(x.view(), input, network.weight(weight)?, dy.view(), channels, stride, pitch, to)
    }
}
