//! What a residual block adds to its main path.

use candle_core::{Result, Tensor};

use super::builder::Builder;
use super::pass::Pass;
use super::unit::{ConvShape, ConvUnit};
use crate::NnError;
use crate::model::average_pool;

/// The input, pooled where the block has a stride, then projected where its channels change (He et al., *Bag of Tricks*,
/// 2019, as nnU-Net has it).
#[derive(Debug, Clone)]
pub struct Shortcut {
    pool: Option<[usize; 3]>,
    projection: Option<ConvUnit>,
}

impl Shortcut {
    /// A shortcut under `{name}.skip`.
    ///
    /// # Errors
    /// The weights have none of these names and shapes.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        stride: [usize; 3],
    ) -> std::result::Result<Self, NnError> {
        let pools = stride != [1; 3];
        let skip = format!("{name}.skip.{}", usize::from(pools));
        let projection = (inputs != outputs)
            .then(|| ConvUnit::linear(builder, &skip, ConvShape::new(inputs, outputs, [1; 3]), false, false));
        Ok(Self { pool: pools.then_some(stride), projection: projection.transpose()? })
    }

    /// A channels-last tensor along the shortcut.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let pooled = match self.pool {
            Some(stride) => average_pool(x, stride)?,
            None => x.clone(),
        };
        match &self.projection {
            Some(projection) => projection.forward(&pooled, pass),
            None => Ok(pooled),
        }
    }
}
