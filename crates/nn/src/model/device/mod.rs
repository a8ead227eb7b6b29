//! U-Nets on a device: forward, backward and the optimiser's step over the graph of the layers.
//!
//! Between forward and backward two activations per convolution are kept, its raw output and what norm and activation make
//! of it. The sum at the end of a residual block is taken together with the norm before it.

mod backward;
mod forward;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Tensor, TensorId};

use super::parameters::Parameters;
use super::tape::{Graph, Node};
use super::unet::UNet;
use crate::NnError;
use crate::cuda::ops::{
    LossTable, LossTarget, Scored, SgdRule, gradient_norm, loss_of_labels, narrow, sgd_step,
};
use crate::cuda::{Array, Engine, Kind, Parcel, Share, View};
use crate::kernels::Dims;
use forward::Pass;

/// A U-Net on a device, with momenta and gradients of its weights.
///
/// Weights, momenta and gradients are f32 and lie in one array each; activations and products have the kind that was
/// chosen, f32 or bf16, and sums are f32.
pub struct DeviceNetwork {
    engine: Arc<dyn Engine>,
    graph: Arc<Graph>,
    kind: Kind,
    in_channels: usize,
    divisor: [usize; 3],
    /// Where the values of each weight begin, and their number, but for those of the head without part in the loss.
    places: HashMap<TensorId, Range<usize>>,
    weights: Array,
    momenta: Option<Array>,
    /// Activations that are a block's first summand: they are only made together with the sum.
    summands: Vec<bool>,
    /// Where several devices train the network.
    share: Option<Share>,
}

impl std::fmt::Debug for DeviceNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceNetwork")
            .field("engine", &self.engine)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Loss and norm of the gradient of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The weighted loss.
    pub loss: f32,
    /// 2-norm of all gradients before clipping.
    pub gradient_norm: f32,
}

/// A batch on its way to the device: see [`DeviceNetwork::stage`].
#[derive(Debug)]
pub struct StagedBatch {
    x: Input,
    dims: Dims,
    /// Shape, labels and factor of the loss, beginning with the highest resolution.
    targets: Vec<(Dims, Parcel, f64)>,
}

/// Channels-last samples.
#[derive(Debug)]
enum Input {
    /// f32 on their way.
    Sent(Parcel),
    /// On the device, of the network's kind.
    There(Array),
}

/// A step that was asked for: see [`DeviceNetwork::begin`].
#[derive(Debug)]
#[must_use = "what became of a step is known once it is finished"]
pub struct Step {
    loss: Array,
    norm: Array,
}

impl Step {
    /// Waits for the device.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(self) -> Result<StepReport, NnError> {
        Ok(StepReport { loss: self.loss.to_f32()?[0], gradient_norm: self.norm.to_f32()?[0] })
    }
}

/// What an evaluation gives.
#[derive(Debug)]
pub struct Output {
    /// The weighted loss.
    pub loss: f32,
    /// Channels-last logits of the full resolution.
    pub logits: Vec<f32>,
}

impl DeviceNetwork {
    /// Copies the weights of a network to a device; `kind` is that of its activations and products.
    ///
    /// # Errors
    /// A network of other parts than nnU-Net's own, another kind, or the device has no room.
    pub fn new(engine: &Arc<dyn Engine>, network: &UNet, kind: Kind) -> Result<Self, NnError> {
        if !matches!(kind, Kind::F32 | Kind::Bf16) {
            return Err(NnError::Unsupported(format!("activations of {kind:?}, expected f32 or bf16")));
        }
        let (graph, weights) = network.graph()?;
        let mut places = HashMap::new();
        let mut values = Vec::with_capacity(graph.weights);
        for weight in weights {
            let part = weight.flatten_all()?.to_vec1::<f32>()?;
            places.insert(weight.id(), values.len()..values.len() + part.len());
            values.extend(part);
        }
        let mut summands = vec![false; graph.acts];
        for node in &graph.nodes {
            if let Node::Merge { main, .. } = node {
                summands[*main] = true;
            }
        }
        Ok(Self {
            weights: Array::of_f32(engine, &values)?,
            engine: Arc::clone(engine),
            graph: Arc::clone(graph),
            kind,
            in_channels: network.in_channels(),
            divisor: network.divisor(),
            places,
            momenta: None,
            summands,
            share: None,
        })
    }

    /// The kind of activations and products.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Trains with other devices from now on: each computes its share of a batch, and loss and gradients are those of the whole
    /// batch. All devices have the same weights.
    pub fn join(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// The 2-norm of the weights, to compare with that of other devices.
    ///
    /// # Errors
    /// The device failed.
    pub fn weight_norm(&self) -> Result<f32, NnError> {
        Ok(gradient_norm(self.weights.view())?.to_f32()?[0])
    }

    /// The device.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Copies weights back to the parameters of the network.
    ///
    /// # Errors
    /// The device failed.
    pub fn store(&self, parameters: &Parameters) -> Result<(), NnError> {
        let values = self.weights.to_f32()?;
        for var in parameters.vars() {
            let Some(range) = self.places.get(&var.id()) else { continue };
            let part = values.get(range.clone()).unwrap_or_default();
            var.set(&Tensor::from_slice(part, var.shape(), var.device())?)?;
        }
        Ok(())
    }

    /// The momenta by the names of their weights; none before the first step.
    ///
    /// # Errors
    /// The device failed.
    pub fn momenta(&self, parameters: &Parameters) -> Result<Vec<(String, Tensor)>, NnError> {
        let Some(momenta) = &self.momenta else { return Ok(Vec::new()) };
        let values = momenta.to_f32()?;
        let mut found = Vec::new();
        for (name, var) in parameters.names().iter().zip(parameters.vars()) {
            let Some(range) = self.places.get(&var.id()) else { continue };
            let part = values.get(range.clone()).unwrap_or_default();
            found.push((name.clone(), Tensor::from_slice(part, var.shape(), var.device())?));
        }
        Ok(found)
    }

    /// Replaces the momentum of a weight.
    ///
    /// # Errors
    /// No trained weight of this name, another number of values, or the device failed.
    pub fn set_momentum(
        &mut self,
        parameters: &Parameters,
        name: &str,
        values: &[f32],
    ) -> Result<(), NnError> {
        let place = parameters.get(name).and_then(|var| self.places.get(&var.id())).cloned();
        let Some(range) = place else {
            return Err(NnError::weight(name, "a momentum, but the weight is not trained"));
        };
        self.momentum_array()?.view().range(range)?.write_f32(values)
    }

    fn momentum_array(&mut self) -> Result<&Array, NnError> {
        if self.momenta.is_none() {
            self.momenta = Some(Array::zeros(&self.engine, Kind::F32, self.graph.weights)?);
        }
        self.momenta.as_ref().ok_or_else(|| NnError::Unsupported("no momenta".to_owned()))
    }

    fn check(&self, len: usize, dims: Dims) -> Result<(), NnError> {
        let space = dims.space;
        let divides = (0..3).all(|a| space[a] > 0 && space[a].is_multiple_of(self.divisor[a]));
        if dims.channels != self.in_channels || !divides || len != dims.len() {
            return Err(NnError::Unsupported(format!(
                "an input of {len} values, {} channels and {space:?} voxels; expected {} channels and multiples of {:?}",
                dims.channels, self.in_channels, self.divisor
            )));
        }
        Ok(())
    }

    /// f32 logits of the full resolution for channels-last samples of the network's kind.
    ///
    /// # Errors
    /// A shape that the network does not take, or the device failed.
    pub fn logits(&self, x: Array, space: [usize; 3], batch: usize) -> Result<Array, NnError> {
        let dims = Dims { batch, space, channels: self.in_channels };
        self.check(x.view().len(), dims)?;
        let mut pass = Pass::new(self, x, dims, 1);
        pass.run(false)?;
        let (logits, _) = pass.logits.pop().flatten().ok_or_else(no_head)?;
        Ok(logits)
    }

    /// Loss and logits of channels-last samples, without a change of the weights. `targets` begin with the highest resolution.
    ///
    /// # Errors
    /// Shapes that do not fit, or the device failed.
    pub fn evaluate(
        &self,
        x: &[f32],
        dims: Dims,
        targets: &[LossTarget<'_>],
        table: &LossTable,
    ) -> Result<Output, NnError> {
        let batch = self.stage(x, dims, targets, table)?;
        let (pass, value) = self.forward(batch, table, false)?;
        let full = pass.logits.last().and_then(Option::as_ref).ok_or_else(no_head)?;
        Ok(Output { loss: value.to_f32()?[0], logits: full.0.to_f32()? })
    }

    /// One step of training on channels-last samples; waits for the device at its end only, for the numbers it returns.
    ///
    /// Where one of them is not finite, the weights are as they were.
    ///
    /// # Errors
    /// Shapes that do not fit, or the device has no room or failed.
    pub fn step(
        &mut self,
        x: &[f32],
        dims: Dims,
        targets: &[LossTarget<'_>],
        table: &LossTable,
        rule: SgdRule,
    ) -> Result<StepReport, NnError> {
        let batch = self.stage(x, dims, targets, table)?;
        self.begin(batch, table, rule)?.finish()
    }

    /// Begins to copy channels-last samples and their targets to the device, beside its work.
    ///
    /// # Errors
    /// Shapes that do not fit, a label that the table does not know, or the device has no room or failed.
    pub fn stage(
        &self,
        x: &[f32],
        dims: Dims,
        targets: &[LossTarget<'_>],
        table: &LossTable,
    ) -> Result<StagedBatch, NnError> {
        self.check(x.len(), dims)?;
        self.staged(|| Ok(Input::Sent(Parcel::of_f32(&self.engine, x)?)), dims, targets, table)
    }

    /// [`DeviceNetwork::stage`] for samples of the network's kind that are on the device already.
    ///
    /// # Errors
    /// As there.
    pub fn stage_array(
        &self,
        x: Array,
        dims: Dims,
        targets: &[LossTarget<'_>],
        table: &LossTable,
    ) -> Result<StagedBatch, NnError> {
        self.check(x.view().len(), dims)?;
        x.view().expect(self.kind)?;
        self.staged(|| Ok(Input::There(x)), dims, targets, table)
    }

    fn staged(
        &self,
        x: impl FnOnce() -> Result<Input, NnError>,
        dims: Dims,
        targets: &[LossTarget<'_>],
        table: &LossTable,
    ) -> Result<StagedBatch, NnError> {
        let send = |target: &LossTarget<'_>| {
            table.check(target)?;
            Ok((target.dims, Parcel::of_i16(&self.engine, target.labels)?, target.weight))
        };
        let targets = targets.iter().map(send).collect::<Result<_, NnError>>()?;
        Ok(StagedBatch { x: x()?, dims, targets })
    }

    /// Asks for one step of training without waiting for it: the next batch may be staged meanwhile.
    ///
    /// Where loss or gradient are not finite, the weights stay as they were.
    ///
    /// # Errors
    /// Shapes that do not fit, or the device has no room or failed.
    pub fn begin(&mut self, batch: StagedBatch, table: &LossTable, rule: SgdRule) -> Result<Step, NnError> {
        self.momentum_array()?;
        let (mut pass, loss) = self.forward(batch, table, true)?;
        let gradients = Array::zeros(&self.engine, Kind::F32, self.graph.weights)?;
        pass.backward(gradients.view())?;
        drop(pass);
        if let Some(share) = &self.share {
            share.exchange.sum(gradients.view())?;
        }
        let norm = gradient_norm(gradients.view())?;
        let momenta = self.momenta.as_ref().map(Array::view);
        let momenta = momenta.ok_or_else(|| NnError::Unsupported("no momenta".to_owned()))?;
        sgd_step(self.weights.view(), momenta, gradients.view(), norm.view(), rule)?;
        Ok(Step { loss, norm })
    }

    /// Runs the network and the loss of every output; keeps what the backward pass needs if there is one.
    fn forward(
        &self,
        batch: StagedBatch,
        table: &LossTable,
        backward: bool,
    ) -> Result<(Pass<'_>, Array), NnError> {
        let StagedBatch { x, dims, targets } = batch;
        let x = match x {
            Input::Sent(parcel) => narrow(parcel.open()?.view(), self.kind)?,
            Input::There(array) => array,
        };
        let mut pass = Pass::new(self, x, dims, targets.len());
        pass.run(backward)?;
        let value = Array::zeros(&self.engine, Kind::F32, 1)?;
        for (output, (target, labels, weight)) in targets.into_iter().enumerate() {
            if weight == 0.0 {
                continue;
            }
            let Some((logits, shape)) = pass.output(output) else { return Err(no_head()) };
            if (shape.batch, shape.space) != (target.batch, target.space) {
                return Err(NnError::Unsupported(format!("targets {target:?} for logits {shape:?}")));
            }
            let (labels, kind) = (labels.open()?, backward.then_some(self.kind));
            let (logits, labels, share) = (logits.view(), labels.view(), self.share.as_ref());
            let scored = Scored { logits, labels, dims: target, weight, share };
            let gradient = loss_of_labels(&scored, table, value.view(), kind)?;
            pass.gradients.push((output, gradient));
        }
        Ok((pass, value))
    }

    fn weight(&self, weight: &super::tape::Weight) -> Result<View<'_>, NnError> {
        self.weights.view().range(weight.range())
    }

    fn optional(&self, weight: &Option<super::tape::Weight>) -> Result<Option<View<'_>>, NnError> {
        weight.as_ref().map(|weight| self.weight(weight)).transpose()
    }
}

fn no_head() -> NnError {
    NnError::Unsupported("a network without an output of this resolution".to_owned())
}
