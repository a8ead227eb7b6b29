//! The network as an operation of candle.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::forward::{Pass, Weights};
use super::graph::Graph;
use crate::kernels::{Dims, Products};
use crate::ops::{dims, shape, slice, tensor, with_values};

/// What the network gives out for a channels-last input, lowest resolution first: logits of the heads, but for the lowest of
/// several, of which it is the head's input. With `again`, most activations are made again for the gradients.
pub(in crate::model) fn forward_deep(
    graph: &Arc<Graph>,
    x: &Tensor,
    weights: &[Tensor],
    products: Products,
    again: bool,
) -> Result<Vec<Tensor>> {
    let rows: Vec<Tensor> = weights.iter().map(Tensor::flatten_all).collect::<Result<_>>()?;
    let kept = Arc::new(Mutex::new(None));
    let op = Whole { graph: Arc::clone(graph), products, again, kept: Arc::clone(&kept) };
    let all = x.contiguous()?.apply_op2(&Tensor::cat(&rows, 0)?, op)?;
    let heads: Vec<Dims> = match &*kept.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(forward) => forward.heads.clone(),
        None => bail!("network: no forward pass"),
    };
    let mut start = 0;
    let narrow = |dims: Dims| {
        let part = all.narrow(0, start, dims.len())?.reshape(shape(dims));
        start += dims.len();
        part
    };
    heads.into_iter().map(narrow).collect()
}

/// What a forward pass leaves for the gradients.
struct Forward {
    /// Until the first of them have been computed.
    pass: Option<Pass>,
    heads: Vec<Dims>,
}

struct Whole {
    graph: Arc<Graph>,
    products: Products,
    again: bool,
    kept: Arc<Mutex<Option<Forward>>>,
}

impl Whole {
    fn pass(&self, x: &[f32], input: Dims, values: &[f32]) -> Pass {
        self.graph.forward(x.to_vec(), input, Weights { values, products: self.products }, self.again)
    }
}

impl CustomOp2 for Whole {
    fn name(&self) -> &'static str {
        "u-net"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = dims(self.name(), x_layout)?;
        let values = slice(self.name(), weights, weights_layout)?;
        let mut pass = self.pass(slice(self.name(), x, x_layout)?, input, values);
        let (logits, heads): (Vec<Vec<f32>>, Vec<Dims>) = pass.logits.drain(..).unzip();
        let all = logits.concat();
        let shape = Shape::from(all.len());
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Forward { pass: Some(pass), heads });
        Ok((CpuStorage::F32(all), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Forward { pass, heads }) = &mut *kept else { bail!("network: no forward pass") };
        let input = dims(self.name(), x.layout())?;
        let (dx, dw) = with_values(weights, |values| {
            with_values(gradient, |gradient| {
                let mut rest = gradient;
                let mut of_logits = Vec::new();
                for dims in heads.iter() {
                    let (own, others) = rest.split_at(dims.len());
                    of_logits.push(own);
                    rest = others;
                }
                let pass = match pass.take() {
                    Some(pass) => pass,
                    // Gradients are asked for once more.
                    None => with_values(x, |x| self.pass(x, input, values))?,
                };
                let weights = Weights { values, products: self.products };
                Ok::<_, candle_core::Error>(self.graph.backward(pass, weights, &of_logits, x.track_op()))
            })
        })???;
        let dx = dx.map(|values| tensor(values, input)).transpose()?;
        Ok((dx, Some(Tensor::from_vec(dw, weights.shape(), weights.device())?)))
    }
}
