//! Networks as plain data.

mod architecture;
mod cost;
mod legacy;
mod spec;

pub use architecture::Architecture;
pub(crate) use legacy::upgrade_legacy;
pub use spec::{NetworkKind, NetworkSpec, NormSpec};
