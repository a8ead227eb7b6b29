//! What trainer variants make of a network.

use serde_json::{Value, json};

use crate::{Architecture, PlanError};

/// The trainer that puts batch norms in the place of instance norms.
const BATCH_NORM_TRAINER: &str = "nnUNetTrainerBN";

impl Architecture {
    /// The network as a trainer of this name builds it: nnU-Net's `nnUNetTrainerBN` puts batch norms in the place of other
    /// norms, all other trainers leave it as it is.
    ///
    /// # Errors
    /// Arguments without `norm_op`, of which nothing can be said.
    pub fn for_trainer(&self, trainer: &str) -> Result<Self, PlanError> {
        let mut changed = self.clone();
        if trainer != BATCH_NORM_TRAINER {
            return Ok(changed);
        }
        if !self.arch_kwargs.contains_key("norm_op") {
            return Err(self.wrong("norm_op", format!("missing, {trainer} replaces it")));
        }
        let conv = self.arch_kwargs.get("conv_op").and_then(Value::as_str).unwrap_or_default();
        let dims = if conv.ends_with("2d") { 2 } else { 3 };
        let class = format!("torch.nn.modules.batchnorm.BatchNorm{dims}d");
        changed.arch_kwargs.insert("norm_op".to_owned(), class.into());
        changed.arch_kwargs.insert("norm_op_kwargs".to_owned(), json!({"eps": 1e-5, "affine": true}));
        Ok(changed)
    }
}
