//! Soft Dice plus cross-entropy over channels-last logits, with deep supervision.

mod deep;
mod kernel;
mod op;
mod rules;
mod targets;

pub use deep::{DeepLoss, deep_supervision_weights};
pub use op::{dice_ce, dice_ce_value};
pub use rules::LossRules;
pub use targets::Targets;
