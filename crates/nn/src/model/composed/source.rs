//! Where the layers of a composed network get their weights from.

use candle_core::{DType, Device, Tensor, Var};

use crate::NnError;
use crate::blocks::{Role, Weights};
use crate::model::build::Entry;
use crate::model::parameters::Parameters;

/// Notes which weights are asked for.
#[derive(Default)]
pub(in crate::model) struct Recorder {
    pub(in crate::model) entries: Vec<Entry>,
}

impl Weights for Recorder {
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError> {
        self.entries.push(Entry { name: name.to_owned(), shape: shape.to_vec(), role });
        Ok(Tensor::zeros(0, DType::F32, &Device::Cpu)?)
    }

    fn buffer(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Var, NnError> {
        Ok(Var::from_tensor(&self.weight(name, shape, role)?)?)
    }
}

/// The weights of a network as autograd follows them, or detached from it.
pub(in crate::model) struct Shared<'a> {
    pub(in crate::model) parameters: &'a Parameters,
    pub(in crate::model) tracked: bool,
}

impl Weights for Shared<'_> {
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError> {
        let var = self.buffer(name, shape, role)?;
        Ok(if self.tracked { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }

    fn buffer(&mut self, name: &str, _: &[usize], _: Role) -> Result<Var, NnError> {
        let found = self.parameters.get(name).cloned();
        found.ok_or_else(|| NnError::weight(name, "missing from the weights of the network"))
    }
}

/// Copies of the weights, which nothing changes any more.
pub(in crate::model) struct Copies<'a>(pub(in crate::model) &'a Parameters);

impl Weights for Copies<'_> {
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError> {
        Ok(self.buffer(name, shape, role)?.as_detached_tensor())
    }

    fn buffer(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Var, NnError> {
        let shared = Shared { parameters: self.0, tracked: false }.weight(name, shape, role)?;
        Ok(Var::from_tensor(&shared.copy()?)?)
    }
}
