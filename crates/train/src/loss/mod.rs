//! Soft Dice and cross-entropy over channels-last logits, with deep supervision.

mod deep;
mod kernel;
mod op;
mod rules;
mod targets;
mod terms;
mod weighted;

pub use deep::{DeepLoss, deep_supervision_weights};
pub use op::{segmentation_loss, segmentation_loss_value};
pub use rules::LossRules;
pub use targets::Targets;
pub use terms::{EntropyTerm, LossTerms};
